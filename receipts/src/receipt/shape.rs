//! The form of every document, as data: what a verifier checks before it believes a word.
//!
//! A table and not the `serde` types, because it must tell a wrong member from an unknown one and say where, and because it
//! is the list that `SPEC.md` prints for implementers in other languages.

use crate::canonical::Value;
use crate::receipt::{Kind, RunRef, parse_decimal};
use crate::{clock, dsse, hex, keys};

/// What a value must look like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Bool,
    /// An integer, zero or more.
    Count,
    /// An integer of either sign.
    Integer,
    /// A 64-bit number as decimal text.
    Decimal,
    /// The same, or `none`.
    DecimalOrNone,
    /// 64 lower-case hexadecimal digits.
    Digest,
    /// 160 lower-case hexadecimal digits: a Bitcoin block header.
    BlockHeader,
    /// Lower-case hexadecimal digits, two for each byte.
    Hex,
    /// Padded standard base64 without stray bits.
    Base64,
    /// Base64 of 64 bytes.
    Signature,
    /// Base64 of 32 bytes.
    Key,
    /// The name of a log.
    Origin,
    /// A UUID in lower case with hyphens.
    Uuid,
    Timestamp,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    List(&'static Shape),
    Object(&'static [Field]),
    /// An object of any members, each of this shape.
    Map(&'static Shape),
    /// A text of at most so many bytes.
    Short(usize),
    /// Entries of this shape, ascending (decimals by their numbers, other texts by their bytes), each once, at most so many.
    Ascending(&'static Shape, usize),
    /// Anything: what others judge, and what stands under `ext`.
    Any,
}

/// Most entries of a list of names in a manifest: it is for people.
pub(crate) const NAMES_MAX: usize = 256;

/// A member of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    name: &'static str,
    required: bool,
    shape: Shape,
}

pub(crate) const fn must(name: &'static str, shape: Shape) -> Field {
    Field { name, required: true, shape }
}

pub(crate) const fn may(name: &'static str, shape: Shape) -> Field {
    Field { name, required: false, shape }
}

use Shape::{
    Any, Base64, BlockHeader, Bool, Count, Decimal, DecimalOrNone, Digest, Hex, Integer, Key, List, Map, Object, OneOf,
    Origin, Signature, Text, Timestamp, Uuid,
};

const COMMITMENT: Shape = Object(&[must("alg", OneOf(&["hmac-sha256"])), may("salt", Base64), must("value", Digest)]);

const CALLER: Shape = Object(&[
    may("app", Text),
    may("automation", Object(&[may("job_id", Text), may("pipeline_id", Text), may("service_id", Text)])),
    may("identity", Object(&[may("commit", COMMITMENT), may("id", Text), must("kind", Text)])),
    may("sdk", Text),
    may("tenant", Text),
]);

const REQUEST: Shape = Object(&[
    must("bytes", Count),
    may("commit", COMMITMENT),
    may("messages", List(&Object(&[must("count", Count), must("kind", Text), must("role", Text)]))),
    may("method", Text),
    may("model", Text),
    may("route", Text),
    must("stream", Bool),
    must("surface", Text),
    may("tools", List(&Object(&[may("digest", Digest), must("name", Text)]))),
]);

const UPSTREAM: Shape = Object(&[
    must("attempts", Count),
    may("first_byte_us", Count),
    may("model", Text),
    must("name", Text),
    may("request_id", Text),
    may("status", Count),
    may("total_us", Count),
]);

const BODY: Shape = Object(&[must("bytes", Count), may("commit", COMMITMENT)]);

const RESPONSE: Shape = Object(&[
    may("cost_microusd", Count),
    may("finish_reason", Text),
    may("received", BODY),
    may("released", BODY),
    may(
        "usage",
        Object(&[
            must("cached", Count),
            may("estimated", Bool),
            must("input", Count),
            must("output", Count),
            must("reasoning", Count),
        ]),
    ),
]);

const STREAM: Shape = Object(&[must("events", Count), must("held_max_bytes", Count), must("root", Digest)]);

const CHECKS: Shape = List(&Object(&[
    must("bytes", Count),
    must("channel", Text),
    must("id", Text),
    must("outcome", OneOf(&["pass", "finding", "error", "timeout", "skipped"])),
    may("reason", Text),
    must("us", Count),
    must("version", Text),
]));

const FINDINGS: Shape = List(&Object(&[
    may("atlas", Text),
    must("channel", Text),
    must("class", Text),
    must("detector", Text),
    may("owasp", Text),
    must("place", Object(&[must("length", Count), must("offset", Count), must("pointer", Text)])),
    must("score_ppm", Count),
    may("threat_class", Text),
]));

const SCHEMA: Shape = Object(&[
    must("digest", Text),
    must("lock", Text),
    may("repair", Object(&[must("digest", Text), must("kind", Text)])),
    must("verdict", Text),
    may("violation", Object(&[must("keyword", Text), must("offset", Count), must("pointer", Text)])),
]);

const POLICY: Shape = Object(&[
    must("decision", Text),
    may("exceptions", List(&Text)),
    must("hash", Text),
    must("rules", List(&Object(&[must("action", Text), must("id", Text)]))),
    may("shadow", List(&Object(&[must("decision", Text), must("id", Text)]))),
]);

const COVERAGE: Shape = Object(&[must("level", OneOf(&["full", "partial", "none"])), may("reasons", List(&Text))]);

const VERDICT: Shape = OneOf(&VERDICTS);

/// Names of the verdicts, in the order of the enum.
pub(crate) const VERDICTS: [&str; 11] = [
    "executed",
    "redacted",
    "repaired",
    "blocked",
    "denied",
    "held",
    "timeout",
    "errored",
    "aborted_by_client",
    "crashed",
    "deferred",
];

const RUN: Shape = Object(&[
    must("id", Shape::Short(RunRef::ID_MAX_BYTES)),
    may("parent", Shape::Short(RunRef::ID_MAX_BYTES)),
    may("parents", Shape::Ascending(&Decimal, RunRef::PARENTS_MAX)),
    must("prev", Digest),
    must("seq", Decimal),
]);

/// An object of anything.
const EXT: Shape = Map(&Any);

/// Members that every receipt has.
const COMMON: &[Field] = &[
    must("alg", Text),
    must("boot", Object(&[must("epoch", Count), must("id", Uuid)])),
    must("build", Object(&[may("digest", Text), must("version", Text)])),
    must("dur", OneOf(&["durable", "strict"])),
    must("id", Uuid),
    must("key_id", Digest),
    must("kind", Text),
    must("log", Text),
    must("mono_ns", Decimal),
    must("prev", Digest),
    must("seq", Decimal),
    must("ts", Timestamp),
    must("v", OneOf(&["pef.v0"])),
];

const ATTEMPT: &[Field] = &[
    must("caller", CALLER),
    must("checks", CHECKS),
    must("coverage", COVERAGE),
    may("ext", EXT),
    must("findings", FINDINGS),
    must("policy", POLICY),
    must("request", REQUEST),
    may("run", RUN),
];

const OUTCOME: &[Field] = &[
    must("attempt_seq", Decimal),
    must("caller", CALLER),
    must("checks", CHECKS),
    must("coverage", COVERAGE),
    may("ext", EXT),
    must("findings", FINDINGS),
    must("policy", POLICY),
    may("request", REQUEST),
    may("response", RESPONSE),
    may("run", RUN),
    may("schema", SCHEMA),
    may("stream", STREAM),
    may("upstream", UPSTREAM),
    must("verdict", VERDICT),
];

const BYPASS: &[Field] = &[
    must("caller", CALLER),
    must("coverage", COVERAGE),
    may("ext", EXT),
    must("policy", POLICY),
    must("request", REQUEST),
    may("response", RESPONSE),
    may("run", RUN),
    may("upstream", UPSTREAM),
    may("verdict", VERDICT),
];

const GENESIS: &[Field] = &[must(
    "event",
    Object(&[must("created", Timestamp), must("log", Text), may("policy", Text), must("root", Digest)]),
)];

const BOOT: &[Field] = &[must(
    "event",
    Object(&[
        must("clean", Bool),
        may("last_seq", Decimal),
        may(
            "torn",
            Object(&[must("blake3", Digest), must("bytes", Count), must("offset", Count), must("segment", Text)]),
        ),
    ]),
)];

const SHUTDOWN: &[Field] = &[must("event", Object(&[must("receipts", Count)]))];

const POLICY_CHANGE: &[Field] = &[must("event", Object(&[may("from", Text), must("source", Text), must("to", Text)]))];

const DEGRADED: &[Field] =
    &[must("event", Object(&[must("reason", Text), must("state", OneOf(&["entered", "left"]))]))];

const GAP: &[Field] = &[must("event", Object(&[must("exchanges", Count), must("reason", Text)]))];

const SEAL: &[Field] = &[must(
    "event",
    Object(&[must("from", Decimal), must("root", Digest), must("sha256", Digest), must("to", Decimal)]),
)];

const HEARTBEAT: &[Field] = &[must("event", Object(&[must("receipts", Count)]))];

const CLOCK_STEP: &[Field] = &[must("event", Object(&[must("from", Timestamp), must("step_us", Integer)]))];

const KEY_ROTATE: &[Field] = &[must(
    "event",
    Object(&[
        must("new", Digest),
        must("new_sig", Signature),
        must("old", Digest),
        must("old_sig", Signature),
        must("purpose", OneOf(&["log", "receipt"])),
        must("valid_from_seq", Decimal),
    ]),
)];

const KEY_REVOKE: &[Field] = &[must(
    "event",
    Object(&[
        must("key_id", Digest),
        must("last_good_seq", DecimalOrNone),
        must("reason", Text),
        must("sha256", Digest),
    ]),
)];

const ANCHOR: &[Field] = &[must(
    "event",
    Object(&[
        may("at", Timestamp),
        may("header", BlockHeader),
        must("kind", OneOf(&["directory", "object", "op_return", "opentimestamps", "rfc3161", "witness"])),
        must("proof", Digest),
        may("ref", Text),
        must("root", Digest),
        must("sha256", Digest),
        must("size", Decimal),
        must("state", OneOf(&["confirmed", "pending"])),
    ]),
)];

const PRUNE: &[Field] = &[must(
    "event",
    Object(&[
        must("bytes", Count),
        must("from", Decimal),
        must("root", Digest),
        must("segments", Count),
        must("to", Decimal),
    ]),
)];

fn of_kind(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Genesis => GENESIS,
        Kind::Boot => BOOT,
        Kind::Shutdown => SHUTDOWN,
        Kind::Attempt => ATTEMPT,
        Kind::Outcome => OUTCOME,
        Kind::Bypass => BYPASS,
        Kind::PolicyChange => POLICY_CHANGE,
        Kind::Degraded => DEGRADED,
        Kind::Gap => GAP,
        Kind::Seal => SEAL,
        Kind::Heartbeat => HEARTBEAT,
        Kind::ClockStep => CLOCK_STEP,
        Kind::KeyRotate => KEY_ROTATE,
        Kind::KeyRevoke => KEY_REVOKE,
        Kind::Anchor => ANCHOR,
        Kind::Prune => PRUNE,
    }
}

/// Every member name that a receipt of this kind may have, at any depth.
#[cfg(test)]
pub(crate) fn names(kind: Kind) -> Vec<&'static str> {
    [names_in(&Object(COMMON)), names_in(&Object(of_kind(kind)))].concat()
}

