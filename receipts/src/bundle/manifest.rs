//! The manifest of a bundle, and the in-toto statement that is signed over it.

use std::collections::BTreeMap;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::canonical::{Value, to_vec};
use crate::hex;
use crate::receipt::{FORMAT, parse_decimal, shape};

/// in-toto's own media type.
pub(crate) const STATEMENT_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "urn:pef:bundle:v0";

/// A policy as it was in force: its canonical JSON and the hash that receipts name it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDocument {
    /// Hexadecimal BLAKE3 of `canonical`.
    pub hash: String,
    pub canonical: Vec<u8>,
}

/// A member of the bundle as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManifestFile {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) blake3: [u8; 32],
}

/// What a bundle says it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) log: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Time of the last receipt, so that the same receipts give the same manifest.
    pub(crate) created: String,
    /// Chain value before the first receipt.
    pub(crate) prev: [u8; 32],
    /// Chain value of the last.
    pub(crate) chain: [u8; 32],
    /// Tree root at `to`.
    pub(crate) root: [u8; 32],
    pub(crate) kinds: BTreeMap<String, u64>,
    pub(crate) verdicts: BTreeMap<String, u64>,
    /// In the order of their paths.
    pub(crate) files: Vec<ManifestFile>,
    /// What it says for people.
    pub(crate) about: Value,
}

pub(super) fn count(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(crate::canonical::INTEGER_MAX))
}

fn counts(map: &BTreeMap<String, u64>) -> Value {
    Value::Object(map.iter().map(|(name, number)| (name.clone(), count(*number))).collect())
}

impl ManifestFile {
    pub(crate) fn of(path: &str, bytes: &[u8]) -> Self {
        Self {
            path: path.to_owned(),
            size: bytes.len() as u64,
            sha256: Sha256::digest(bytes).into(),
            blake3: *blake3::hash(bytes).as_bytes(),
        }
    }
}

impl Manifest {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let files = self.files.iter().map(|file| {
            Value::from([
                ("blake3", Value::from(hex::encode(&file.blake3))),
                ("path", Value::from(file.path.as_str())),
                ("sha256", Value::from(hex::encode(&file.sha256))),
                ("size", count(file.size)),
            ])
        });
        to_vec(&Value::from([
            ("about", self.about.clone()),
            ("chain", Value::from(hex::encode(&self.chain))),
            ("created", Value::from(self.created.as_str())),
            ("files", Value::Array(files.collect())),
            ("from", Value::from(self.from.to_string())),
            ("kinds", counts(&self.kinds)),
            ("log", Value::from(self.log.as_str())),
            ("prev", Value::from(hex::encode(&self.prev))),
            ("root", Value::from(hex::encode(&self.root))),
            ("to", Value::from(self.to.to_string())),
            ("v", Value::from(FORMAT)),
            ("verdicts", counts(&self.verdicts)),
        ]))
    }

    /// From a document whose form was checked against [`shape::MANIFEST`].
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name)?.as_str();
        let digest = |value: &Value, name: &str| hex::decode_32(value.get(name)?.as_str()?);
        let map = |name: &str| -> Option<BTreeMap<String, u64>> {
            let members = value.get(name)?.as_object()?;
            members
                .iter()
                .map(|(name, number)| Some((name.clone(), u64::try_from(number.as_integer()?).ok()?)))
                .collect()
        };
        let files = value.get("files")?.as_array()?.iter().map(|file| {
            Some(ManifestFile {
                path: file.get("path")?.as_str()?.to_owned(),
                size: u64::try_from(file.get("size")?.as_integer()?).ok()?,
                sha256: digest(file, "sha256")?,
                blake3: digest(file, "blake3")?,
            })
        });
        Some(Self {
            log: text("log")?.to_owned(),
            from: parse_decimal(text("from")?)?,
            to: parse_decimal(text("to")?)?,
            created: text("created")?.to_owned(),
            prev: digest(value, "prev")?,
            chain: digest(value, "chain")?,
            root: digest(value, "root")?,
            kinds: map("kinds")?,
            verdicts: map("verdicts")?,
            files: files.collect::<Option<Vec<_>>>()?,
            about: value.get("about")?.clone(),
        })
    }

    /// The form of the document.
    pub(crate) const SHAPE: &'static shape::Shape = &shape::MANIFEST;
}

/// The in-toto Statement v1 over a bundle: `manifest.json` and every file that it lists are its subjects.
pub(crate) fn statement(manifest: &Manifest, manifest_bytes: &[u8]) -> Vec<u8> {
    let subject = |path: &str, sha256: &[u8; 32]| {
        Value::from([
            ("digest", Value::from([("sha256", Value::from(hex::encode(sha256)))])),
            ("name", Value::from(path)),
        ])
    };
    let mut subjects = vec![subject(super::MANIFEST, &Sha256::digest(manifest_bytes).into())];
    subjects.extend(manifest.files.iter().map(|file| subject(&file.path, &file.sha256)));
    to_vec(&Value::from([
        ("_type", Value::from(STATEMENT_TYPE)),
        (
            "predicate",
            Value::from([
                ("from", Value::from(manifest.from.to_string())),
                ("log", Value::from(manifest.log.as_str())),
                ("to", Value::from(manifest.to.to_string())),
                ("v", Value::from(FORMAT)),
            ]),
        ),
        ("predicateType", Value::from(PREDICATE_TYPE)),
        ("subject", Value::Array(subjects)),
    ]))
}

/// A consistency proof as a member: one base64 hash a line.
pub(crate) fn proof_lines(proof: &[[u8; 32]]) -> Vec<u8> {
    let encode = |hash: &[u8; 32]| base64::engine::general_purpose::STANDARD.encode(hash) + "\n";
    proof.iter().map(encode).collect::<String>().into_bytes()
}

/// Reads [`proof_lines`]. A proof has at most 64 + 1 hashes.
pub(crate) fn read_proof_lines(bytes: &[u8]) -> Option<Vec<[u8; 32]>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let decode = |line: &str| base64::engine::general_purpose::STANDARD.decode(line).ok()?.try_into().ok();
    text.split('\n').take(66).map(decode).collect()
}

/// A frontier as a document: `hashes` (largest subtree first) and `size`.
pub(crate) fn frontier_value(frontier: &crate::tree::Frontier) -> Value {
    let hashes = frontier.hashes().iter().map(|hash| Value::from(hex::encode(hash)));
    Value::from([("hashes", Value::Array(hashes.collect())), ("size", Value::from(frontier.size().to_string()))])
}

/// Reads [`frontier_value`].
pub(crate) fn read_frontier(value: &Value) -> Option<crate::tree::Frontier> {
    let hashes = value.get("hashes")?.as_array()?.iter().map(|hash| hex::decode_32(hash.as_str()?));
    let size = parse_decimal(value.get("size")?.as_str()?)?;
    crate::tree::Frontier::from_parts(size, hashes.collect::<Option<Vec<_>>>()?).ok()
}
