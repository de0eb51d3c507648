use super::*;
use crate::canonical::{Limits, Value, is_canonical, parse};

/// An attempt or outcome as far as lineage reads it.
fn receipt(kind: &str, seq: u64, id: &str, run: Value) -> Value {
    let mut members = vec![
        ("id", Value::from(id)),
        ("kind", Value::from(kind)),
        ("log", Value::from("example.com/log")),
        ("run", run),
        ("seq", Value::from(seq.to_string())),
        ("ts", Value::from("2026-11-21T03:41:04.123456Z")),
    ];
    match kind {
        "outcome" => members.push(("verdict", Value::from("executed"))),
        _ => members
            .push(("request", Value::from([("model", Value::from("m")), ("surface", Value::from("openai.chat"))]))),
    }
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn run(id: &str, parent: Option<&str>, parents: &[u64]) -> Value {
    let mut members = vec![("id", Value::from(id))];
    members.extend(parent.map(|parent| ("parent", Value::from(parent))));
    if !parents.is_empty() {
        members.push(("parents", Value::Array(parents.iter().map(|seq| Value::from(seq.to_string())).collect())));
    }
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Four runs: `plan` starts `work`; `work` calls a tool whose result `review` brings; `other` has nothing to do with it.
fn index() -> Index {
    let mut index = Index::default();
    for body in [
        receipt("attempt", 1, "a", run("plan", None, &[])),
        receipt("outcome", 2, "a", run("plan", None, &[])),
        receipt("attempt", 3, "b", run("work", Some("plan"), &[])),
        receipt("attempt", 4, "x", run("other", None, &[])),
        receipt("outcome", 5, "b", run("work", Some("plan"), &[])),
        receipt("attempt", 6, "c", run("work", Some("plan"), &[5])),
        receipt("attempt", 7, "d", run("review", None, &[5])),
        receipt("outcome", 8, "d", run("review", None, &[])),
        Value::from([("kind", Value::from("seal")), ("seq", Value::from("9"))]),
    ] {
        index.receipt(&body).unwrap();
    }
    index
}

fn depth(depth: usize) -> GraphLimits {
    GraphLimits { depth, ..GraphLimits::default() }
}

#[test]
fn the_graph_goes_as_far_as_asked() {
    let index = index();
    let runs = |start: &str, steps: usize| -> (Vec<(String, usize)>, bool) {
        let graph = index.graph(start, depth(steps)).unwrap();
        (graph.runs.into_iter().map(|run| (run.id, run.distance)).collect(), graph.truncated)
    };
    let named =
        |expected: &[(&str, usize)]| expected.iter().map(|(id, far)| ((*id).to_owned(), *far)).collect::<Vec<_>>();
    assert_eq!(runs("plan", 0), (named(&[("plan", 0)]), true));
    assert_eq!(runs("plan", 1), (named(&[("plan", 0), ("work", 1)]), true));
    assert_eq!(runs("plan", 2), (named(&[("plan", 0), ("work", 1), ("review", 2)]), false));
    assert_eq!(runs("review", 3), (named(&[("review", 0), ("work", 1), ("plan", 2)]), false));
    assert_eq!(runs("other", 9), (named(&[("other", 0)]), false));
    assert_eq!(index.graph("nobody", depth(1)), Err(GraphError::Unknown("nobody".into())));
}

#[test]
fn a_graph_is_bounded() {
    let index = index();
    let few = index.graph("plan", GraphLimits { depth: 9, runs: 2, exchanges: 100 }).unwrap();
    assert_eq!((few.runs.len(), few.truncated), (2, true));
    let few = index.graph("plan", GraphLimits { depth: 9, runs: 9, exchanges: 2 }).unwrap();
    assert_eq!((few.exchanges.len(), few.truncated), (1, true), "a run is shown whole or not at all");
}

#[test]
fn every_edge_leads_to_a_later_receipt() {
    let graph = index().graph("plan", depth(9)).unwrap();
    let json = graph.to_json();
    let value = parse(&json, Limits::MANIFEST).unwrap();
    assert!(is_canonical(&json, &value));
    let edges = value.get("edges").unwrap().as_array().unwrap();
    let ends = |name: &str| -> Vec<u64> {
        edges.iter().map(|edge| edge.get(name).unwrap().as_str().unwrap().parse().unwrap()).collect()
    };
    assert_eq!((ends("from"), ends("to")), (vec![3, 3, 3], vec![6, 6, 7]));
    assert!(ends("from").iter().zip(ends("to")).all(|(from, to)| *from < to));
}

#[test]
fn pictures_hold_whatever_a_client_calls_its_run() {
    let mut index = Index::default();
    let name = "\"]; evil --> x\n<b>\\";
    index.receipt(&receipt("attempt", 1, "a", run(name, None, &[]))).unwrap();
    let graph = index.graph(name, depth(0)).unwrap();
    let mermaid = graph.to_mermaid();
    let line = mermaid.lines().nth(1).unwrap();
    assert!(line.ends_with("\"]") && line.matches('"').count() == 2 && !line.contains('<'), "{line}");
    let dot = graph.to_dot();
    assert!(dot.contains(r#"label="\"]; evil --> x\n<b>\\";"#), "{dot}");
}

#[test]
fn an_exchange_is_a_run_that_starts_and_ends() {
    let leaf = [7; 32];
    let mut lines = Vec::new();
    let mut writer = openlineage::hook();
    let own = "0190f4e0-0000-7000-8000-000000000001";
    for (kind, verdict) in
        [("attempt", None), ("outcome", Some("blocked")), ("bypass", None), ("bypass", Some("timeout")), ("seal", None)]
    {
        let mut body = receipt(kind, 3, own, run("nightly", None, &[1]));
        if let Value::Object(members) = &mut body {
            members.remove("verdict");
            members.extend(verdict.map(|verdict| ("verdict".to_owned(), Value::from(verdict))));
        }
        writer.receipt(&body, &leaf, &mut lines);
    }
    let events: Vec<Value> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| parse(line, Limits::RECEIPT).unwrap())
        .collect();
    let types: Vec<_> = events.iter().map(|event| event.get("eventType").unwrap().as_str().unwrap()).collect();
    assert_eq!(types, ["START", "ABORT", "START", "FAIL"]);
    let run = |event: &Value| event.get("run").unwrap().clone();
    assert!(events.iter().all(|event| run(event).get("runId").unwrap().as_str() == Some(own)));
    let parent = |event: &Value| {
        let facets = run(event).get("facets").unwrap().clone();
        facets.get("parent").unwrap().get("run").unwrap().get("runId").unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(parent(&events[0]), parent(&events[3]), "one agent run has one id");
    assert!(uuid::Uuid::try_parse(&parent(&events[0])).is_ok());
}
