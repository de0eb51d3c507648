//! What a caller proves itself with is in nothing that the sidecar writes or shows, however the exchange ends.

use std::path::{Path, PathBuf};

use clyra_tests::client::{get, post, raw, send};
use clyra_tests::process::Process;
use clyra_tests::recorder::Recorder;
use http::Method;

use super::cases::{FIRST, PATH};

/// Put together here, so that nothing finds them in the source.
fn secrets() -> Vec<String> {
    ["bearer", "xapikey", "apikey", "googkey", "query", "cookie", "proxyauth", "userinfo", "basic"]
        .map(|name| format!("{name}-{}", "c4n4ry".repeat(3)))
        .to_vec()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_leave_no_trace() {
    let secrets = secrets();
    let [bearer, xapikey, apikey, googkey, query, cookie, proxyauth, userinfo, basic] = secrets.as_slice() else {
        panic!("{secrets:?}")
    };
    let (bearer, basic) = (format!("Bearer {bearer}"), format!("Basic {basic}"));
    let cookie = format!("session={cookie}; other=1");
    let headers = [
        ("x-api-key", xapikey.as_str()),
        ("api-key", apikey),
        ("x-goog-api-key", googkey),
        ("cookie", &cookie),
        ("proxy-authorization", proxyauth),
        ("authorization", &bearer),
    ];
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let upstream = Recorder::start().await;
    for unknown in ["block", "bypass"] {
        let dir = tempfile::tempdir().unwrap();
        let (policy, data) = (dir.path().join("policy.yaml"), dir.path().join("data"));
        let text = format!(
            "version: 1\nmode: enforce\ndefaults: {{ unknown_surface: {unknown} }}\ndetectors:\n  patterns:\n    - {{ id: p, literal: BAD, class: \
             restricted, score: 1.0 }}\nrules:\n  - {{ id: r, phase: request, when: 'findings.exists(f, f.class == \"restricted\")', \
             action: block }}\n"
        );
        std::fs::write(&policy, text).unwrap();
        let binary = env!("CARGO_BIN_EXE_clyra-under-test");
        let dead = ["--upstream", "dead=http://127.0.0.1:1"];
        let sidecar = Process::start_with(binary, &policy, &data, &upstream.url(), &dead);
        let address = sidecar.address;
        let mut shown = String::new();
        let gemini = format!("/v1beta/models/m:generateContent?key={query}");
        let gemini_body = br#"{"contents":[{"role":"user","parts":[{"text":"x"}]}]}"#;
        for (path, body) in [
            (PATH.to_owned(), FIRST.as_bytes().to_vec()),
            (PATH.to_owned(), FIRST.replace("FIRST", "BAD").into_bytes()),
            (PATH.to_owned(), b"no JSON".to_vec()),
            (format!("/dead{PATH}?key={query}"), FIRST.as_bytes().to_vec()),
            (gemini.clone(), gemini_body.to_vec()),
            (format!("/dead{gemini}"), gemini_body.to_vec()),
            (format!("/v1/unknown?key={query}&api_key={query}"), FIRST.as_bytes().to_vec()),
            (format!("/dead/v1/unknown?key={query}"), FIRST.as_bytes().to_vec()),
        ] {
            shown += &post(address, &path, &headers, body).await.text();
        }
        let other = [("authorization", basic.as_str())];
        shown += &send(address, Method::GET, &format!("/v1/models?key={query}"), &other, Vec::new()).await.text();
        for head in [
            format!("POST {PATH}?key={query} HTTP/1.1\r\nHost: a\r\nHost: b\r\n{lines}"),
            format!("POST {PATH}?key={query} HTTP/1.1\r\n{lines}"),
            format!("POST http://user:{userinfo}@edge{PATH} HTTP/1.1\r\nHost: edge\r\n{lines}"),
            format!("POST {PATH}?key={query} x HTTP/1.1\r\nHost: edge\r\n{lines}"),
            format!("POST {PATH} HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n{lines}"),
        ] {
            let request = format!("{head}Connection: close\r\n\r\nzz\r\n");
            shown += &String::from_utf8_lossy(&raw(address, request.as_bytes()).await);
        }
        for page in ["/metrics", "/api/v1/status", "/api/v1/coverage", "/readyz"] {
            shown += &get(sidecar.admin, page).await.text();
        }
        sidecar.terminate();
        let (status, said) = sidecar.ended();
        assert!(status.success(), "{said:?}");
        let (requests, _) = upstream.take();
        assert!(requests.iter().any(|request| request.head.contains(&bearer)), "the provider needs it");
        let written = files(&data);
        assert!(written.iter().any(|file| file.ends_with("events/events.ndjson")), "{written:?}");
        for secret in &secrets {
            assert!(!shown.contains(secret), "an answer or a page shows {secret}");
            assert!(!said.iter().any(|line| line.contains(secret)), "a log line has {secret}: {said:#?}");
            for file in &written {
                let bytes = std::fs::read(file).unwrap();
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} has {secret}", file.display());
            }
        }
    }
}
