//! `repair` of a schema: which damage may be mended, and whether the model is asked again.

use std::ops::RangeInclusive;

use crate::diagnostic::{Code, Report};
use crate::model::{CSV_REPAIR_CLASSES, Coercion, REPAIR_CLASSES, RepairRule, SchemaFormat};
use crate::read::{Fields, Keys, Value};

/// A second answer needs a second; after ten minutes the client has gone.
const ASK_AGAIN_MS: RangeInclusive<u64> = 1_000..=600_000;

pub(super) const REPAIR: Keys =
    Keys { known: &["local", "coerce", "ask_again", "ask_again_timeout"], unsupported: &[] };

pub(super) fn read(value: &Value<'_>, format: SchemaFormat, report: &mut Report<'_>) -> Option<RepairRule> {
    let fields = Fields::open(value.node, &value.path, REPAIR, report)?;
    let default = RepairRule::default();
    let local = match fields.get("local") {
        Some(local) => local.subset(&REPAIR_CLASSES, |name| name, report),
        None => Some(Vec::new()),
    };
    let coerce = match fields.get("coerce") {
        Some(coerce) => coerce.subset(&Coercion::ALL, Coercion::as_str, report),
        None => Some(Vec::new()),
    };
    let ask_again = match fields.get("ask_again") {
        Some(times) => times.integer(0..=1, report).and_then(|times| u8::try_from(times).ok()),
        None => Some(default.ask_again),
    };
    let ask_again_timeout_ms = match fields.get("ask_again_timeout") {
        Some(time) => time.duration_ms(ASK_AGAIN_MS, report),
        None => Some(default.ask_again_timeout_ms),
    };
    let rule = RepairRule {
        local: local?.into_iter().map(str::to_owned).collect(),
        coerce: coerce?,
        ask_again: ask_again?,
        ask_again_timeout_ms: ask_again_timeout_ms?,
    };
    (format == SchemaFormat::Json || fits_csv(&rule, &fields, report)).then_some(rule)
}

/// Whether nothing is asked for that CSV cannot have.
fn fits_csv(rule: &RepairRule, fields: &Fields<'_>, report: &mut Report<'_>) -> bool {
    let mut fits = true;
    let mut refuse = |key: &str, code, message: String| {
        if let Some(value) = fields.get(key) {
            value.report(code, message, report);
        }
        fits = false;
    };
    if let Some(name) = rule.local.iter().find(|name| !CSV_REPAIR_CLASSES.contains(&name.as_str())) {
        let known = CSV_REPAIR_CLASSES.join(", ");
        refuse("local", Code::InvalidValue, format!("`{name}` mends JSON; what CSV can have: {known}"));
    }
    if !rule.coerce.is_empty() {
        refuse("coerce", Code::InvalidValue, "the fields of CSV are text; there is nothing to coerce".to_owned());
    }
    if rule.ask_again > 0 {
        let message = "asking again for CSV is not supported by this version; remove it";
        refuse("ask_again", Code::Unsupported, message.to_owned());
    }
    fits
}
