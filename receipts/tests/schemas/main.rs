//! The JSON Schemas of `schemas/pef/`: every document of the good vectors is valid, and what a case forges in the form of a document
//! is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clyra_receipts::receipt::BuildInfo;
use clyra_receipts::{Attempt, Log, LogOptions, Sealer};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

struct Schemas(BTreeMap<String, Validator>);

impl Schemas {
    fn load() -> Self {
        let mut documents = BTreeMap::new();
        for entry in std::fs::read_dir(project().join("schemas/pef")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if let Some(name) = name.strip_suffix(".schema.json") {
                documents.insert(name.to_owned(), read_json(&path));
            }
        }
        let mut registry = Registry::new();
        for (name, document) in &documents {
            assert_eq!(document["$id"], format!("urn:pef:v0:schema:{name}"));
            assert!(jsonschema::meta::is_valid(document), "{name}");
            registry = registry.add(document["$id"].as_str().unwrap(), document.clone()).unwrap();
        }
        let registry = registry.prepare().unwrap();
        let build = |document: &Value| jsonschema::options().with_registry(&registry).build(document).unwrap();
        Self(documents.iter().map(|(name, document)| (name.clone(), build(document))).collect())
    }

    fn fault(&self, name: &str, document: &Value) -> Option<String> {
        let faults: Vec<String> = self.0[name].iter_errors(document).map(|error| error.to_string()).collect();
        (!faults.is_empty()).then(|| faults.join("; "))
    }
}

