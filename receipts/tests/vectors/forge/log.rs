//! A log, receipt by receipt: what an honest one writes, and what is written by somebody who holds its keys and does not
//! keep its rules.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::json::{canonical, merge};
use super::key::{Key, envelope};
use super::segment::{Frame, Segment};
use super::tree::{self, Hash};
use super::{Files, base64, derive, hex, note, pae, sha256};

pub(crate) const ORIGIN: &str = "vectors.example/log";
pub(crate) const RECEIPT_TYPE: &str = "application/vnd.pef.receipt.v0+json";
const POLICY: &[u8] = br#"{"version":1}"#;

/// 2026-11-21T03:00:00Z, in microseconds since 1970.
const BEGINNING_US: u64 = 1_795_230_000_000_000;

/// Time from one receipt to the next.
const STEP_US: u64 = 1_500;

#[derive(Clone)]
pub(crate) struct Receipt {
    pub(crate) body: Vec<u8>,
    pub(crate) key_id: String,
    pub(crate) signature: Vec<u8>,
    pub(crate) seq: u64,
    pub(crate) chain: [u8; 32],
    /// Another line than the envelope, where there is one.
    pub(crate) other_line: Option<Vec<u8>>,
    /// A reader cannot make out what it is and where it stands.
    pub(crate) unreadable: bool,
}

impl Receipt {
    pub(crate) fn line(&self) -> Vec<u8> {
        self.other_line.clone().unwrap_or_else(|| self.envelope())
    }

    pub(crate) fn envelope(&self) -> Vec<u8> {
        canonical(&envelope(RECEIPT_TYPE, &self.body, &self.key_id, &self.signature))
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) root: Key,
    /// With the number that each is certified from.
    pub(crate) logs: Vec<(Key, u64)>,
    pub(crate) keys: Vec<(Key, u64)>,
    pub(crate) revoked: Vec<(String, Value)>,
    pub(crate) receipts: Vec<Receipt>,
    /// First receipt of each process's segments, by position; and whether it is sealed.
    pub(crate) starts: Vec<(usize, bool, String)>,
    pub(crate) origin: String,
    pub(crate) chain: [u8; 32],
    pub(crate) now_us: u64,
    pub(crate) mono_ns: u64,
    pub(crate) epoch: u64,
    pub(crate) boot_id: String,
    /// Receipts of this process.
    pub(crate) of_process: u64,
    runs: BTreeMap<String, (u64, [u8; 32])>,
    label: String,
}

