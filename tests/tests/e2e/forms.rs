//! Forms: uploads are read part by part and row by row, and written anew; media is declared, and text that an endpoint
//! answers with is inspected.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clyra_simulator::{Options, SCRIPT_HEADER, Scripted, Simulator};
use clyra_tests::client::{Answer, post, send};
use clyra_tests::sidecar::Sidecar;
use clyra_tests::texts::is_clyra_error;
use http::Method;
use serde_json::json;

fn policy(action: &str) -> String {
    format!(
        "version: 1\nmode: enforce\ndefaults: {{ budget_ms: {{ request: 60000 }} }}\ndetectors:\n  patterns:\n    \
         - {{ id: codename, literal: \"Project Nightjar\", class: restricted, score: 1.0 }}\nrules:\n  \
         - {{ id: out, phase: request, when: 'findings.exists(f, f.class == \"restricted\")', action: {action}, reason: Inside. }}\n  \
         - {{ id: in, phase: response, when: 'findings.exists(f, f.class == \"restricted\")', action: {action}, reason: Inside. }}\n"
    )
}

struct World {
    simulator: Simulator,
    sidecar: Sidecar,
    asked: AtomicUsize,
}

impl World {
    async fn new(action: &str) -> World {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let sidecar = Sidecar::start(&policy(action), &simulator.url()).await;
        World { simulator, sidecar, asked: AtomicUsize::new(0) }
    }

    async fn post(&self, path: &str, answer: (&str, &'static [u8]), kind: &str, body: Vec<u8>) -> Answer {
        let chunks = answer.1.chunks(5).map(Bytes::from_static).collect();
        let headers = vec![("content-type".into(), answer.0.into())];
        // What is blocked leaves its script behind.
        let key = self.asked.fetch_add(1, Ordering::Relaxed).to_string();
        self.simulator.script_for(key.clone(), Scripted { status: 200, headers, chunks, ..Scripted::default() });
        post(self.sidecar.address, path, &[(SCRIPT_HEADER, &key), ("content-type", kind)], body).await
    }

    fn sent(&self) -> (String, String) {
        let request = self.simulator.requests().pop().unwrap();
        let kind = request.headers["content-type"].to_str().unwrap().to_owned();
        (kind, String::from_utf8_lossy(&request.body).into_owned())
    }

    async fn end(self) {
        let verdict = self.sidecar.stop().await.verify();
        assert!(verdict.ok, "{:?}", verdict.findings);
        self.simulator.stop().await;
    }
}

const KIND: &str = "multipart/form-data; boundary=b-1";

/// A form of fields (name, file name, content).
fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, file, content) in parts {
        out.extend_from_slice(format!("--b-1\r\nContent-Disposition: form-data; name=\"{name}\"").as_bytes());
        if let Some(file) = file {
            out.extend_from_slice(
                format!("; filename=\"{file}\"\r\nContent-Type: application/octet-stream").as_bytes(),
            );
        }
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(content);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"--b-1--\r\n");
    out
}

