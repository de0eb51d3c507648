//! What a provider keeps and an id stands for: declared, bound to the answer on record that made it, or forbidden.

use clyra_simulator::{Options, Simulator};
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

    /// Id of a fresh answer.
    async fn first(&self) -> String {
        let answer = self.ask(json!({"model": "m", "input": "Hello."}), &[]).await;
        assert_eq!(answer.status, 200);
        let document: Value = serde_json::from_slice(&answer.body()).unwrap();
        document["id"].as_str().unwrap().to_owned()
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
    for body in [on("resp_elsewhere"), file] {
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_bound_after_a_restart_as_well() {
    let world = World::new("bind").await;
    let (own, gone_on) = (world.first().await, world.first().await);
    let outcomes = |receipts: Vec<Value>| receipts.into_iter().filter(|receipt| receipt["kind"] == "outcome");
    let made: Vec<Value> = outcomes(world.sidecar.receipts()).map(|outcome| outcome["ext"]["made"].clone()).collect();
    assert!(made.len() == 2 && made.iter().all(|digest| digest.as_str().is_some_and(|digest| digest.len() == 64)));
    assert_ne!(made[0], made[1]);
    let World { simulator, sidecar } = world;
    let mut world = World { sidecar: sidecar.stop().await.start_again(&simulator.url()).await, simulator };
    for _ in 0..2 {
        let answer = world.ask(on(&own), &[("x-clyra-run-id", "run-1")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (attempt, _) = world.sidecar.pair(answer.request_id());
        let first = outcomes(world.sidecar.receipts()).next().unwrap();
        assert_eq!(attempt["run"]["parents"], json!([first["seq"]]), "{attempt}");
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