/// A document: which schema is its own, where it stands, what it says; `None` when it is no JSON.
type Document = (&'static str, String, Option<Value>);

/// Documents of a case, each by its schema.
#[derive(Default)]
struct Documents(Vec<Document>);

impl Documents {
    fn of_case(directory: &Path) -> Self {
        let mut documents = Self::default();
        documents.directory(directory, "");
        documents
    }

    fn directory(&mut self, directory: &Path, prefix: &str) {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                self.directory(&path, &format!("{name}/"));
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            if name.ends_with(".pef") {
                self.bundle(&bytes, &name);
            } else {
                self.member(&name, &bytes);
            }
        }
    }

    fn bundle(&mut self, bytes: &[u8], name: &str) {
        let Ok(tar) = zstd::decode_all(bytes) else { return };
        let mut at = 0;
        while at + 512 <= tar.len() && tar[at] != 0 {
            let header = &tar[at..at + 512];
            let end = header.iter().position(|byte| *byte == 0).unwrap();
            let path = String::from_utf8_lossy(&header[..end]).into_owned();
            let size = std::str::from_utf8(&header[124..135]).ok().and_then(|text| usize::from_str_radix(text, 8).ok());
            let Some(content) = size.and_then(|size| tar.get(at + 512..at + 512 + size)) else { return };
            at += 512 + content.len().next_multiple_of(512);
            self.member(&format!("{name}/{path}"), content);
        }
    }

    fn member(&mut self, path: &str, bytes: &[u8]) {
        let (_, name) = path.rsplit_once('/').unwrap_or(("", path));
        let json = || serde_json::from_slice::<Value>(bytes).ok();
        let mut plain = |schema| self.0.push((schema, path.to_owned(), json()));
        match name {
            "keys.json" => {
                plain("keys");
                self.trust(path, &json());
            }
            "manifest.json" => plain("manifest"),
            "frontier.json" => plain("frontier"),
            "externals.json" => plain("externals"),
            "pruned.json" => plain("pruned"),
            "verdict.json" => plain("verdict"),
            "manifest.dsse.json" => self.envelope("statement", path, json()),
            "custody.jsonl" | "receipts.jsonl" => {
                let payload = if name == "custody.jsonl" { "custody" } else { "receipt" };
                for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
                    let line = line.strip_suffix(b"\n").unwrap_or(line);
                    self.envelope(payload, &format!("{path}#{number}"), serde_json::from_slice(line).ok());
                }
            }
            _ if name.ends_with(".receipt.json") => self.envelope("receipt", path, json()),
            _ if name.ends_with(".event-proof") => {
                plain("event-proof");
                let receipt = json().and_then(|proof| proof.get("receipt").cloned());
                self.envelope("receipt", &format!("{path}#/receipt"), receipt);
            }
            // A file of another name is nobody's.
            _ if path.contains("keys/") && name.len() != 25 && name.len() != 69 => {}
            _ if name.ends_with(".frontier") => plain("checkpoint-frontier"),
            _ if name.ends_with(".pefwal") => self.segment(path, bytes),
            _ if path.contains("keys/logs/") || path.contains("keys/receipts/") => {
                self.envelope("certificate", path, json())
            }
            _ if path.contains("keys/revoked/") => self.envelope("revocation", path, json()),
            _ if path.contains("anchors/") && name.ends_with(".json") => {
                let transaction = json().is_some_and(|value| value.get("tx").is_some());
                plain(if transaction { "anchor-op-return" } else { "anchor-store" });
            }
            _ => {}
        }
    }

    fn envelope(&mut self, payload: &'static str, path: &str, envelope: Option<Value>) {
        let bytes = envelope.as_ref().and_then(|value| BASE64.decode(value.get("payload")?.as_str()?).ok());
        self.0.push(("envelope", path.to_owned(), envelope));
        if let Some(bytes) = bytes {
            self.0.push((payload, path.to_owned(), serde_json::from_slice(&bytes).ok()));
        }
    }

    fn trust(&mut self, path: &str, trust: &Option<Value>) {
        let list =
            |member: &str| trust.as_ref().and_then(|trust| trust[member].as_array().cloned()).unwrap_or_default();
        for (member, payload) in [("certs", "certificate"), ("revoked", "revocation")] {
            for envelope in list(member) {
                self.envelope(payload, &format!("{path}#/{member}"), Some(envelope));
            }
        }
    }

    /// Bodies of the whole frames, from the first on.
    fn segment(&mut self, path: &str, bytes: &[u8]) {
        let mut at = 4096;
        while let Some(header) = bytes.get(at..at + 72).filter(|header| header.starts_with(b"PEFR")) {
            let length = u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize;
            let signature = usize::from(u16::from_be_bytes(header[12..14].try_into().unwrap()));
            let Some(body) = bytes.get(at + 72..at + 72 + length) else { return };
            let schema = if header[5] == 4 { "segment-seal" } else { "receipt" };
            self.0.push((schema, path.to_owned(), serde_json::from_slice(body).ok()));
            at += (72 + length + signature).next_multiple_of(8);
        }
    }
}

fn table() -> (PathBuf, Vec<Value>) {
    let base = project().join("tests/vectors/pef");
    let index = read_json(&base.join("index.json"));
    (base, index["cases"].as_array().unwrap().clone())
}

#[test]
fn every_document_of_good_evidence_is_valid() {
    let schemas = Schemas::load();
    let (base, cases) = table();
    let mut seen = BTreeSet::new();
    for case in cases.iter().filter(|case| case["exit"] == 0) {
        let name = case["name"].as_str().unwrap();
        for (schema, path, document) in Documents::of_case(&base.join(name)).0 {
            let fault = match &document {
                Some(document) => schemas.fault(schema, document),
                None => Some("no JSON".to_owned()),
            };
            assert_eq!(fault, None, "{name}: {path} as {schema}: {document:?}");
            seen.insert(schema);
        }
    }
    // What no vector has, because no verifier reads it.
    let elsewhere = ["common", "hold", "lock"];
    let all: BTreeSet<&str> = schemas.0.keys().map(String::as_str).filter(|name| !elsewhere.contains(name)).collect();
    assert_eq!(seen, all);
}