/// Every member name of a form, at any depth.
#[cfg(test)]
pub(crate) fn names_in(shape: &Shape) -> Vec<&'static str> {
    match shape {
        Object(fields) => fields.iter().flat_map(|field| [vec![field.name], names_in(&field.shape)].concat()).collect(),
        List(inner) | Map(inner) | Shape::Ascending(inner, _) => names_in(inner),
        _ => Vec::new(),
    }
}

/// A trust file. Its certificates and revocations are judged by those who read them.
pub(crate) const TRUST: Shape = Object(&[
    must("certs", List(&Any)),
    must("log", Origin),
    may("revoked", List(&Any)),
    must("root", Object(&[must("alg", Text), must("key_id", Text), must("name", Text), must("pub", Key)])),
    must("v", OneOf(&["pef.v0"])),
]);

/// The body of a certificate.
pub(crate) const CERTIFICATE: Shape = Object(&[
    must("alg", Text),
    must("issued", Timestamp),
    must("issuer", Text),
    must("key_id", Text),
    must("log", Text),
    must("name", Text),
    must("pub", Key),
    must("purpose", OneOf(&["log", "receipt"])),
    must("v", OneOf(&["pef.v0"])),
    must("valid_from_seq", Decimal),
]);

/// The body of a revocation.
pub(crate) const REVOCATION: Shape = Object(&[
    must("alg", Text),
    must("issued", Timestamp),
    must("issuer", Text),
    must("key_id", Text),
    must("last_good_seq", DecimalOrNone),
    must("log", Text),
    must("reason", Shape::Short(keys::REASON_MAX_BYTES)),
    must("v", OneOf(&["pef.v0"])),
]);