fn rows() -> String {
    let row = |text: &str| {
        json!({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": [{"role": "user", "content": text}]}})
    };
    format!("{}\n{}\n", row("Hello."), row("On Project Nightjar."))
}

const DONE: (&str, &[u8]) = ("application/json", br#"{"id":"file-1","object":"file"}"#);

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_read_row_by_row() {
    let world = World::new("redact").await;
    let body = form(&[("purpose", None, b"batch"), ("file", Some("b.jsonl"), rows().as_bytes())]);
    let answer = world.post("/v1/files", DONE, KIND, body.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-clyra-decision")), (200, "redact"));
    let (kind, sent) = world.sent();
    assert_eq!(kind, "multipart/form-data; boundary=\"b-1\"");
    assert!(
        !sent.contains("Nightjar") && sent.contains("On [REDACTED:restricted].") && sent.contains("Hello."),
        "{sent}"
    );
    assert_eq!(sent.lines().filter(|line| line.starts_with("{\"custom_id\"")).count(), 2);
    world.end().await;

    let world = World::new("block").await;
    let answer = world.post("/v1/files", DONE, KIND, body).await;
    assert!(answer.status == 400 && is_clyra_error(&answer.text()), "{}", answer.text());
    let names = form(&[("purpose", None, b"user_data"), ("file", Some("Project Nightjar.txt"), b"x")]);
    assert_eq!(world.post("/v1/files", DONE, KIND, names).await.status, 400);
    let text = form(&[("file", Some("a.txt"), b"Notes.\nProject Nightjar is late.\n")]);
    assert_eq!(world.post("/v1/files", DONE, KIND, text).await.status, 400);
    assert!(world.simulator.requests().is_empty());
    let clean = form(&[("purpose", None, b"user_data"), ("file", Some("a.txt"), "Grüße\r\n".as_bytes())]);
    let answer = world.post("/v1/files", DONE, KIND, clean).await;
    assert_eq!(answer.status, 200);
    assert!(world.sent().1.contains("\r\n\r\nGrüße\r\n\r\n--b-1--"), "{}", world.sent().1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_cannot_be_read_is_refused() {
    let world = World::new("block").await;
    for (kind, body) in [
        (KIND, b"--b-1\r\n".to_vec()),
        ("multipart/form-data", form(&[("file", None, b"x")])),
        (KIND, form(&[("a/b", None, b"x")])),
        (KIND, form(&[("field", None, b"\xff")])),
        // A form where JSON is expected.
        ("text/plain", form(&[("file", None, b"x")])),
    ] {
        let answer = world.post("/v1/files", DONE, kind, body).await;
        assert!(answer.status == 400 && is_clyra_error(&answer.text()), "{kind}: {}", answer.text());
    }
    assert!(world.simulator.requests().is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_is_declared_and_its_words_are_read() {
    let world = World::new("block").await;
    let upload = form(&[
        ("model", None, b"whisper-1"),
        ("prompt", None, b"A talk."),
        ("file", Some("a.wav"), b"RIFF\0\xff\xfe"),
    ]);
    let heard: (&str, &[u8]) = ("application/json", br#"{"text":"All is well."}"#);
    let answer = world.post("/v1/audio/transcriptions", heard, KIND, upload.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, r#"{"text":"All is well."}"#));
    assert!(world.sent().1.contains("RIFF"));
    let (attempt, _) = world.sidecar.pair(answer.request_id());
    assert_eq!(attempt["coverage"]["reasons"], json!(["media_not_inspected"]));
    for heard in [
        ("application/json", &br#"{"text":"It is Project Nightjar."}"#[..]),
        ("text/plain; charset=utf-8", b"1\n00:00 --> 00:01\nIt is Project Nightjar.\n"),
        ("application/json", br#"{"text":"","segments":[{"text":"It is Project "},{"text":"Nightjar."}]}"#),
    ] {
        let answer = world.post("/v1/audio/transcriptions", heard, KIND, upload.clone()).await;
        assert!(answer.status == 400 && !answer.text().contains("Nightjar"), "{}", answer.text());
    }
    let asked =
        form(&[("model", None, b"m"), ("prompt", None, b"Spell Project Nightjar."), ("file", Some("a"), b"\xff")]);
    assert_eq!(world.post("/v1/audio/transcriptions", heard, KIND, asked).await.status, 400);

    let speech = json!({"model": "tts", "input": "Good day.", "voice": "a"}).to_string().into_bytes();
    let answer =
        world.post("/v1/audio/speech", ("audio/mpeg", b"ID3\xff\xfb\x90rest"), "application/json", speech).await;
    assert_eq!((answer.status.as_u16(), answer.body().as_slice()), (200, &b"ID3\xff\xfb\x90rest"[..]));
    let (_, outcome) = world.sidecar.pair(answer.request_id());
    assert_eq!(outcome["coverage"]["reasons"], json!(["media_not_inspected"]));
    let speech = json!({"model": "tts", "input": "Project Nightjar."}).to_string().into_bytes();
    assert_eq!(world.post("/v1/audio/speech", ("audio/mpeg", b"x"), "application/json", speech).await.status, 400);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_a_batch_are_read_row_by_row() {
    let world = World::new("redact").await;
    let row = |text: &str| json!({"custom_id": "1", "response": {"status_code": 200, "body": {"choices": [{"index": 0, "message": {"content": text}}]}}});
    let results = format!("{}\n{}\n", row("Fine."), row("It is Project Nightjar."));
    let script = |key: &str, kind: &str, body: &[u8]| {
        let headers = vec![("content-type".into(), kind.to_owned())];
        let chunks = body.chunks(11).map(Bytes::copy_from_slice).collect();
        world.simulator.script_for(key.to_owned(), Scripted { status: 200, headers, chunks, ..Scripted::default() });
    };
    script("rows", "application/octet-stream", results.as_bytes());
    let address = world.sidecar.address;
    let get =
        async |key: &str| send(address, Method::GET, "/v1/files/f/content", &[(SCRIPT_HEADER, key)], Vec::new()).await;
    let answer = get("rows").await;
    assert_eq!(answer.text(), results.replace("Project Nightjar", "[REDACTED:restricted]"));
    // What is no text cannot be read here.
    script("picture", "image/png", b"\x89PNG\r\n\x1a\n\0\0");
    assert_eq!(get("picture").await.status, 502);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_an_address_is_inspected() {
    let world = World::new("block").await;
    for (method, path) in [
        (Method::GET, "/v1/files/Project%20Nightjar"),
        (Method::GET, "/v1/models?after=Project+Nightjar"),
        (Method::POST, "/v1/chat/completions?note=Project%20Night%6Aar"),
        (Method::POST, "/v1beta/models/Project%20Nightjar:generateContent"),
    ] {
        let body = if method == Method::GET { Vec::new() } else { br#"{"messages":[],"contents":[]}"#.to_vec() };
        let answer = send(world.sidecar.address, method, path, &[], body).await;
        assert!(answer.status == 400 && is_clyra_error(&answer.text()), "{path}: {} {}", answer.status, answer.text());
    }
    assert!(world.simulator.requests().is_empty());
    world.end().await;

    // It cannot be rewritten, and credentials are none of the client's texts.
    let world = World::new("redact").await;
    let answer = send(world.sidecar.address, Method::GET, "/v1/models?after=Project+Nightjar", &[], Vec::new()).await;
    assert_eq!(answer.status, 400);
    let answer = send(world.sidecar.address, Method::GET, "/v1/models?key=Project+Nightjar", &[], Vec::new()).await;
    assert_eq!(answer.status, 200);
    world.end().await;
}
