//! Custody logs: what became of a bundle, in signed entries that each cover the one before.
//!
//! The log stands outside the sealed set, so that whoever has the bundle can add to it. Who a signer is, is for the reader
//! to know.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::canonical::{Limits, Value, is_canonical, parse, to_vec};
use crate::clock;
use crate::dsse::{Envelope, pae};
use crate::hex;
use crate::keys::{KeyError, Keys, PrivateKey, PublicKey};
use crate::receipt::{FORMAT, LEAF_MAX_BYTES, shape};

pub(crate) const CUSTODY_PAYLOAD_TYPE: &str = "application/vnd.pef.custody.v0+json";
const CUSTODY_CONTEXT: &str = "pef.v0 custody";

/// Longest actor and note: words for people, in a line of bounded length.
const TEXT_MAX_BYTES: usize = 4096;

/// What happened to a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Created,
    Exported,
    Transferred,
    Opened,
    Verified,
    Redacted,
}

impl Action {
    pub const ALL: [Action; 6] =
        [Self::Created, Self::Exported, Self::Transferred, Self::Opened, Self::Verified, Self::Redacted];

    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Exported => "exported",
            Self::Transferred => "transferred",
            Self::Opened => "opened",
            Self::Verified => "verified",
            Self::Redacted => "redacted",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// An entry of a custody log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustodyEntry {
    pub action: Action,
    /// Who did it, as the signer says.
    pub actor: String,
    pub at: String,
    pub note: Option<String>,
    /// SHA-256 of what was taken out.
    pub sha256: Option<[u8; 32]>,
    /// Verifier key of the signer.
    pub signer: String,
}

impl CustodyEntry {
    /// What was taken out, in hexadecimal.
    pub fn digest(&self) -> Option<String> {
        self.sha256.map(|digest| hex::encode(&digest))
    }
}

/// What somebody wants to have written into a custody log.
#[derive(Debug, Clone)]
pub struct CustodyNote {
    pub action: Action,
    pub actor: String,
    pub note: Option<String>,
}

/// The key that signs an entry.
#[derive(Debug)]
pub enum CustodySigner {
    /// The log key of a data directory.
    Log(Box<Keys>),
    /// Somebody else's.
    Own(Box<PrivateKey>),
}

impl CustodySigner {
    fn vkey(&self) -> String {
        match self {
            Self::Log(keys) => keys.log().to_vkey(),
            Self::Own(key) => key.public().to_vkey(),
        }
    }

    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Log(keys) => keys.sign_document(CUSTODY_PAYLOAD_TYPE, payload),
            Self::Own(key) => key.sign_document(CUSTODY_PAYLOAD_TYPE, payload),
        }
    }
}

/// The first entry that is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("custody entry {entry}: {what}")]
pub(crate) struct Broken {
    pub(crate) entry: usize,
    pub(crate) what: &'static str,
}

use shape::Shape::{Decimal, Digest, Object, OneOf, Text, Timestamp};
use shape::{may, must};

const ENTRY: shape::Shape = Object(&[
    must("action", OneOf(&["created", "exported", "transferred", "opened", "verified", "redacted"])),
    must("actor", Text),
    must("at", Timestamp),
    must("log", Text),
    must("manifest", Digest),
    must("n", Decimal),
    may("note", Text),
    must("prev", Digest),
    may("sha256", Digest),
    must("signer", Text),
    must("v", OneOf(&["pef.v0"])),
]);

fn prev_of(before: &[u8]) -> [u8; 32] {
    blake3::derive_key(CUSTODY_CONTEXT, before)
}

/// Reads and checks a whole custody log.
pub(crate) fn read(bytes: &[u8], manifest: &[u8; 32], log: &str) -> Result<Vec<CustodyEntry>, Broken> {
    let mut entries = Vec::new();
    let mut prev = prev_of(manifest);
    let mut rest = bytes;
    while !rest.is_empty() {
        let broken = |what| Broken { entry: entries.len(), what };
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(broken("its line does not end"))?;
        let (line, after) = rest.split_at(end);
        entries.push(read_entry(line, entries.len(), prev, manifest, log).map_err(broken)?);
        prev = prev_of(line);
        rest = after.get(1..).unwrap_or_default();
    }
    Ok(entries)
}