/// A bundle's `manifest.json`.
pub(crate) const MANIFEST: Shape = Object(&[
    must("about", ABOUT),
    must("chain", Digest),
    must("created", Timestamp),
    must(
        "files",
        List(&Object(&[must("blake3", Digest), must("path", Text), must("sha256", Digest), must("size", Count)])),
    ),
    must("from", Decimal),
    must("kinds", Map(&Count)),
    must("log", Text),
    must("prev", Digest),
    must("root", Digest),
    must("to", Decimal),
    must("v", OneOf(&["pef.v0"])),
    must("verdicts", Map(&Count)),
]);

/// A proof that an event was released. The trust file and the envelope are judged by those who read them.
pub(crate) const EVENT_PROOF: Shape = Object(&[
    must("event", Decimal),
    must("events", Decimal),
    must("keys", Any),
    must("leaf", Digest),
    must("path", List(&Digest)),
    must("proof", Text),
    must("receipt", Any),
    must("v", OneOf(&["pef.v0"])),
]);

/// The lock record.
pub(crate) const LOCK_RECORD: Shape = Object(&[
    must("boot", Uuid),
    must("chain", Digest),
    must("log", Text),
    must("root", Digest),
    must("size", Decimal),
    must("v", OneOf(&["pef.v0"])),
]);

