//! What a provider keeps and an id stands for: declared, bound to the answer on record that made it, or forbidden.

use std::collections::BTreeSet;

use clyra_simulator::{Options, SCRIPT_HEADER, Scripted, Simulator};
use clyra_tests::client::{Answer, post, send};
use clyra_tests::sidecar::Sidecar;
use clyra_tests::texts::is_clyra_error;
use http::Method;
use serde_json::{Value, json};

struct World {
    simulator: Simulator,
    sidecar: Sidecar,
}

impl World {
    async fn new(stored_state: &str) -> World {
        let policy = format!(
            "version: 1\nmode: enforce\ndefaults: {{ budget_ms: {{ request: 60000 }}, stored_state: {stored_state} }}\ncallers:\n  \
             - {{ id: other, match: {{ api_key_sha256: \"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\" }} }}\n"
        );
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let sidecar = Sidecar::start(&policy, &simulator.url()).await;
        World { simulator, sidecar }
    }

    async fn ask(&self, body: Value, headers: &[(&str, &str)]) -> Answer {
        post(self.sidecar.address, "/v1/responses", headers, body.to_string().into_bytes()).await
    }

    /// Id of a fresh answer, and of its item.
    async fn first_with_item(&self) -> (String, String) {
        let answer = self.ask(json!({"model": "m", "input": "Hello."}), &[]).await;
        assert_eq!(answer.status, 200);
        let document: Value = serde_json::from_slice(&answer.body()).unwrap();
        let id = |of: &Value| of["id"].as_str().unwrap().to_owned();
        (id(&document), id(&document["output"][0]))
    }

    async fn first(&self) -> String {
        self.first_with_item().await.0
    }

    async fn end(self) {
        let verdict = self.sidecar.stop().await.verify();
        assert!(verdict.ok, "{:?}", verdict.findings);
        self.simulator.stop().await;
    }
}

fn on(id: &str) -> Value {
    json!({"model": "m", "input": "Go on.", "previous_response_id": id})
}

