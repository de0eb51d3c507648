//! `threat_map`: which threat each class of finding stands for.

use std::collections::BTreeMap;

use crate::diagnostic::{Code, Report};
use crate::model::Threat;
use crate::read::{Fields, Keys, Value, is_name, name_rule};
use crate::threat;

/// Classes in the map.
const CLASSES_MAX: usize = 256;

const ENTRY: Keys = Keys { known: &["owasp", "atlas"], unsupported: &[] };

#[cfg(test)]
pub(super) const KEYS: [Keys; 1] = [ENTRY];

/// Entries replace the built-in ones of the same class.
pub(super) fn read(top: &Fields<'_>, threats: &mut BTreeMap<String, Threat>, report: &mut Report<'_>) {
    let Some(section) = top.get("threat_map") else {
        return;
    };
    let Some(fields) = Fields::open_any(section.node, &section.path, report) else {
        return;
    };
    if fields.entries().len() > CLASSES_MAX {
        let message = format!("the map has over {CLASSES_MAX} classes");
        section.report(Code::TooLarge, message, report);
        return;
    }
    for (key, node) in fields.entries() {
        let path = fields.path_of(&key.name);
        if !is_name(&key.name) {
            report.add(Code::InvalidValue, key.at, &path, name_rule(&key.name));
            continue;
        }
        if let Some(entry) = entry(&Value { node, path }, report) {
            threats.insert(key.name.clone(), entry);
        }
    }
}

fn entry(value: &Value<'_>, report: &mut Report<'_>) -> Option<Threat> {
    let fields = Fields::open(value.node, &value.path, ENTRY, report)?;
    let mut id = |name: &str, parse: fn(&str) -> Result<String, String>| {
        let value = fields.get(name)?;
        let text = value.text(report)?;
        parse(text).map_err(|message| value.report(Code::InvalidValue, message, report)).ok()
    };
    let owasp = id("owasp", threat::parse_owasp);
    let atlas = id("atlas", threat::parse_atlas);
    if fields.entries().is_empty() {
        value.report(Code::MissingKey, "`owasp` or `atlas` is missing here", report);
        return None;
    }
    Some(Threat { owasp, atlas })
}
