//! `callers`: which key belongs to whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Code, Report};
use crate::model::Caller;
use crate::policy::{ANONYMOUS, CallerRule};
use crate::read::{Fields, Keys, Value};

/// All are compared on every request, because stopping at the first match would tell which it was.
const CALLERS_MAX: usize = 4096;

const CALLER: Keys = Keys { known: &["id", "tenant", "match"], unsupported: &[] };
const MATCH: Keys = Keys { known: &["api_key_sha256"], unsupported: &["mtls_san"] };

#[cfg(test)]
pub(super) const KEYS: [Keys; 2] = [CALLER, MATCH];

pub(super) fn read(top: &Fields<'_>, report: &mut Report<'_>) -> Vec<CallerRule> {
    let Some(value) = top.get("callers") else {
        return Vec::new();
    };
    let mut seen = Seen::default();
    value.list(CALLERS_MAX, report).iter().filter_map(|item| caller(item, &mut seen, report)).collect()
}

#[derive(Default)]
struct Seen {
    digests: BTreeSet<[u8; 32]>,
    tenants: BTreeMap<String, String>,
}

fn caller(item: &Value<'_>, seen: &mut Seen, report: &mut Report<'_>) -> Option<CallerRule> {
    let fields = Fields::open(item.node, &item.path, CALLER, report)?;
    let id_value = fields.required("id", report);
    let id = id_value.as_ref().and_then(|id| id.name(report));
    if let (Some(value), Some(ANONYMOUS)) = (&id_value, id.as_deref()) {
        let message = format!("`{ANONYMOUS}` is the id of callers that no entry recognises");
        value.report(Code::InvalidValue, message, report);
    }
    let tenant = match fields.get("tenant") {
        Some(tenant) => tenant.name(report)?,
        None => String::new(),
    };
    let digest = fields
        .required("match", report)
        .and_then(|value| Fields::open(value.node, &value.path, MATCH, report))
        .and_then(|fields| fields.required("api_key_sha256", report))
        .and_then(|value| digest(&value, seen, report));
    let (id, digest) = (id?, digest?);
    // One caller may have several keys while one is being replaced, but is still one caller.
    match seen.tenants.get(&id) {
        Some(known) if *known != tenant => {
            item.report(Code::Duplicate, format!("caller `{id}` stands above with another tenant"), report);
            return None;
        }
        _ => {
            seen.tenants.insert(id.clone(), tenant.clone());
        }
    }
    Some(CallerRule { caller: Caller { id: id.into(), tenant: tenant.into() }, api_key_sha256: digest })
}

fn digest(value: &Value<'_>, seen: &mut Seen, report: &mut Report<'_>) -> Option<[u8; 32]> {
    let text = value.text(report)?;
    let Some(digest) = parse_hex(text) else {
        value.report(
            Code::InvalidValue,
            "the SHA-256 of a key is 64 hex digits, as printed by `printf %s \"$KEY\" | sha256sum`",
            report,
        );
        return None;
    };
    if !seen.digests.insert(digest) {
        value.report(Code::Duplicate, "another entry above has this key, so this one would never match", report);
        return None;
    }
    Some(digest)
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let value = char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(digest)
}
