//! `detectors`: settings by detector id, and the policy's own patterns.

use std::collections::BTreeSet;

use crate::diagnostic::{Code, Report};
use crate::model::{DetectorSettings, Matcher, Pattern};
use crate::policy::{Document, Place};
use crate::read::{Fields, Keys, Value, is_name, name_rule};

/// Patterns of one policy.
const PATTERNS_MAX: usize = 1000;
/// Detectors that one policy configures.
const DETECTORS_MAX: usize = 256;
/// Bytes of one literal or regular expression.
const PATTERN_BYTES_MAX: usize = 1024;
/// Score of a pattern that names none.
const SCORE_PPM_DEFAULT: u32 = 1_000_000;

const DETECTOR: Keys = Keys { known: &["enabled", "threshold"], unsupported: &["entities", "locale", "extra"] };
const PATTERN: Keys = Keys { known: &["id", "literal", "regex", "class", "score"], unsupported: &[] };

#[cfg(test)]
pub(super) const KEYS: [Keys; 2] = [DETECTOR, PATTERN];

pub(super) fn read(top: &Fields<'_>, document: &mut Document, report: &mut Report<'_>) {
    let Some(section) = top.get("detectors") else {
        return;
    };
    let Some(fields) = Fields::open_any(section.node, &section.path, report) else {
        return;
    };
    if fields.entries().len() > DETECTORS_MAX {
        let message = format!("over {DETECTORS_MAX} detectors are configured");
        section.report(Code::TooLarge, message, report);
        return;
    }
    for (key, node) in fields.entries() {
        let value = Value { node, path: fields.path_of(&key.name) };
        if key.name == "patterns" {
            (document.patterns, document.pattern_places) = patterns(&value, report);
        } else if key.name.starts_with("patterns.") {
            let message = "a pattern has no settings; change or remove its entry in `patterns`";
            report.add(Code::InvalidValue, key.at, &value.path, message);
        } else if !is_name(&key.name) {
            report.add(Code::InvalidValue, key.at, &value.path, name_rule(&key.name));
        } else if let Some(settings) = detector(&value, report) {
            document.detectors.insert(key.name.clone(), settings);
        }
    }
}

fn detector(value: &Value<'_>, report: &mut Report<'_>) -> Option<DetectorSettings> {
    let fields = Fields::open(value.node, &value.path, DETECTOR, report)?;
    let default = DetectorSettings::default();
    let enabled = match fields.get("enabled") {
        Some(enabled) => enabled.boolean(report)?,
        None => default.enabled,
    };
    let threshold_ppm = match fields.get("threshold") {
        Some(threshold) => threshold.ppm(report)?,
        None => default.threshold_ppm,
    };
    Some(DetectorSettings { enabled, threshold_ppm })
}

fn patterns(value: &Value<'_>, report: &mut Report<'_>) -> (Vec<Pattern>, Vec<Place>) {
    let mut ids = BTreeSet::new();
    value.list(PATTERNS_MAX, report).iter().filter_map(|item| pattern(item, &mut ids, report)).unzip()
}

fn pattern(item: &Value<'_>, ids: &mut BTreeSet<String>, report: &mut Report<'_>) -> Option<(Pattern, Place)> {
    let fields = Fields::open(item.node, &item.path, PATTERN, report)?;
    let id = fields.required("id", report);
    let id = id.and_then(|value| {
        let id = value.name(report)?;
        if !ids.insert(id.clone()) {
            let message = format!("another pattern above has the id `{id}`");
            value.report(Code::Duplicate, message, report);
            return None;
        }
        Some(id)
    });
    let class = fields.required("class", report);
    let class = class.and_then(|class| class.name(report));
    let score_ppm = match fields.get("score") {
        Some(score) => score.ppm(report),
        None => Some(SCORE_PPM_DEFAULT),
    };
    let matcher = match (fields.get("literal"), fields.get("regex")) {
        (Some(literal), None) => literal_matcher(&literal, report),
        (None, Some(regex)) => regex_matcher(&regex, report),
        _ => {
            item.report(Code::InvalidValue, "a pattern has either a `literal` or a `regex`", report);
            None
        }
    };
    let pattern = Pattern { id: id?, matcher: matcher?, class: class?, score_ppm: score_ppm? };
    let place = Place { at: item.node.at, path: item.path.clone() };
    Some((pattern, place))
}

fn bounded<'n>(value: &Value<'n>, report: &mut Report<'_>) -> Option<&'n str> {
    let text = value.text(report)?;
    let refusal = if text.is_empty() {
        Some("the pattern is empty".to_owned())
    } else if text.len() > PATTERN_BYTES_MAX {
        Some(format!("the pattern is over {PATTERN_BYTES_MAX} bytes"))
    } else {
        None
    };
    if let Some(message) = refusal {
        value.report(Code::InvalidValue, message, report);
        return None;
    }
    Some(text)
}

fn literal_matcher(value: &Value<'_>, report: &mut Report<'_>) -> Option<Matcher> {
    bounded(value, report).map(|text| Matcher::Literal(text.to_owned()))
}

fn regex_matcher(value: &Value<'_>, report: &mut Report<'_>) -> Option<Matcher> {
    let text = bounded(value, report)?;
    if let Err(message) = crate::pattern::check_searchable(text) {
        value.report(Code::Regex, message, report);
        return None;
    }
    Some(Matcher::Regex(text.to_owned()))
}