pub(crate) fn timestamp(us: u64) -> String {
    let since = us + 3 * 3600 * 1_000_000 - BEGINNING_US;
    let (seconds, us) = (since / 1_000_000, since % 1_000_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    format!("2026-11-{:02}T{:02}:{:02}:{:02}.{us:06}Z", 21 + days, rest / 3600, rest / 60 % 60, rest % 60)
}

/// A UUIDv7 of this time, its random part taken from the label.
fn uuid(us: u64, label: &str) -> String {
    let ms = us / 1000;
    let random = hex(&sha256(label.as_bytes()));
    format!("{:08x}-{:04x}-7{}-8{}-{}", ms >> 16, ms & 0xffff, &random[..3], &random[3..6], &random[6..18])
}

impl Log {
    /// A log whose keys are in order and which has no receipt yet.
    pub(crate) fn empty(origin: &str, label: &str) -> Self {
        Self {
            root: Key::new(&format!("{origin}/root"), &format!("{label}root")),
            logs: vec![(Key::new(origin, &format!("{label}log")), 0)],
            keys: Vec::new(),
            revoked: Vec::new(),
            receipts: Vec::new(),
            starts: Vec::new(),
            origin: origin.to_owned(),
            chain: [0; 32],
            now_us: BEGINNING_US,
            mono_ns: 0,
            epoch: 0,
            boot_id: String::new(),
            of_process: 0,
            runs: BTreeMap::new(),
            label: label.to_owned(),
        }
    }

    /// A log that has started: genesis and boot.
    pub(crate) fn started() -> Self {
        let mut log = Self::empty(ORIGIN, "");
        log.start();
        log
    }

    /// Another log, with other keys.
    pub(crate) fn other(origin: &str) -> Self {
        let mut log = Self::empty(origin, "other ");
        log.start();
        log
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.receipts.last().map_or(0, |receipt| receipt.seq.saturating_add(1))
    }

    pub(crate) fn log_key(&self) -> Key {
        self.logs.last().unwrap().0.clone()
    }

    pub(crate) fn key(&self) -> Key {
        self.keys.last().unwrap().0.clone()
    }

    /// A new receipt key, certified from here on.
    pub(crate) fn certify_from(&mut self, seq: u64) -> Key {
        let label = format!("{}receipt {}", self.label, self.keys.len());
        let key = Key::new(&format!("{}/receipt", self.origin), &label);
        self.keys.push((key.clone(), seq));
        key
    }

    /// Begins a process, and a segment.
    pub(crate) fn begin(&mut self) {
        self.certify_from(self.next_seq());
        self.epoch += 1;
        self.now_us += 60_000_000;
        self.mono_ns = 1_000_000;
        self.of_process = 0;
        self.runs.clear();
        self.boot_id = uuid(self.now_us, &format!("{}boot {}", self.label, self.epoch));
        self.starts.push((self.receipts.len(), false, self.boot_id.clone()));
    }

    pub(crate) fn start(&mut self) {
        let last = self.receipts.last().map(Receipt::value);
        self.begin();
        match last {
            None => {
                self.push("genesis", json!({"event": self.genesis()}));
                self.push("boot", json!({"event": {"clean": true}}));
            }
            Some(last) => {
                let clean = last["kind"] == "shutdown";
                let last_seq = (self.next_seq() - 1).to_string();
                self.push("boot", json!({"event": {"clean": clean, "last_seq": last_seq}}));
            }
        }
    }

    pub(crate) fn genesis(&self) -> Value {
        json!({
            "created": timestamp(self.now_us), "log": self.origin, "policy": policy_hash(), "root": self.root.id(),
        })
    }

    pub(crate) fn shutdown(&mut self) {
        self.push("shutdown", json!({"event": {"receipts": self.of_process + 1}}));
        self.starts.last_mut().unwrap().1 = true;
    }

    /// The members that every receipt has, and those of this one, where the log knows them: numbers, times, chain.
    fn body(&mut self, kind: &str, members: &Value) -> Value {
        let seq = self.next_seq();
        self.now_us += STEP_US;
        self.mono_ns += STEP_US * 1000;
        self.of_process += 1;
        let mut body = json!({
            "alg": "ed25519",
            "boot": {"epoch": self.epoch, "id": self.boot_id},
            "build": {"digest": "ab".repeat(32), "version": "0.1.0"},
            "dur": "durable",
            "id": uuid(self.now_us, &format!("{}{kind} {seq}", self.label)),
            "key_id": self.key().id(),
            "kind": kind,
            "log": self.origin,
            "mono_ns": self.mono_ns.to_string(),
            "prev": hex(&self.chain),
            "seq": seq.to_string(),
            "ts": timestamp(self.now_us),
            "v": "pef.v0",
        });
        merge(&mut body, members);
        if seq == 0 {
            body["prev"] = hex(&derive("pef.v0 genesis", &canonical(&body["event"]))).into();
        }
        if let Some(id) = body.get("run").map(|run| run["id"].as_str().unwrap().to_owned()) {
            let start = || (0, derive("pef.v0 run", id.as_bytes()));
            let (place, prev) = self.runs.get(&id).copied().unwrap_or_else(start);
            merge(&mut body["run"], &json!({"prev": hex(&prev), "seq": place.to_string()}));
        }
        body
    }

    pub(crate) fn push(&mut self, kind: &str, members: Value) -> u64 {
        self.push_with(kind, members, |_| ())
    }

    /// Writes a receipt that was changed before it was signed.
    pub(crate) fn push_with(&mut self, kind: &str, members: Value, change: impl FnOnce(&mut Value)) -> u64 {
        let key = self.key();
        let mut body = self.body(kind, &members);
        change(&mut body);
        let seq = body["seq"].as_str().and_then(|seq| seq.parse().ok()).unwrap_or_else(|| self.next_seq());
        let run = body.get("run").and_then(|run| run["id"].as_str()).map(str::to_owned);
        self.push_bytes(canonical(&body), seq, &key);
        if let Some(run) = run {
            let place = self.runs.get(&run).map_or(0, |(place, _)| *place);
            self.runs.insert(run, (place + 1, self.chain));
        }
        seq
    }

    /// Writes these bytes as the body of a receipt.
    pub(crate) fn push_bytes(&mut self, body: Vec<u8>, seq: u64, key: &Key) {
        let length = u32::try_from(body.len()).unwrap();
        let chained = [&seq.to_be_bytes()[..], &length.to_be_bytes(), &body].concat();
        self.chain = derive("pef.v0 receipt chain", &chained);
        let signature = key.sign(&pae(RECEIPT_TYPE, &body)).to_vec();
        self.receipts.push(Receipt {
            body,
            key_id: key.id(),
            signature,
            seq,
            chain: self.chain,
            other_line: None,
            unreadable: false,
        });
    }

    /// The text of a body as it would be written, with a change to it.
    pub(crate) fn push_text(&mut self, kind: &str, members: Value, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let (seq, key) = (self.next_seq(), self.key());
        let body = self.body(kind, &members);
        self.push_bytes(change(canonical(&body)), seq, &key);
    }

    /// The receipt's line with a change to it, which the tree is then over.
    pub(crate) fn change_line(&mut self, at: usize, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let receipt = &mut self.receipts[at];
        receipt.other_line = Some(change(receipt.envelope()));
    }

    /// Receipts of an exchange: attempt and outcome.
    pub(crate) fn exchange(&mut self) -> u64 {
        let attempt = self.attempt();
        self.outcome(attempt)
    }

    pub(crate) fn attempt(&mut self) -> u64 {
        self.push("attempt", attempt())
    }

    pub(crate) fn outcome(&mut self, attempt: u64) -> u64 {
        let members = self.outcome_of(attempt);
        self.push("outcome", members)
    }

    pub(crate) fn outcome_of(&self, attempt: u64) -> Value {
        let id = self.receipts.iter().find(|receipt| receipt.seq == attempt).unwrap().value()["id"].clone();
        let mut members = outcome();
        merge(&mut members, &json!({"attempt_seq": attempt.to_string(), "id": id}));
        members
    }

    pub(crate) fn leaves(&self) -> Vec<Hash> {
        self.receipts.iter().map(|receipt| tree::leaf(&receipt.line())).collect()
    }

    pub(crate) fn root_at(&self, size: usize) -> Hash {
        tree::root(&self.leaves()[..size])
    }

    /// Chain value after so many receipts.
    pub(crate) fn chain_at(&self, size: usize) -> [u8; 32] {
        match size.checked_sub(1) {
            Some(last) => self.receipts[last].chain,
            None => [0; 32],
        }
    }

    /// The log key that signs trees of this size.
    pub(crate) fn log_key_at(&self, size: usize) -> &Key {
        let valid = |from: u64| from == 0 || from < size as u64;
        &self.logs.iter().rev().find(|(_, from)| valid(*from)).unwrap().0
    }

    pub(crate) fn checkpoint(&self, size: usize) -> Vec<u8> {
        note::checkpoint(self.log_key_at(size), &self.origin, size as u64, &self.root_at(size))
    }

    pub(crate) fn frontier(&self, size: usize) -> Value {
        let hashes: Vec<String> = tree::frontier(&self.leaves()[..size]).iter().map(|hash| hex(hash)).collect();
        json!({"hashes": hashes, "size": size.to_string()})
    }

    /// Certificates: of log keys, then of receipt keys.
    pub(crate) fn log_certificates(&self) -> Vec<Value> {
        let certify = |(key, from): &(Key, u64)| self.root.certify(key, "log", &self.origin, *from);
        self.logs.iter().map(certify).collect()
    }

    pub(crate) fn receipt_certificates(&self) -> Vec<Value> {
        let certify = |(key, from): &(Key, u64)| {
            let issuer = self.logs.iter().rev().find(|(_, since)| since <= from).unwrap();
            issuer.0.certify(key, "receipt", &self.origin, *from)
        };
        self.keys.iter().map(certify).collect()
    }

    pub(crate) fn revoke(&mut self, key_id: &str, last_good_seq: &str) {
        let revocation = self.root.revoke(key_id, &self.origin, last_good_seq);
        self.revoked.push((key_id.to_owned(), revocation));
        self.revoked.sort_by(|a, b| a.0.cmp(&b.0));
    }

    pub(crate) fn trust(&self) -> Value {
        let certs = [self.log_certificates(), self.receipt_certificates()].concat();
        let mut trust = json!({"certs": certs, "log": self.origin, "root": self.root.describe(), "v": "pef.v0"});
        if !self.revoked.is_empty() {
            trust["revoked"] = self.revoked.iter().map(|(_, revocation)| revocation.clone()).collect();
        }
        trust
    }

    pub(crate) fn segments(&self) -> Vec<Segment> {
        let ends = self.starts.iter().skip(1).map(|start| start.0).chain([self.receipts.len()]);
        let mut segments = Vec::new();
        let mut known: Option<usize> = None;
        for (number, ((first, sealed, boot), end)) in self.starts.iter().zip(ends).enumerate() {
            let of_process = self.keys.iter().position(|(key, _)| key.id() == self.receipts[*first].key_id);
            let frames = self.receipts[*first..end].iter().map(|receipt| {
                let place = self.keys.iter().position(|(key, _)| key.id() == receipt.key_id);
                let index = place.zip(of_process).map_or(0, |(place, first)| place.saturating_sub(first));
                let hwm = receipt.seq.checked_sub(1).unwrap_or(u64::MAX);
                Frame {
                    kind: 1,
                    body: receipt.body.clone(),
                    signature: receipt.signature.clone(),
                    key_index: u16::try_from(index).unwrap(),
                    seq: receipt.seq,
                    durable_hwm: hwm,
                    chain: receipt.chain,
                }
            });
            let boot_hex = boot.replace('-', "");
            let boot_id: Vec<u8> =
                (0..16).map(|at| u8::from_str_radix(&boot_hex[at * 2..at * 2 + 2], 16).unwrap()).collect();
            // Nothing, where it cannot be read.
            let first_value: Value = serde_json::from_slice(&self.receipts[*first].body).unwrap_or_default();
            let prev_chain = match known {
                Some(last) => self.receipts[last].chain,
                None => derive("pef.v0 genesis", &canonical(&first_value["event"])),
            };
            let mut segment = Segment {
                origin: self.origin.clone(),
                number: number as u64,
                first_seq: self.receipts[*first].seq,
                prev_chain,
                boot_id: boot_id.try_into().unwrap(),
                created_ns: (BEGINNING_US + number as u64 * 60_000_000) * 1000,
                frames: frames.collect(),
                rest: Vec::new(),
            };
            if *sealed {
                segment.seal();
            }
            segments.push(segment);
            known = end.checked_sub(1);
        }
        segments
    }

    /// Public keys, as they lie in the data directory.
    pub(crate) fn key_files(&self, directory: &str) -> Files {
        let mut files = Files::new();
        files.insert(format!("{directory}/root.vkey"), format!("{}\n", self.root.vkey()).into_bytes());
        for (name, certificates, keys) in
            [("logs", self.log_certificates(), &self.logs), ("receipts", self.receipt_certificates(), &self.keys)]
        {
            for (certificate, (_, from)) in certificates.iter().zip(keys) {
                files.insert(format!("{directory}/{name}/{from:020}.json"), canonical(certificate));
            }
        }
        for (key_id, revocation) in &self.revoked {
            files.insert(format!("{directory}/revoked/{key_id}.json"), canonical(revocation));
        }
        files
    }

    /// A data directory: journal, keys, checkpoints of these sizes.
    pub(crate) fn data(&self, name: &str, checkpoints: &[usize]) -> Files {
        let mut files = self.journal(name);
        for size in checkpoints {
            files.insert(format!("{name}/checkpoints/{size}"), self.checkpoint(*size));
            let kept = json!({"chain": hex(&self.chain_at(*size)), "frontier": self.frontier(*size)});
            files.insert(format!("{name}/checkpoints/{size}.frontier"), canonical(&kept));
        }
        files
    }

    /// Journal and keys.
    pub(crate) fn journal(&self, name: &str) -> Files {
        let mut files = super::segment::files(&self.segments(), &format!("{name}/journal"));
        files.extend(self.key_files(&format!("{name}/keys")));
        files
    }
}

pub(crate) fn policy_hash() -> String {
    hex(blake3::hash(POLICY).as_bytes())
}

pub(crate) fn policy_document() -> (String, Vec<u8>) {
    (format!("policies/{}.json", policy_hash()), POLICY.to_vec())
}

fn policy() -> Value {
    json!({"decision": "allow", "hash": policy_hash(), "rules": []})
}

pub(crate) fn attempt() -> Value {
    json!({
        "caller": {"app": "checkout"},
        "checks": [],
        "coverage": {"level": "full"},
        "findings": [],
        "policy": policy(),
        "request": {"bytes": 812, "stream": false, "surface": "openai.chat"},
    })
}

pub(crate) fn outcome() -> Value {
    json!({
        "caller": {"app": "checkout"},
        "checks": [],
        "coverage": {"level": "full"},
        "findings": [],
        "policy": policy(),
        "verdict": "executed",
    })
}

/// An attempt with every member that there is.
pub(crate) fn whole_attempt() -> Value {
    json!({
        "caller": {
            "app": "checkout", "automation": {"job_id": "j", "pipeline_id": "p", "service_id": "s"},
            "identity": {"commit": commitment(), "id": "key-1", "kind": "api_key"},
            "sdk": "openai-python/1.99", "tenant": "shop",
        },
        "checks": [{
            "bytes": 812, "channel": "request.user", "id": "secrets", "outcome": "pass", "reason": "none", "us": 81,
            "version": "1.0.0",
        }],
        "coverage": {"level": "partial", "reasons": ["image"]},
        "ext": {"a": [null, true, -1, {"b": "\u{1}\"\\\u{7f}é\u{1f600}"}]},
        "findings": [{
            "atlas": "AML.T0051", "channel": "request.user", "class": "secret", "detector": "secrets.aws",
            "owasp": "LLM02:2026", "place": {"length": 20, "offset": 14, "pointer": "/messages/1/content"},
            "score_ppm": 990_000, "threat_class": "disclosure",
        }],
        "policy": {
            "decision": "redact", "exceptions": ["e"], "hash": policy_hash(),
            "rules": [{"action": "redact", "id": "no-secrets-out"}], "shadow": [{"decision": "block", "id": "next"}],
        },
        "request": {
            "bytes": 812, "commit": commitment(),
            "messages": [{"count": 1, "kind": "text", "role": "system"}, {"count": 2, "kind": "text", "role": "user"}],
            "method": "POST", "model": "gpt-5", "route": "/v1/chat/completions", "stream": true,
            "surface": "openai.chat", "tools": [{"digest": "ef".repeat(32), "name": "refund"}],
        },
        "run": {"id": "run-1", "parent": "run-0"},
    })
}

/// The members that [`whole_attempt`]'s outcome has besides those of every outcome.
pub(crate) fn whole_outcome() -> Value {
    let attempt = whole_attempt();
    json!({
        "caller": attempt["caller"], "checks": attempt["checks"], "coverage": attempt["coverage"],
        "ext": attempt["ext"], "findings": attempt["findings"], "policy": attempt["policy"],
        "request": attempt["request"], "run": attempt["run"],
        "response": {
            "cost_microusd": 420, "finish_reason": "stop", "received": {"bytes": 3000, "commit": commitment()},
            "released": {"bytes": 2990, "commit": commitment()},
            "usage": {"cached": 1, "input": 2, "output": 3, "reasoning": 4},
        },
        "schema": {
            "digest": "02".repeat(32), "lock": "invoice", "repair": {"digest": "03".repeat(32), "kind": "local"},
            "verdict": "repaired", "violation": {"keyword": "type", "offset": 17, "pointer": "/a"},
        },
        "stream": {"events": 3, "held_max_bytes": 64, "root": hex(&tree::root(&events()))},
        "upstream": {
            "attempts": 1, "first_byte_us": 210_000, "model": "gpt-5-2026", "name": "openai", "request_id": "req_1",
            "status": 200, "total_us": 900_000,
        },
        "verdict": "redacted",
    })
}

/// Events of the stream that was released.
pub(crate) const EVENTS: [&[u8]; 3] = [b"data: {\"a\":1}\n\n", b"data: {\"a\":2}\n\n", b"data: [DONE]\n\n"];

pub(crate) fn events() -> Vec<Hash> {
    EVENTS.iter().map(|event| tree::leaf(event)).collect()
}

fn commitment() -> Value {
    json!({"alg": "hmac-sha256", "salt": base64(&[7; 32]), "value": "cd".repeat(32)})
}

pub(crate) fn bypass() -> Value {
    json!({
        "caller": {}, "coverage": {"level": "none", "reasons": ["unknown endpoint"]},
        "policy": policy(),
        "request": {"bytes": 10, "method": "GET", "route": "/health", "stream": false, "surface": "unknown"},
        "verdict": "executed",
    })
}
