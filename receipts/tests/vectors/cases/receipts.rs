//! Receipts and envelopes that are not what a receipt is, one in a log that is otherwise in order. They are signed, chained and
//! in the tree: whoever wrote them held the keys.

use serde_json::{Value, json};

use super::{Case, of_log, of_small};
use crate::forge::key::{Key, envelope};
use crate::forge::log::{self, Log, RECEIPT_TYPE};
use crate::forge::{base64, hex, replace};

/// A log with such a bypass between two exchanges.
fn with_body(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Log {
    let mut log = Log::started();
    log.exchange();
    log.push_text("bypass", log::bypass(), change);
    log.exchange();
    log
}

fn with(change: impl FnOnce(&mut Value)) -> Log {
    let mut log = Log::started();
    log.exchange();
    log.push_with("bypass", log::bypass(), change);
    log.exchange();
    log
}

/// A log with such a line in the place of a bypass.
fn with_line(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Log {
    let mut log = Log::started();
    log.push("bypass", log::bypass());
    log.exchange();
    log.change_line(2, change);
    log
}

/// The log, its odd receipt marked as one that cannot be read, where that is what is odd about it.
fn marked(log: &Log, name: &str) -> Log {
    let mut log = log.clone();
    let odd = log.receipts.iter().position(|receipt| receipt.other_line.is_some()).unwrap_or(4);
    let unreadable = ["e201", "e202", "e204", "e205", "e106", "e206-line"];
    if unreadable.iter().any(|start| name.starts_with(start)) {
        log.receipts[odd].unreadable = true;
    }
    log
}

fn within(bytes: &[u8], from: &str, to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, about: &str, log: &Log, codes: &str| {
        cases.push(of_log(&format!("forged/{name}"), about, &marked(log, name)).finds(codes));
    };
    let bytes = |from: &'static str, to: &'static str| with_body(move |body| replace(&body, from, to));
    let count = "\"bytes\":10,";
    add("e201-body", "A body without its end.", &with_body(|body| body[..body.len() - 1].to_vec()), "E201");
    add("e201-body-comma", "A comma too many.", &bytes(count, "\"bytes\":10,,"), "E201");
    add("e201-body-leading-zero", "A number with a leading zero.", &bytes(count, "\"bytes\":010,"), "E201");
    add(
        "e201-body-control",
        "A control character in a text, not escaped.",
        &with_body(|body| within(&body, "unknown endpoint", b"unknown\x01endpoint")),
        "E201",
    );
    add(
        "e201-body-bom",
        "A byte order mark before the body.",
        &with_body(|body| [b"\xef\xbb\xbf", &body[..]].concat()),
        "E201",
    );
    add("e202-body", "A member name is repeated.", &bytes(count, "\"bytes\":10,\"bytes\":10,"), "E202");
    add(
        "e202-body-escaped",
        "A member name is repeated, once spelled with an escape.",
        &bytes(count, "\"bytes\":10,\"\\u0062ytes\":10,"),
        "E202",
    );
    add("e203-body-space", "A space in a body.", &bytes(count, "\"bytes\": 10,"), "E203");
    add(
        "e203-body-escape",
        "A letter is written as an escape.",
        &bytes("unknown endpoint", "\\u0075nknown endpoint"),
        "E203",
    );
    add("e203-body-slash", "A slash is escaped.", &bytes("/health", "\\/health"), "E203");
    add(
        "e203-body-order",
        "Members in another order.",
        &bytes("\"v\":\"pef.v0\",\"verdict\":\"executed\"", "\"verdict\":\"executed\",\"v\":\"pef.v0\""),
        "E203",
    );
    add("e203-body-capitals", "An escape in capitals.", &bytes("unknown endpoint", "unknown\\u001Fendpoint"), "E203");
    add("e204-body-fraction", "A count with a fraction.", &bytes(count, "\"bytes\":10.0,"), "E204");
    add("e204-body-exponent", "A count with an exponent.", &bytes(count, "\"bytes\":1e1,"), "E204");
    add("e204-body-negative-zero", "A count of minus zero.", &bytes(count, "\"bytes\":-0,"), "E204");
    add("e204-body-large", "A count of 2^53.", &bytes(count, "\"bytes\":9007199254740992,"), "E204");
    add(
        "e204-body-huge",
        "A count of 400 digits.",
        &with_body(|body| replace(&body, count, &format!("\"bytes\":{},", "9".repeat(400)))),
        "E204",
    );
    add(
        "e205-body-utf8",
        "Bytes that are no UTF-8.",
        &with_body(|body| within(&body, "unknown endpoint", b"unknown \xc3\x28")),
        "E205",
    );
    add(
        "e205-body-overlong",
        "An overlong form of UTF-8.",
        &with_body(|body| within(&body, "/health", b"\xc0\xafhealth")),
        "E205",
    );
    add("e205-body-surrogate", "An unpaired surrogate.", &bytes("unknown endpoint", "unknown \\ud83d"), "E205");
    add(
        "e205-body-surrogate-order",
        "A pair of surrogates the wrong way round.",
        &bytes("unknown endpoint", "\\ude00\\ud83d"),
        "E205",
    );
    add("e205-body-name", "A member name that is not ASCII.", &bytes(count, "\"bytes\":10,\"é\":1,"), "E205");
    add(
        "e106-body-deep",
        "33 arrays within each other.",
        &with(|body| {
            body["ext"] = json!({"a": (0..32).fold(json!([]), |inner, _| json!([inner]))});
        }),
        "E106",
    );
    let mut deep = with(|body| body["ext"] = json!({"a": (0..29).fold(json!([]), |inner, _| json!([inner]))}));
    deep.shutdown();
    add(
        "e206-missing",
        "A member is missing.",
        &with(|body| drop(body.as_object_mut().unwrap().remove("coverage"))),
        "E206",
    );
    add(
        "e206-missing-alg",
        "The algorithm is missing.",
        &with(|body| drop(body.as_object_mut().unwrap().remove("alg"))),
        "E206",
    );
    add("e206-type", "A count as text.", &with(|body| body["request"]["bytes"] = "10".into()), "E206");
    add("e206-negative", "A count below zero.", &with(|body| body["request"]["bytes"] = (-1).into()), "E206");
    add("e206-null", "A member that is null.", &with(|body| body["request"]["method"] = Value::Null), "E206");
    add("e206-verdict", "A verdict that does not exist.", &with(|body| body["verdict"] = "perhaps".into()), "E206");
    add(
        "e206-level",
        "A level of coverage that does not exist.",
        &with(|body| body["coverage"]["level"] = "most".into()),
        "E206",
    );
    add("e206-version", "A receipt of version 1.", &with(|body| body["v"] = "pef.v1".into()), "E206");
    add(
        "e206-uuid",
        "A UUID in capitals.",
        &with(|body| body["id"] = body["id"].as_str().unwrap().to_uppercase().replace("019", "A19").into()),
        "E206",
    );
    add(
        "e206-timestamp-zone",
        "A time with an offset.",
        &with(|body| body["ts"] = "2026-11-21T03:01:00.000000+00:00".into()),
        "E206 E508?",
    );
    add(
        "e206-timestamp-fraction",
        "A time in milliseconds.",
        &with(|body| body["ts"] = "2026-11-21T03:01:00.012Z".into()),
        "E206 E508?",
    );
    add("e206-ext", "ext is not an object.", &with(|body| body["ext"] = json!([])), "E206");
    add("e206-decimal", "A monotonic time with a sign.", &with(|body| body["mono_ns"] = "+9".into()), "E206");
    add(
        "e206-decimal-large",
        "A monotonic time of 2^64.",
        &with(|body| body["mono_ns"] = "18446744073709551616".into()),
        "E206",
    );
    add("e206-kind", "A kind that does not exist.", &with(|body| body["kind"] = "tool".into()), "E206");
    add("e206-kind-reserved", "A kind that is reserved.", &with(|body| body["kind"] = "hold".into()), "E206");
    add("e206-seq", "A sequence number as a number.", &with(|body| body["seq"] = 4.into()), "E206");
    add("e206-prev", "A chain value of 63 digits.", &with(|body| body["prev"] = "0".repeat(63).into()), "E206");
    add("e206-array", "A body that is a list.", &with_body(|_| b"[]".to_vec()), "E206");
    add(
        "e206-list",
        "A list with an entry that is not of its form.",
        &with(|body| body["coverage"]["reasons"] = json!(["a", 1])),
        "E206",
    );
    add(
        "e206-run-parents",
        "33 parents of a run.",
        &run(|run| run["parents"] = (0..33).map(|seq: u64| seq.to_string()).collect()),
        "E206",
    );
    add(
        "e206-run-parents-order",
        "Parents of a run that are not ascending.",
        &run(|run| run["parents"] = json!(["2", "0"])),
        "E206",
    );
    add(
        "e206-run-parents-entry",
        "A parent of a run that is no decimal.",
        &run(|run| run["parents"] = json!(["9", "1x", "2"])),
        "E206",
    );
    add(
        "e206-run-parents-numbers",
        "Parents of a run ascend as numbers, not as texts.",
        &run(|run| run["parents"] = json!(["10", "9"])),
        "E206",
    );
    add("e206-run-id", "A run whose id has 129 bytes.", &run(|run| run["parent"] = "a".repeat(129).into()), "E206");
    add("e207-top", "An unknown member.", &with(|body| body["trusted"] = true.into()), "E207");
    add(
        "e207-inner",
        "An unknown member within another.",
        &with(|body| body["request"]["body"] = "secret".into()),
        "E207",
    );
    add(
        "e207-pointer",
        "An unknown member whose name needs escapes in a pointer.",
        &with(|body| body["caller"]["a/b~c"] = 1.into()),
        "E207",
    );
    add("e207-kind", "A member of another kind.", &with(|body| body["attempt_seq"] = "2".into()), "E207");
    add(
        "e207-many",
        "Several deviations in one receipt.",
        &with(|body| {
            body["a"] = 1.into();
            body["request"]["bytes"] = "x".into();
            body["request"]["stream"] = 0.into();
        }),
        "E206 E207",
    );
    add(
        "e206-key-id",
        "A key_id that is no digest: it is looked for as it is.",
        &with(|body| body["key_id"] = "x".into()),
        "E206 E301 E302 E306",
    );
    add(
        "e206-key-id-missing",
        "No key_id: the key changes without a rotation, and back again.",
        &with(|body| drop(body.as_object_mut().unwrap().remove("key_id"))),
        "E206 E306",
    );
    add(
        "e302-envelope",
        "Envelope and body name different keys.",
        &with_line(|line| {
            let mut value: Value = serde_json::from_slice(&line).unwrap();
            value["signatures"][0]["keyid"] = "0".repeat(64).into();
            crate::forge::json::canonical(&value)
        }),
        "E302",
    );
    add("e303-receipt", "A receipt of another algorithm.", &with(|body| body["alg"] = "rsa".into()), "E303");
    add("e303-none", "A receipt that wants no signature.", &with(|body| body["alg"] = "none".into()), "E303");
    add("e604-receipt", "A receipt of another log.", &with(|body| body["log"] = "other.example/log".into()), "E604");
    add(
        "e401-signature",
        "A signature with another bit.",
        &with_line(|line| {
            let mut value: Value = serde_json::from_slice(&line).unwrap();
            let mut signature = crate::forge::unbase64(value["signatures"][0]["sig"].as_str().unwrap());
            signature[5] ^= 1;
            value["signatures"][0]["sig"] = base64(&signature).into();
            crate::forge::json::canonical(&value)
        }),
        "E401",
    );
    add(
        "e401-scalar",
        "A signature whose scalar was made larger by the order of the group.",
        &with_line(|line| {
            let mut value: Value = serde_json::from_slice(&line).unwrap();
            let signature = crate::forge::unbase64(value["signatures"][0]["sig"].as_str().unwrap());
            value["signatures"][0]["sig"] = base64(&add_order(&signature)).into();
            crate::forge::json::canonical(&value)
        }),
        "E401",
    );
    add(
        "e401-type",
        "A signature over the body without its type.",
        &{
            let mut log = Log::started();
            log.exchange();
            let key = log.key();
            let receipt = &mut log.receipts[2];
            receipt.signature = key.sign(&receipt.body).to_vec();
            log
        },
        "E401",
    );
    add("e201-line", "A line that is no JSON.", &with_line(|line| line[..line.len() - 1].to_vec()), "E201");
    add("e201-line-empty", "An empty line.", &with_line(|_| Vec::new()), "E201");
    add(
        "e202-line",
        "A member of the envelope is repeated.",
        &with_line(|line| replace(&line, "{\"payload\"", "{\"payload\":\"\",\"payload\"")),
        "E202",
    );
    add(
        "e203-line",
        "A space in an envelope.",
        &with_line(|line| replace(&line, ",\"payloadType\"", ", \"payloadType\"")),
        "E203",
    );
    add(
        "e205-line",
        "An envelope with bytes that are no UTF-8.",
        &with_line(|line| within(&line, "vnd.pef", b"vnd.\xffpef")),
        "E205",
    );
    add(
        "e206-line-type",
        "An envelope of another type.",
        &with_line(|line| replace(&line, "receipt.v0", "receipt.v1")),
        "E206",
    );
    add(
        "e206-line-member",
        "An envelope with another member.",
        &with_line(|line| replace(&line, "{", "{\"a\":1,")),
        "E206",
    );
    add(
        "e206-line-signatures",
        "An envelope without signatures.",
        &with_line(|line| {
            let mut value: Value = serde_json::from_slice(&line).unwrap();
            value["signatures"] = json!([]);
            crate::forge::json::canonical(&value)
        }),
        "E206",
    );
    add(
        "e206-line-signature-length",
        "A signature of 63 bytes.",
        &with_line(|line| {
            let mut value: Value = serde_json::from_slice(&line).unwrap();
            value["signatures"][0]["sig"] = base64(&[1; 63]).into();
            crate::forge::json::canonical(&value)
        }),
        "E206",
    );
    add(
        "e206-line-base64",
        "A payload in base64 of URLs.",
        &with_line(|line| {
            let mut value: Value = serde_json::from_slice(&line).unwrap();
            let payload = value["payload"].as_str().unwrap().replace("W", "_");
            value["payload"] = payload.into();
            crate::forge::json::canonical(&value)
        }),
        "E206",
    );
    add("e206-line-list", "A line that is a list.", &with_line(|_| b"[]".to_vec()), "E206");
    add(
        "e106-line",
        "A line of more than 65,535 bytes.",
        &with_line(|line| [&b" ".repeat(65_600)[..], &line].concat()),
        "E106 E503 E506 E511",
    );
    cases.push(of_log(
        "valid/policy-hash-text",
        "A policy hash that is no digest: a text is all that it must be.",
        &with(|body| body["policy"]["hash"] = "none".into()),
    ));
    cases.push(
        of_log(
            "valid/timestamp-digits",
            "A time in the thirteenth month: only its digits are looked at.",
            &with(|body| {
                body["ts"] = "2026-13-21T03:01:00.012000Z".into();
            }),
        )
        .finds("E508?"),
    );
    cases.push(of_log("valid/deep", "Values nested as deep as they may be.", &deep));
    cases.push(
        of_small("forged/e201-last-line", "The last line does not end.", |bundle| {
            let bytes = bundle.get("receipts.jsonl").to_vec();
            bundle.set("receipts.jsonl", bytes[..bytes.len() - 1].to_vec()).reseal();
            bundle
                .change("manifest.json", |manifest| drop(manifest["kinds"].as_object_mut().unwrap().remove("shutdown")))
                .sign();
        })
        .finds("E201 E503 E506"),
    );
    cases.push(
        of_small("forged/e401-outsider", "A verdict was edited by somebody without keys.", |bundle| {
            let lines = String::from_utf8(bundle.get("receipts.jsonl").to_vec()).unwrap();
            let lines: Vec<String> = lines.lines().map(edited).collect();
            bundle.set("receipts.jsonl", lines.join("\n") + "\n");
        })
        .finds("E103 E401 E503 E511 E601"),
    );
    cases.push(
        of_log(
            "forged/e301-swapped-key",
            "Everything was signed anew, with a key that the log does not know.",
            &swapped(),
        )
        .finds("E301"),
    );
    cases
}

/// An attempt of a run whose place was changed.
fn run(change: impl FnOnce(&mut Value)) -> Log {
    let mut log = Log::started();
    let mut attempt = log::attempt();
    attempt["run"] = json!({"id": "r"});
    let seq = log.push_with("attempt", attempt, |body| change(&mut body["run"]));
    log.outcome(seq);
    log
}

fn edited(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap();
    let body = crate::forge::unbase64(value["payload"].as_str().unwrap());
    if !body.windows(10).any(|window| window == b"\"executed\"") {
        return line.to_owned();
    }
    let body = replace(&body, "\"executed\"", "\"blocked\"");
    let signature = crate::forge::unbase64(value["signatures"][0]["sig"].as_str().unwrap());
    let key_id = value["signatures"][0]["keyid"].as_str().unwrap();
    String::from_utf8(crate::forge::json::canonical(&envelope(RECEIPT_TYPE, &body, key_id, &signature))).unwrap()
}

/// The same point, another spelling of the number: S + L.
fn add_order(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let (mut out, mut carry) = (signature[..32].to_vec(), 0);
    for (scalar, order) in signature[32..].iter().zip(ORDER) {
        let sum = u16::from(*scalar) + u16::from(order) + carry;
        out.push(u8::try_from(sum & 0xff).unwrap());
        carry = sum >> 8;
    }
    out
}

/// A log whose receipts are signed with a key that it never certified.
fn swapped() -> Log {
    let mut log = Log::started();
    let certified = log.keys.clone();
    let mut log = {
        log = Log::empty(log::ORIGIN, "");
        log.begin();
        log.keys = vec![(Key::new(&format!("{}/receipt", log::ORIGIN), "thief"), 0)];
        let event = log.genesis();
        log.push("genesis", json!({"event": event}));
        log.push("boot", json!({"event": {"clean": true}}));
        log.exchange();
        log
    };
    assert_ne!(hex(&log.keys[0].0.public()), hex(&certified[0].0.public()));
    log.keys = certified;
    log
}