/// A list of texts that must be ascending, each once, and few enough.
const NAMES: Shape = Shape::Ascending(&Text, NAMES_MAX);

const QUANTILES: Shape = Object(&[must("max", Count), must("p50", Count), must("p90", Count), must("p99", Count)]);

/// What a manifest says for people.
const ABOUT: Shape = Object(&[
    must("automation", Object(&[must("job_ids", NAMES), must("pipeline_ids", NAMES), must("service_ids", NAMES)])),
    must("builds", NAMES),
    must(
        "performance",
        Object(&[must("exchanges", Count), must("first_byte_us", QUANTILES), must("total_us", QUANTILES)]),
    ),
    must("schemas", Shape::Ascending(&Digest, NAMES_MAX)),
    must("sdks", NAMES),
    must("worm", NAMES),
]);

/// A bundle's `externals.json`.
pub(crate) const EXTERNALS: Shape = List(&Object(&[
    must("blake3", Digest),
    must("media", Text),
    must("sha256", Digest),
    must("size", Count),
    must("uri", Text),
]));

/// The journal's `pruned.json`.
pub(crate) const PRUNED: Shape =
    Object(&[must("chain", Digest), must("frontier", FRONTIER), must("v", OneOf(&["pef.v0"]))]);

/// A bundle's `frontier.json`.
pub(crate) const FRONTIER: Shape = Object(&[must("hashes", List(&Digest)), must("size", Decimal)]);

/// A deviation: where, and of which kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShapeFault {
    /// JSON pointer of the member.
    pub(crate) pointer: String,
    /// An unknown member, rather than one that is missing or of the wrong form.
    pub(crate) unknown: bool,
}

/// All deviations of a receipt, in the order of their pointers.
pub(crate) fn check_receipt(body: &Value) -> Vec<ShapeFault> {
    let mut faults = Vec::new();
    let Some(kind) = body.get("kind").and_then(Value::as_str).and_then(Kind::from_name) else {
        return vec![ShapeFault { pointer: "/kind".to_owned(), unknown: false }];
    };
    check_members(body, &[COMMON, of_kind(kind)], "", &mut faults);
    faults.sort();
    faults
}