/// What the crate itself writes, and not only what the vectors' own writer does.
#[test]
fn every_document_that_a_log_leaves_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let build = BuildInfo { digest: None, version: "0.1.0".into() };
    let (log, _) = Log::open(LogOptions::new(directory.path(), "test.example/log", build)).unwrap();
    let attempt: Attempt = serde_json::from_value(json!({
        "id": "019aa4c0-0000-7000-8000-000000000000", "run": {"id": "r", "parent": "p", "parents": [0, 1]},
        "caller": {"app": "a"}, "request": {"bytes": 1, "messages": [], "stream": true, "surface": "s", "tools": []},
        "policy": {"decision": "allow", "exceptions": [], "hash": "h", "rules": [], "shadow": []},
        "checks": [], "findings": [], "coverage": {"level": "full", "reasons": []},
    }))
    .unwrap();
    log.append_blocking(attempt).unwrap();
    let mut sealer = Sealer::open(directory.path()).unwrap();
    sealer.seal(log.status().durable_count, &[]).unwrap().unwrap();
    log.shutdown().unwrap();
    let schemas = Schemas::load();
    let documents = Documents::of_case(directory.path()).0;
    let mut seen = BTreeSet::new();
    for (schema, path, document) in documents {
        assert_eq!(schemas.fault(schema, document.as_ref().unwrap()), None, "{path} as {schema}: {document:?}");
        seen.insert(schema);
    }
    for schema in ["receipt", "segment-seal", "certificate", "manifest", "statement", "keys", "checkpoint-frontier"] {
        assert!(seen.contains(schema), "{schema}");
    }
}

/// Forms that a JSON Schema cannot say: the order of a list, how two members are to each other, what a payload holds.
const BEYOND: [&str; 14] = [
    "forged/e206-externals-order",
    "forged/e206-keys-canonical",
    "forged/e206-keys-revoked-name",
    "forged/e206-keys-root-name",
    "forged/e206-keys-root-weak",
    "forged/e206-line-type",
    "forged/e206-manifest-about",
    "forged/e206-manifest-empty-range",
    "forged/e206-manifest-files-order",
    "forged/e206-prune-future",
    "forged/e206-prune-nothing",
    "forged/e206-revocations-order",
    "forged/e206-run-parents-numbers",
    "forged/e206-run-parents-order",
];

#[test]
fn what_is_not_of_its_form_is_not_valid() {
    let schemas = Schemas::load();
    let (base, cases) = table();
    let mut count = 0;
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let of_form = name.starts_with("forged/e206") || name.starts_with("forged/e207");
        if !of_form {
            continue;
        }
        let invalid = Documents::of_case(&base.join(name))
            .0
            .into_iter()
            .any(|(schema, _, document)| document.is_some_and(|document| schemas.fault(schema, &document).is_some()));
        assert_eq!(invalid, !BEYOND.contains(&name), "{name}");
        count += 1;
    }
    assert!(count > 60, "{count}");
}

#[test]
fn documents_that_no_verifier_reads() {
    let schemas = Schemas::load();
    let hold = json!({
        "from": "0", "id": "case-7", "placed": "2026-11-21T03:00:00.000000Z", "reason": "court order", "to": "99",
        "v": "pef.v0",
    });
    let lock = json!({
        "boot": "019aa4c0-0000-7000-8000-000000000000", "chain": "0".repeat(64), "log": "vectors.example/log",
        "root": "0".repeat(64), "size": "18446744073709551615", "v": "pef.v0",
    });
    for (name, document) in [("hold", hold), ("lock", lock)] {
        assert_eq!(schemas.fault(name, &document), None, "{name}");
        for member in document.as_object().unwrap().keys().filter(|member| *member != "to") {
            let mut less = document.clone();
            less.as_object_mut().unwrap().remove(member);
            assert!(schemas.fault(name, &less).is_some(), "{name} without {member}");
        }
        let mut more = document.clone();
        more["x"] = json!(1);
        assert!(schemas.fault(name, &more).is_some(), "{name} with more");
    }
}