fn read_entry(
    line: &[u8],
    number: usize,
    prev: [u8; 32],
    manifest: &[u8; 32],
    log: &str,
) -> Result<CustodyEntry, &'static str> {
    const FORM: &str = "not of the form of a custody entry";
    if line.len() > LEAF_MAX_BYTES {
        return Err("its line is too long");
    }
    let value = parse(line, Limits::RECEIPT).ok().filter(|value| is_canonical(line, value));
    let envelope = value.as_ref().and_then(Envelope::from_value).ok_or(FORM)?;
    let body = parse(&envelope.payload, Limits::RECEIPT).map_err(|_| FORM)?;
    let formed = envelope.payload_type == CUSTODY_PAYLOAD_TYPE
        && is_canonical(&envelope.payload, &body)
        && shape::check(&body, &ENTRY).is_empty();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let digest = |name: &str| text(name).and_then(hex::decode_32);
    let action = text("action").and_then(Action::from_name).ok_or(FORM)?;
    if !formed || (action == Action::Redacted) != body.get("sha256").is_some() {
        return Err(FORM);
    }
    let signer = text("signer").unwrap_or_default();
    let key = PublicKey::from_vkey(signer).ok().filter(|key| key.to_vkey() == signer);
    let key = key.ok_or("its signer is not a key to trust")?;
    if key.id() != envelope.key_id || !key.verify(&pae(CUSTODY_PAYLOAD_TYPE, &envelope.payload), &envelope.signature) {
        return Err("it is not signed by its signer");
    }
    if digest("manifest") != Some(*manifest) || text("log") != Some(log) {
        return Err("it is about another bundle");
    }
    if text("n") != Some(number.to_string().as_str()) || digest("prev") != Some(prev) {
        return Err("it does not follow the one before");
    }
    Ok(CustodyEntry {
        action,
        actor: text("actor").unwrap_or_default().to_owned(),
        at: text("at").unwrap_or_default().to_owned(),
        note: text("note").map(str::to_owned),
        sha256: digest("sha256"),
        signer: signer.to_owned(),
    })
}

/// Why nothing was added to a custody log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendFault {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("an actor or a note of more than {TEXT_MAX_BYTES} bytes")]
    Text,
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// Adds an entry to a custody log that is good so far.
pub(crate) fn append(
    bytes: &mut Vec<u8>,
    manifest: &[u8; 32],
    log: &str,
    note: &CustodyNote,
    taken_out: Option<[u8; 32]>,
    signer: &CustodySigner,
) -> Result<(), AppendFault> {
    if note.actor.len() > TEXT_MAX_BYTES || note.note.as_ref().is_some_and(|note| note.len() > TEXT_MAX_BYTES) {
        return Err(AppendFault::Text);
    }
    let number = read(bytes, manifest, log)?.len();
    let last = bytes.strip_suffix(b"\n").unwrap_or_default().rsplit(|byte| *byte == b'\n').next();
    let prev = last.filter(|_| number > 0).map_or_else(|| prev_of(manifest), prev_of);
    let mut body = Value::from([
        ("action", Value::from(note.action.name())),
        ("actor", Value::from(note.actor.as_str())),
        ("at", Value::from(clock::now())),
        ("log", Value::from(log)),
        ("manifest", Value::from(hex::encode(manifest))),
        ("n", Value::from(number.to_string())),
        ("prev", Value::from(hex::encode(&prev))),
        ("signer", Value::from(signer.vkey())),
        ("v", Value::from(FORMAT)),
    ]);
    if let Value::Object(members) = &mut body {
        members.extend(note.note.as_ref().map(|note| ("note".to_owned(), Value::from(note.as_str()))));
        members.extend(taken_out.map(|digest| ("sha256".to_owned(), Value::from(hex::encode(&digest)))));
    }
    bytes.extend(signer.sign(&to_vec(&body))?);
    bytes.push(b'\n');
    Ok(())
}

/// SHA-256 of a manifest: what custody entries name a bundle by.
pub(crate) fn manifest_digest(manifest: &[u8]) -> [u8; 32] {
    Sha256::digest(manifest).into()
}

/// Reads a private key of somebody who is not the log, for [`CustodySigner::Own`].
pub fn read_signer(path: &Path, name: &str) -> Result<CustodySigner, KeyError> {
    PrivateKey::read(path, name).map(|key| CustodySigner::Own(Box::new(key)))
}
