//! Bundles: members, manifest, statement, tar and zstd.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::{Value, json};

use super::json::canonical;
use super::key::{Key, envelope};
use super::log::{Log, Receipt};
use super::{Files, base64, derive, hex, pae, sha256, tree, unbase64};

pub(crate) const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";
pub(crate) const CUSTODY_TYPE: &str = "application/vnd.pef.custody.v0+json";

/// Members that the manifest does not list.
const OUTSIDE: [&str; 3] = ["custody.jsonl", "manifest.dsse.json", "manifest.json"];

#[derive(Clone)]
pub(crate) struct Bundle {
    pub(crate) members: Files,
    pub(crate) key: Key,
    pub(crate) log: String,
}

impl Log {
    /// Receipts `[from, to)` by their positions, with everything that belongs to them.
    pub(crate) fn bundle(&self, from: usize, to: usize) -> Bundle {
        let mut members = Files::new();
        let receipts = &self.receipts[from..to];
        let lines: Vec<Vec<u8>> = receipts.iter().map(|receipt| [&receipt.line()[..], b"\n"].concat()).collect();
        members.insert("checkpoint".into(), self.checkpoint(to));
        if from > 0 {
            members.insert("checkpoint.prev".into(), self.checkpoint(from));
            let proof = tree::consistency(from, &self.leaves()[..to]);
            let lines: String = proof.iter().map(|hash| base64(hash) + "\n").collect();
            members.insert("consistency".into(), lines.into_bytes());
        }
        members.insert("frontier.json".into(), canonical(&self.frontier(from)));
        members.insert("keys.json".into(), canonical(&self.trust()));
        let (path, policy) = super::log::policy_document();
        members.insert(path, policy);
        members.insert("receipts.jsonl".into(), lines.concat());
        let (mut kinds, mut verdicts) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
        for value in receipts.iter().filter_map(counted) {
            *kinds.entry(value["kind"].as_str().unwrap().to_owned()).or_default() += 1;
            if let Some(verdict) = value["verdict"].as_str().filter(|verdict| VERDICTS.contains(verdict)) {
                *verdicts.entry(verdict.to_owned()).or_default() += 1;
            }
        }
        let last: Value = serde_json::from_slice(&receipts[receipts.len() - 1].body).unwrap_or_default();
        let created = last["ts"].as_str().unwrap_or("2026-11-21T03:00:00.000000Z");
        let prev = match from {
            0 => {
                let genesis: Value = serde_json::from_slice(&self.receipts[0].body).unwrap_or_default();
                derive("pef.v0 genesis", &canonical(&genesis["event"]))
            }
            _ => self.chain_at(from),
        };
        let quantiles = json!({"max": 0, "p50": 0, "p90": 0, "p99": 0});
        let manifest = json!({
            "about": {
                "automation": {"job_ids": [], "pipeline_ids": [], "service_ids": []},
                "builds": ["0.1.0+sha256:".to_owned() + &"ab".repeat(32)],
                "performance": {"exchanges": 0, "first_byte_us": quantiles, "total_us": quantiles},
                "schemas": [], "sdks": [], "worm": [],
            },
            "chain": hex(&self.chain_at(to)), "created": created, "files": [], "from": from.to_string(),
            "kinds": kinds, "log": self.origin, "prev": hex(&prev), "root": hex(&self.root_at(to)),
            "to": to.to_string(), "v": "pef.v0", "verdicts": verdicts,
        });
        members.insert("manifest.json".into(), canonical(&manifest));
        let mut bundle = Bundle { members, key: self.log_key_at(to).clone(), log: self.origin.clone() };
        bundle.reseal();
        bundle
    }
}

impl Bundle {
    pub(crate) fn get(&self, member: &str) -> &[u8] {
        &self.members[member]
    }

    pub(crate) fn json(&self, member: &str) -> Value {
        serde_json::from_slice(self.get(member)).unwrap()
    }

    pub(crate) fn set(&mut self, member: &str, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.members.insert(member.to_owned(), bytes.into());
        self
    }

    pub(crate) fn change(&mut self, member: &str, change: impl FnOnce(&mut Value)) -> &mut Self {
        let mut value = self.json(member);
        change(&mut value);
        self.set(member, canonical(&value))
    }

    pub(crate) fn replace(&mut self, member: &str, from: &str, to: &str) -> &mut Self {
        let bytes = super::replace(self.get(member), from, to);
        self.set(member, bytes)
    }

    /// Lists the members in the manifest as they are now, and signs it: what whoever holds the log key can do.
    pub(crate) fn reseal(&mut self) -> &mut Self {
        let files: Vec<Value> =
            self.members.iter().filter(|(path, _)| !OUTSIDE.contains(&path.as_str())).map(listed).collect();
        self.change("manifest.json", |manifest| manifest["files"] = files.into()).sign()
    }

