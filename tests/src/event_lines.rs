//! Event lines are what their published JSON Schema says: every test that reads some holds them to it.

use std::sync::{Arc, LazyLock};

use clyra_schemas::{Contract, ContractSource, End, Limits, Lock, Mode, Outcome, RepairPolicy};
use serde_json::Value;

static CONTRACT: LazyLock<Arc<Contract>> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(include_str!("../../schemas/public/event.schema.json")).unwrap();
    Contract::compile(&schema, None, ContractSource::Policy, &Limits::default()).unwrap()
});

/// These event lines, each of which fits the schema.
pub fn fitting(events: Vec<Value>) -> Vec<Value> {
    for event in &events {
        let mut lock = Lock::new(Arc::clone(&CONTRACT), Mode::Buffer, RepairPolicy::NONE);
        lock.feed(&event.to_string());
        let outcome = lock.finish(End::Stop);
        assert!(matches!(outcome, Outcome::Pass), "{outcome:?}\n{event:#}");
    }
    events
}
