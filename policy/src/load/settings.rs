//! `version`, `metadata`, `mode` and `defaults`.

use crate::diagnostic::{Code, Report};
use crate::model::{
    BlockStyle, BodyStorage, Defaults, Metadata, Mode, OnFailure, StoredState, StreamMode, UnknownSurface,
};
use crate::policy::Document;
use crate::read::{Fields, Keys};
use crate::yaml::Kind;

/// A time budget of more than a minute is no budget.
const BUDGET_MS_MAX: i64 = 60_000;
/// The largest integer that survives every JSON reader.
const REVISION_MAX: i64 = (1 << 53) - 1;

const METADATA: Keys = Keys { known: &["name", "owner", "revision"], unsupported: &[] };
const DEFAULTS: Keys = Keys {
    known: &[
        "unknown_surface",
        "on_error",
        "on_timeout",
        "budget_ms",
        "stream",
        "block_style",
        "body_storage",
        "stored_state",
    ],
    unsupported: &[],
};
const BUDGET: Keys = Keys { known: &["request", "response_event"], unsupported: &[] };
const ON_FAILURE: [(&str, OnFailure); 2] = [("block", OnFailure::Block), ("allow", OnFailure::Allow)];

#[cfg(test)]
pub(super) const KEYS: [Keys; 3] = [METADATA, DEFAULTS, BUDGET];

pub(super) fn read(top: &Fields<'_>, document: &mut Document, report: &mut Report<'_>) {
    if let Some(version) = top.required("version", report)
        && !matches!(version.node.kind, Kind::Int(1))
    {
        version.report(Code::InvalidValue, "this version reads policies of `version: 1` only", report);
    }
    if let Some(mode) = top.get("mode") {
        let choices = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];
        if let Some(mode) = mode.choice(&choices, &[], report) {
            document.mode = mode;
        }
    }
    document.metadata = metadata(top, report);
    document.defaults = defaults(top, report);
}

fn metadata(top: &Fields<'_>, report: &mut Report<'_>) -> Metadata {
    let mut metadata = Metadata::default();
    let Some(value) = top.get("metadata") else {
        return metadata;
    };
    let Some(fields) = Fields::open(value.node, &value.path, METADATA, report) else {
        return metadata;
    };
    metadata.name = fields.get("name").and_then(|name| name.words(report));
    metadata.owner = fields.get("owner").and_then(|owner| owner.words(report));
    metadata.revision = fields
        .get("revision")
        .and_then(|revision| revision.integer(0..=REVISION_MAX, report))
        .and_then(|revision| u64::try_from(revision).ok());
    metadata
}

fn defaults(top: &Fields<'_>, report: &mut Report<'_>) -> Defaults {
    let mut defaults = Defaults::default();
    let Some(value) = top.get("defaults") else {
        return defaults;
    };
    let Some(fields) = Fields::open(value.node, &value.path, DEFAULTS, report) else {
        return defaults;
    };
    if let Some(value) = fields.get("unknown_surface") {
        let choices = [("block", UnknownSurface::Block), ("bypass", UnknownSurface::Bypass)];
        if let Some(choice) = value.choice(&choices, &[], report) {
            defaults.unknown_surface = choice;
        }
    }
    if let Some(value) = fields.get("on_error")
        && let Some(choice) = value.choice(&ON_FAILURE, &[], report)
    {
        defaults.on_error = choice;
    }
    if let Some(value) = fields.get("on_timeout")
        && let Some(choice) = value.choice(&ON_FAILURE, &[], report)
    {
        defaults.on_timeout = choice;
    }
    if let Some(value) = fields.get("budget_ms") {
        budget(&value, &mut defaults, report);
    }
    if let Some(value) = fields.get("stream") {
        // That something is only observed is said schema by schema, or with `mode`.
        let choices =
            [("buffer", StreamMode::Buffer), ("verified", StreamMode::Verified), ("cutoff", StreamMode::Cutoff)];
        if let Some(choice) = value.choice(&choices, &[], report) {
            defaults.stream = choice;
        }
    }
    if let Some(value) = fields.get("block_style") {
        let choices = [("error", BlockStyle::Error), ("refusal", BlockStyle::Refusal)];
        if let Some(choice) = value.choice(&choices, &[], report) {
            defaults.block_style = choice;
        }
    }
    if let Some(value) = fields.get("body_storage") {
        let choices = [("none", BodyStorage::None), ("hmac", BodyStorage::Hmac)];
        if let Some(choice) = value.choice(&choices, &["redacted", "full"], report) {
            defaults.body_storage = choice;
        }
    }
    if let Some(value) = fields.get("stored_state") {
        let choices = [("allow", StoredState::Allow), ("bind", StoredState::Bind), ("forbid", StoredState::Forbid)];
        if let Some(choice) = value.choice(&choices, &[], report) {
            defaults.stored_state = choice;
        }
    }
    defaults
}

fn budget(value: &crate::read::Value<'_>, defaults: &mut Defaults, report: &mut Report<'_>) {
    let Some(fields) = Fields::open(value.node, &value.path, BUDGET, report) else {
        return;
    };
    let mut milliseconds = |name: &str, default: u32| {
        fields
            .get(name)
            .and_then(|value| value.integer(1..=BUDGET_MS_MAX, report))
            .and_then(|value| u32::try_from(value).ok())
            .unwrap_or(default)
    };
    defaults.request_budget_ms = milliseconds("request", defaults.request_budget_ms);
    defaults.response_event_budget_ms = milliseconds("response_event", defaults.response_event_budget_ms);
}