    /// Signs the manifest as it is.
    pub(crate) fn sign(&mut self) -> &mut Self {
        let statement = canonical(&self.statement());
        let signature = self.key.sign(&pae(STATEMENT_TYPE, &statement));
        self.set("manifest.dsse.json", canonical(&envelope(STATEMENT_TYPE, &statement, &self.key.id(), &signature)))
    }

    /// The statement over the manifest, as far as the manifest can be read.
    fn statement(&self) -> Value {
        let bytes = self.get("manifest.json");
        let manifest: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let mut subjects = vec![json!({"digest": {"sha256": hex(&sha256(bytes))}, "name": "manifest.json"})];
        for file in manifest["files"].as_array().into_iter().flatten() {
            subjects.push(json!({"digest": {"sha256": file["sha256"]}, "name": file["path"]}));
        }
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicate": {"from": manifest["from"], "log": manifest["log"], "to": manifest["to"], "v": "pef.v0"},
            "predicateType": "urn:pef:bundle:v0", "subject": subjects,
        })
    }

    /// Changes the statement and signs what came of it.
    pub(crate) fn state(&mut self, change: impl FnOnce(&mut Value)) -> &mut Self {
        let envelope = self.json("manifest.dsse.json");
        let mut statement: Value = serde_json::from_slice(&unbase64(envelope["payload"].as_str().unwrap())).unwrap();
        change(&mut statement);
        let signed = self.key.envelope(STATEMENT_TYPE, &canonical(&statement));
        self.set("manifest.dsse.json", canonical(&signed))
    }

    /// Custody entries in order, each following the one before and signed by its signer.
    pub(crate) fn custody(&mut self, entries: &[(&Key, Value)]) -> &mut Self {
        let digest = sha256(self.get("manifest.json"));
        let (mut prev, mut lines) = (derive("pef.v0 custody", &digest), Vec::new());
        for (n, (key, members)) in entries.iter().enumerate() {
            let mut entry = json!({
                "action": "created", "actor": "auditor", "at": "2026-11-21T04:00:00.000000Z", "log": self.log,
                "manifest": hex(&digest), "n": n.to_string(), "prev": hex(&prev), "signer": key.vkey(), "v": "pef.v0",
            });
            super::json::merge(&mut entry, members);
            let line = canonical(&key.envelope(CUSTODY_TYPE, &canonical(&entry)));
            prev = derive("pef.v0 custody", &line);
            lines.extend(line);
            lines.push(b'\n');
        }
        self.set("custody.jsonl", lines)
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, bytes) in &self.members {
            out.extend(header(path, bytes.len() as u64));
            out.extend(bytes);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    /// The file.
    pub(crate) fn pef(&self) -> Vec<u8> {
        compress(&self.tar())
    }

    /// The members as files of a directory.
    pub(crate) fn directory(&self, name: &str) -> Files {
        self.members.iter().map(|(path, bytes)| (format!("{name}/{path}"), bytes.clone())).collect()
    }
}

/// Kinds that there are.
const KINDS: [&str; 16] = [
    "attempt",
    "outcome",
    "bypass",
    "genesis",
    "boot",
    "shutdown",
    "policy.change",
    "degraded",
    "gap",
    "seal",
    "heartbeat",
    "clock.step",
    "key.rotate",
    "key.revoke",
    "anchor",
    "prune",
];

const VERDICTS: [&str; 11] = [
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

/// A receipt that a reader can count: its envelope is one, and its body says what it is and where it stands.
fn counted(receipt: &Receipt) -> Option<Value> {
    if receipt.unreadable {
        return None;
    }
    let value: Value = serde_json::from_slice(&receipt.body).ok()?;
    let seq: u64 = value["seq"].as_str()?.parse().ok()?;
    let placed = value["seq"].as_str()? == seq.to_string() && value["prev"].as_str()?.len() == 64;
    (placed && KINDS.contains(&value["kind"].as_str()?)).then_some(value)
}

fn listed((path, bytes): (&String, &Vec<u8>)) -> Value {
    json!({
        "blake3": hex(blake3::hash(bytes).as_bytes()), "path": path, "sha256": hex(&sha256(bytes)), "size": bytes.len(),
    })
}

pub(crate) fn header(path: &str, size: u64) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(156, "0");
    put(257, "ustar\x0000");
    put(329, "0000000\0");
    put(337, "0000000\0");
    sum(&mut block);
    block
}

/// Puts the header's checksum right.
pub(crate) fn sum(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// One zstd frame with a checksum of its content.
pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.window_log(21).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