fn naming(item: Value) -> Value {
    json!({"model": "m", "input": [item, {"role": "user", "content": "Go on."}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_declared() {
    let world = World::new("allow").await;
    let own = world.first().await;
    let run = [("x-clyra-run-id", "run-1")];
    let answer = world.ask(on(&own), &run).await;
    let (attempt, _) = world.sidecar.pair(answer.request_id());
    assert_eq!((answer.status.as_u16(), &attempt["coverage"]["level"]), (200, &json!("full")));
    assert_eq!(attempt["run"]["parents"].as_array().map(Vec::len), Some(1), "{attempt}");
    let file =
        json!({"model": "m", "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-9"}]}]});
    for body in [on("resp_elsewhere"), file, naming(json!({"type": "item_reference", "id": "msg_elsewhere"}))] {
        let answer = world.ask(body, &[]).await;
        let (attempt, _) = world.sidecar.pair(answer.request_id());
        assert_eq!(answer.status, 200);
        assert_eq!(attempt["coverage"], json!({"level": "partial", "reasons": ["stored_state"]}));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_bound_to_who_made_it() {
    let world = World::new("bind").await;
    let own = world.first().await;
    assert_eq!(world.ask(on(&own), &[]).await.status, 200);
    for (body, headers) in [(on("resp_elsewhere"), &[][..]), (on(&own), &[("authorization", "Bearer foo")][..])] {
        let answer = world.ask(body, headers).await;
        assert!(answer.status == 400 && is_clyra_error(&answer.text()), "{}", answer.text());
    }
    let get = async |id: &str| {
        send(world.sidecar.address, Method::GET, &format!("/v1/responses/{id}"), &[], Vec::new()).await.status.as_u16()
    };
    assert_eq!(get("resp_elsewhere").await, 400);
    // The simulator keeps nothing; what matters is that it was asked.
    assert_ne!(get(&own).await, 400);
    world.end().await;
}

/// Clients that leave the conversation with the provider name the items of it, one by one.
#[tokio::test(flavor = "multi_thread")]
async fn items_of_answers_are_kept_as_well() {
    let world = World::new("bind").await;
    for stream in [false, true] {
        let answer = world.ask(json!({"model": "m", "input": "Hello.", "stream": stream}), &[]).await;
        let text = answer.text();
        let last = text.lines().rfind(|line| line.contains("\"output\"")).unwrap();
        let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap_or(last)).unwrap();
        let response = last.get("response").unwrap_or(&last);
        let own = response["output"][0]["id"].as_str().unwrap();
        for item in [json!({"type": "item_reference", "id": own}), json!({"id": own})] {
            assert_eq!(world.ask(naming(item), &[]).await.status, 200, "stream: {stream}");
        }
    }
    for item in
        [json!({"type": "item_reference", "id": "msg_9"}), json!({"id": "msg_9"}), json!({"id": "msg_9", "type": null})]
    {
        let answer = world.ask(naming(item), &[]).await;
        assert!(answer.status == 400 && is_clyra_error(&answer.text()), "{}", answer.text());
    }
    // What the client brings itself, it may call as it likes.
    let whole = json!({"type": "message", "role": "assistant", "id": "msg_9", "content": [{"type": "output_text", "text": "Hi."}]});
    assert_eq!(world.ask(naming(whole), &[]).await.status, 200);
    world.end().await;
}

/// What is made elsewhere than in an answer: whoever made it may name it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_to_be_kept_is_bound_too() {
    let world = World::new("bind").await;
    let id = |name: &str, id: &str| json!({name: id}).to_string();
    for (path, made, asked, at) in [
        ("/v1/conversations", id("id", "conv_1"), "/v1/responses", "conversation"),
        ("/v1/files", id("id", "file-1"), "/v1/batches", "input_file_id"),
        ("/v1/vector_stores", id("id", "vs_1"), "/v1/vector_stores/vs_1/search", "query"),
        ("/v1beta/cachedContents", id("name", "cachedContents/c"), "/v1beta/models/m:generateContent", "cachedContent"),
    ] {
        let made_id: Value = serde_json::from_str(&made).unwrap();
        let made_id = made_id.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        let asking = async |what: &str| {
            let path = asked.replace("vs_1", what);
            let body = json!({"model": "m", at: what, "input": "Go on.", "contents": []}).to_string().into_bytes();
            post(world.sidecar.address, &path, &[], body).await
        };
        assert_eq!(asking(&made_id).await.status, 400, "{path}: nothing is made yet");
        world.simulator.script_for(
            path,
            Scripted {
                status: 200,
                headers: vec![("content-type".into(), "application/json".into())],
                chunks: vec![made.into_bytes().into()],
                ..Scripted::default()
            },
        );
        let answer = post(world.sidecar.address, path, &[(SCRIPT_HEADER, path)], b"{}".to_vec()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let passed = asking(&made_id).await;
        assert!(!is_clyra_error(&passed.text()), "{path}: {}", passed.text());
        let refused = asking(&made_id.replace(['1', 'c'], "9")).await;
        assert!(refused.status == 400 && is_clyra_error(&refused.text()), "{path}: {}", refused.text());
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_bound_after_a_restart_as_well() {
    let world = World::new("bind").await;
    let (own, item) = world.first_with_item().await;
    let gone_on = world.first().await;
    let outcomes = |receipts: Vec<Value>| receipts.into_iter().filter(|receipt| receipt["kind"] == "outcome");
    // The answer's own, and that of its only item.
    let made =
        outcomes(world.sidecar.receipts()).flat_map(|outcome| outcome["ext"]["made"].as_array().unwrap().clone());
    let made: BTreeSet<String> = made.map(|digest| digest.as_str().unwrap().to_owned()).collect();
    assert!(made.len() == 4 && made.iter().all(|digest| digest.len() == 64), "{made:?}");
    let World { simulator, sidecar } = world;
    let mut world = World { sidecar: sidecar.stop().await.start_again(&simulator.url()).await, simulator };
    for _ in 0..2 {
        let answer = world.ask(on(&own), &[("x-clyra-run-id", "run-1")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (attempt, _) = world.sidecar.pair(answer.request_id());
        let first = outcomes(world.sidecar.receipts()).next().unwrap();
        assert_eq!(attempt["run"]["parents"], json!([first["seq"]]), "{attempt}");
        assert_eq!(world.ask(naming(json!({"type": "item_reference", "id": item})), &[]).await.status, 200);
        for (body, headers) in [(on("resp_elsewhere"), &[][..]), (on(&own), &[("authorization", "Bearer foo")][..])] {
            let answer = world.ask(body, headers).await;
            assert!(answer.status == 400 && is_clyra_error(&answer.text()), "{}", answer.text());
        }
        // Once more: what the process before the last made is known as well.
        let World { simulator, sidecar } = world;
        world = World { sidecar: sidecar.stop().await.start_again(&simulator.url()).await, simulator };
    }
    assert_eq!(world.ask(on(&gone_on), &[]).await.status, 200);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_may_be_forbidden() {
    let world = World::new("forbid").await;
    let own = world.first().await;
    assert_eq!(world.ask(on(&own), &[]).await.status, 400);
    let listed = send(world.sidecar.address, Method::GET, "/v1/files/file-1", &[], Vec::new()).await;
    assert_eq!(listed.status, 400);
    assert_eq!(world.simulator.requests().len(), 1);
    world.end().await;
}