/// All deviations of any other document.
pub(crate) fn check(value: &Value, shape: &Shape) -> Vec<ShapeFault> {
    let mut faults = Vec::new();
    check_value(value, shape, "", &mut faults);
    faults.sort();
    faults
}

fn check_value(value: &Value, shape: &Shape, pointer: &str, faults: &mut Vec<ShapeFault>) {
    let text = |good: fn(&str) -> bool| value.as_str().is_some_and(good);
    let good = match shape {
        Any => true,
        Text => value.as_str().is_some(),
        Bool => matches!(value, Value::Bool(_)),
        Count => value.as_integer().is_some_and(|number| number >= 0),
        Integer => value.as_integer().is_some(),
        DecimalOrNone => text(|text| text == "none" || parse_decimal(text).is_some()),
        BlockHeader => text(|text| text.len() == 160 && text.bytes().all(hex::is_digit)),
        Hex => text(|text| hex::decode(text).is_some()),
        Base64 => text(dsse::is_base64),
        Signature => text(|text| dsse::decode_base64::<64>(text).is_some()),
        Key => text(|text| dsse::decode_base64::<32>(text).is_some()),
        Origin => text(keys::is_origin),
        Decimal => text(|text| parse_decimal(text).is_some()),
        Digest => text(|text| hex::decode_32(text).is_some()),
        Uuid => text(is_uuid),
        Timestamp => text(clock::is_timestamp),
        OneOf(names) => value.as_str().is_some_and(|text| names.contains(&text)),
        List(inner) => match value.as_array() {
            Some(items) => {
                for (index, item) in items.iter().enumerate() {
                    check_value(item, inner, &format!("{pointer}/{index}"), faults);
                }
                true
            }
            None => false,
        },
        Map(inner) => match value.as_object() {
            Some(members) => {
                for (name, member) in members {
                    check_value(member, inner, &step(pointer, name), faults);
                }
                true
            }
            None => false,
        },
        Shape::Short(bytes_max) => value.as_str().is_some_and(|text| text.len() <= *bytes_max),
        Shape::Ascending(inner, entries_max) => {
            let before = faults.len();
            check_value(value, &List(inner), pointer, faults);
            // Whether they ascend is asked of entries that are of their form.
            faults.len() > before || value.as_array().is_some_and(|items| ascends(items, inner, *entries_max))
        }
        Object(fields) => match value.as_object() {
            Some(_) => {
                check_members(value, &[fields], pointer, faults);
                true
            }
            None => false,
        },
    };
    if !good {
        faults.push(ShapeFault { pointer: pointer.to_owned(), unknown: false });
    }
}

fn check_members(value: &Value, tables: &[&[Field]], pointer: &str, faults: &mut Vec<ShapeFault>) {
    let Some(members) = value.as_object() else {
        faults.push(ShapeFault { pointer: pointer.to_owned(), unknown: false });
        return;
    };
    let fields = || tables.iter().flat_map(|table| table.iter());
    for (name, member) in members {
        match fields().find(|field| field.name == name) {
            Some(field) => check_value(member, &field.shape, &step(pointer, name), faults),
            None => faults.push(ShapeFault { pointer: step(pointer, name), unknown: true }),
        }
    }
    for field in fields().filter(|field| field.required && !members.contains_key(field.name)) {
        faults.push(ShapeFault { pointer: step(pointer, field.name), unknown: false });
    }
}

/// True for few texts in ascending order.
fn ascends(items: &[Value], shape: &Shape, entries_max: usize) -> bool {
    let place = |item: &Value| {
        let text = item.as_str().unwrap_or_default();
        if matches!(shape, Decimal) { (parse_decimal(text), "".to_owned()) } else { (None, text.to_owned()) }
    };
    items.len() <= entries_max && items.windows(2).all(|pair| matches!(pair, [a, b] if place(a) < place(b)))
}

/// RFC 6901.
fn step(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}
