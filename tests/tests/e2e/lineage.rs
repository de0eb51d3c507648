//! Lineage: which run started which, and which request brings the result of which answer's tool call.

use std::path::Path;

use clyra_receipts::Receipts;
use clyra_receipts::lineage::{GraphLimits, Index, openlineage};
use clyra_simulator::{Options, Simulator};
use clyra_tests::ask::Surface;
use clyra_tests::client::post;
use clyra_tests::recorded::shared_data;
use clyra_tests::sidecar::Sidecar;
use serde_json::{Value, json};

const POLICY: &str = "version: 1\nmode: enforce\ndefaults: { budget_ms: { request: 60000 } }\n";

/// The id of the one tool call in an answer.
fn call_id(surface: Surface, stream: bool, body: &str) -> String {
    let events: Vec<Value> = if stream {
        let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| serde_json::from_str(data).ok()).collect()
    } else {
        vec![serde_json::from_str(body).unwrap()]
    };
    let found = events.iter().find_map(|event| {
        let candidates = match surface {
            Surface::Chat => vec![
                event.pointer("/choices/0/message/tool_calls/0/id"),
                event.pointer("/choices/0/delta/tool_calls/0/id"),
            ],
            _ => vec![event.pointer("/content/1/id"), event.pointer("/content_block/id")],
        };
        candidates.into_iter().flatten().find_map(Value::as_str).map(str::to_owned)
    });
    found.unwrap_or_else(|| panic!("no tool call in {body}"))
}

/// A request that brings the result of a call.
fn with_result(surface: Surface, stream: bool, id: &str) -> Vec<u8> {
    let mut request = surface.request(stream, "and now?");
    let messages = request["messages"].as_array_mut().unwrap();
    match surface {
        Surface::Chat => {
            let function = json!({"name": "lookup", "arguments": "{}"});
            messages.push(
                json!({"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": function}]}),
            );
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": "42"}));
        }
        _ => {
            messages.push(json!({"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "lookup", "input": {}}]}));
            messages.push(
                json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "42"}]}),
            );
        }
    }
    request.to_string().into_bytes()
}

fn index(data_dir: &Path) -> Index {
    let mut index = Index::default();
    let mut receipts = Receipts::open_first(data_dir).unwrap();
    while let Some(receipt) = receipts.read_next().unwrap() {
        index.receipt(receipt.value()).unwrap();
    }
    index
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_result_leads_back_to_the_answer_that_asked_for_it() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    let mut expected = Vec::new();
    for surface in Surface::BOTH {
        for stream in [false, true] {
            let run = format!("work-{}-{stream}", surface.id());
            let headers =
                [("x-clyra-run-id", run.as_str()), ("x-clyra-parent-run-id", "plan"), ("x-clyra-app", "agent")];
            let directive = json!({"content": "Let me see.", "tool": [{"name": "lookup", "arguments": "{}"}]});
            let asked = post(sidecar.address, surface.path(), &headers, surface.ask(stream, &directive)).await;
            let id = call_id(surface, stream, &asked.text());
            // The result comes in another run, from the same caller.
            let review = format!("review-{}-{stream}", surface.id());
            let headers = [("x-clyra-run-id", review.as_str())];
            let answered = post(sidecar.address, surface.path(), &headers, with_result(surface, stream, &id)).await;
            let (_, outcome) = sidecar.pair(asked.request_id());
            let (attempt, _) = sidecar.pair(answered.request_id());
            assert_eq!(attempt["run"]["parents"], json!([outcome["seq"]]), "{review}");
            expected.push((run, review));
        }
    }
    let stopped = sidecar.stop().await;
    assert!(stopped.verify().ok);
    let index = index(&stopped.data_dir());
    for (run, review) in &expected {
        let graph = index.graph(review, GraphLimits { depth: 1, ..GraphLimits::default() }).unwrap();
        let runs: Vec<_> = graph.runs.iter().map(|run| run.id.as_str()).collect();
        assert_eq!(runs, [review.as_str(), run.as_str()]);
    }
    let plan = index.graph("plan", GraphLimits { depth: 1, ..GraphLimits::default() }).unwrap();
    assert_eq!(plan.runs.len(), 1 + expected.len(), "the run that started them has no receipts of its own");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lineage_in_bundles_is_openlineage() {
    let Some(shared) = shared_data() else { return };
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let spec = shared.join("vectors/openlineage/spec");
    let schema =
        jsonschema::options().should_validate_formats(true).build(&read(&spec.join("OpenLineage.json"))).unwrap();
    let facet = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/public/openlineage-receipt-facet.schema.json");
    let facet = jsonschema::options().should_validate_formats(true).build(&read(Path::new(facet))).unwrap();

    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(POLICY, &simulator.url()).await;
    for stream in [false, true] {
        let headers =
            [("x-clyra-run-id", "nightly \"42\""), ("x-clyra-parent-run-id", "plan"), ("x-clyra-app", "agent")];
        let body = Surface::Chat.ask(stream, &json!({"content": "Hello."}));
        assert_eq!(
            post(sidecar.address, Surface::Chat.path(), &headers, body).await.header("x-clyra-decision"),
            "allow"
        );
    }
    let stopped = sidecar.stop().await;
    let mut types = Vec::new();
    let mut receipts = Receipts::open_first(&stopped.data_dir()).unwrap();
    while let Some(receipt) = receipts.read_next().unwrap() {
        let Some(event) = openlineage::run_event(receipt.value(), &receipt.leaf()) else { continue };
        let event: Value = serde_json::from_slice(&clyra_receipts::canonical::to_vec(&event)).unwrap();
        let errors: Vec<_> = schema.iter_errors(&event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}: {event}");
        let errors: Vec<_> = facet.iter_errors(&event["run"]["facets"]).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}: {event}");
        assert_eq!(event["run"]["facets"]["clyra_receipt"]["seq"], receipt.seq().to_string());
        types.push(event["eventType"].as_str().unwrap().to_owned());
    }
    assert_eq!(types, ["START", "COMPLETE", "START", "COMPLETE"]);
    let bundles = clyra_receipts::bundle::list(&stopped.data_dir()).unwrap();
    let has_lineage = |bundle: &clyra_receipts::bundle::BundleInfo| {
        bundle.files.iter().any(|(path, _)| path == "lineage/openlineage.jsonl")
    };
    assert!(bundles.iter().any(has_lineage), "{bundles:?}");
    // A schema that could refuse nothing would show nothing.
    assert!(!schema.is_valid(&json!({"eventType": "START"})));
    simulator.stop().await;
}
