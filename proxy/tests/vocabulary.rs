//! The policy language and SchemaLock know nothing of each other; here it is seen that they use the same words.

#![allow(clippy::unwrap_used, clippy::panic)]

use clyra_policy::{CSV_REPAIR_CLASSES, Policy, REPAIR_CLASSES};
use clyra_schemas::RepairClass;

fn policy(schema: &str) -> Result<Policy, clyra_policy::PolicyError> {
    Policy::parse(&format!("version: 1\nschemas: [{{id: a, {schema}}}]"), "p.yaml", &|_| Err("no files".to_owned()))
}

#[test]
fn both_name_the_same_damage_in_the_same_order() {
    assert_eq!(RepairClass::ALL.map(RepairClass::name), REPAIR_CLASSES);
    for name in CSV_REPAIR_CLASSES {
        assert!(RepairClass::named(name).is_some(), "{name}");
    }
    for name in REPAIR_CLASSES {
        assert!(policy(&format!("schema: from_request, repair: {{local: [{name}]}}")).is_ok(), "{name}");
    }
}
