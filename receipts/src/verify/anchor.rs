//! The check of anchors: of the notes that were anchored, and of the proof that each `anchor` receipt names.
//!
//! A proof is read in the one form that `SPEC.md` §9 gives it. What is left to the reader: whether a time-stamp authority or
//! a witness is worth trusting, and whether a Bitcoin header is of the chain that everybody follows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::alone::Placed;
use super::head::read_checkpoint;
use super::report::{Report, json_fault};
use super::stream::{RootClaim, Stream};
use super::{Code, Session};
use crate::anchor::bitcoin::Header;
use crate::anchor::opentimestamps::Proof;
use crate::anchor::rfc3161::Token;
use crate::anchor::{
    ANCHORS_DIRECTORY, AnchorKind, CopyProof, NOTE_ENDING, OpReturnFault, OpReturnProof, PROOF_MAX_BYTES,
};
use crate::canonical::{Limits, Value, is_canonical, parse};
use crate::checkpoint::{Checkpoint, NOTE_MAX_BYTES, SignedNote};
use crate::keys::TrustFile;
use crate::receipt::shape::{self, Shape};
use crate::receipt::{Kind, parse_decimal};
use crate::tree::Hash;
use crate::{durable, hex};

/// Where the files lie that `anchor` receipts name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchors<'a> {
    /// Among the members of a bundle of this name.
    Members(&'a BTreeMap<String, Vec<u8>>, &'a str),
    /// In the directory `anchors/` of a data directory.
    Directory(&'a Path),
    /// They are not part of the input.
    Elsewhere,
}

/// A file as it was found.
enum Found<'a> {
    Missing,
    TooLong,
    Whole(Cow<'a, [u8]>),
}

/// What an `anchor` receipt says, as far as it is checked.
struct Said<'a> {
    kind: AnchorKind,
    at: Option<&'a str>,
    header: Option<Header>,
    proof: &'a str,
    sha256: &'a str,
    digest: Hash,
    size: u64,
    root: Hash,
}

impl<'a> Said<'a> {
    fn read(value: &'a Value) -> Option<Self> {
        let event = value.get("event")?;
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        Some(Self {
            kind: AnchorKind::from_name(text("kind")?)?,
            at: text("at"),
            header: text("header").and_then(hex::decode).and_then(|bytes| Header::from_bytes(&bytes)),
            proof: text("proof")?,
            sha256: text("sha256")?,
            digest: hex::decode_32(text("sha256")?)?,
            size: parse_decimal(text("size")?)?,
            root: hex::decode_32(text("root")?)?,
        })
    }
}

impl Anchors<'_> {
    /// Path in findings.
    fn path(&self, name: &str) -> String {
        match self {
            Self::Members(_, label) => format!("{label}/{ANCHORS_DIRECTORY}/{name}"),
            Self::Directory(_) | Self::Elsewhere => format!("{ANCHORS_DIRECTORY}/{name}"),
        }
    }

    /// Reads every anchored note like a checkpoint, before the receipts. Each claims its root.
    pub(super) fn notes(
        &self,
        trust: Option<&TrustFile>,
        stream: &mut Stream,
        session: &mut Session<'_>,
    ) -> io::Result<()> {
        for name in self.note_names()? {
            let path = self.path(&name);
            let bytes = match self {
                Self::Members(members, _) => {
                    Cow::Borrowed(members.get(&format!("{ANCHORS_DIRECTORY}/{name}")).map_or(&[][..], Vec::as_slice))
                }
                // One byte more than a note may have makes it no note.
                Self::Directory(directory) => {
                    Cow::Owned(durable::read_start(&directory.join(&name), NOTE_MAX_BYTES as u64 + 1)?)
                }
                Self::Elsewhere => continue,
            };
            if let Some(checkpoint) = read_checkpoint(&bytes, &path, trust, &mut session.report) {
                session.meet(&checkpoint, &path);
                let claim = RootClaim { root: checkpoint.root, path, code: Code::E601 };
                stream.claim(checkpoint.size, claim, &mut session.report);
            }
        }
        Ok(())
    }

    fn note_names(&self) -> io::Result<Vec<String>> {
        let is_note = |name: &str| {
            let digest = name.strip_suffix(NOTE_ENDING).and_then(|name| name.strip_suffix('.'));
            digest.is_some_and(|digest| hex::decode_32(digest).is_some())
        };
        let mut names: Vec<String> = match self {
            Self::Members(members, _) => {
                let prefix = format!("{ANCHORS_DIRECTORY}/");
                members.keys().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect()
            }
            Self::Directory(directory) => match std::fs::read_dir(directory) {
                Ok(entries) => entries
                    .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
                    .collect::<io::Result<_>>()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            },
            Self::Elsewhere => Vec::new(),
        };
        names.retain(|name| is_note(name));
        names.sort();
        Ok(names)
    }

    /// The file of this name, which begins with its digest.
    fn find(&self, name: &str) -> Found<'_> {
        let found = match self {
            Self::Members(members, _) => match members.get(&format!("{ANCHORS_DIRECTORY}/{name}")) {
                Some(bytes) => Cow::Borrowed(bytes.as_slice()),
                None => return Found::Missing,
            },
            Self::Directory(directory) => {
                match durable::read_start(&directory.join(name), PROOF_MAX_BYTES as u64 + 1) {
                    Ok(bytes) => Cow::Owned(bytes),
                    Err(_) => return Found::Missing,
                }
            }
            Self::Elsewhere => return Found::Missing,
        };
        if found.len() > PROOF_MAX_BYTES {
            return Found::TooLong;
        }
        let digest = hex::encode(&Sha256::digest(&found));
        if name.strip_prefix(&digest).is_some_and(|rest| rest.starts_with('.')) {
            Found::Whole(found)
        } else {
            Found::Missing
        }
    }

    /// Checks a receipt that stands in its place, if it is of an anchor and of the right form.
    pub(super) fn look_for(&self, receipt: Option<Placed>, path: &str, report: &mut Report) {
        if let Some(receipt) = receipt.filter(|receipt| receipt.kind == Kind::Anchor && receipt.formed) {
            self.check(&receipt.body, receipt.seq, path, report);
        }
    }

    /// Checks an `anchor` receipt of the right form against the files that it names.
    fn check(&self, receipt: &Value, seq: u64, path: &str, report: &mut Report) {
        if matches!(self, Self::Elsewhere) {
            return;
        }
        let Some(said) = Said::read(receipt) else { return };
        let seq = Some(seq);
        let mut get = |name: &str, member: &str| match self.find(name) {
            Found::Whole(bytes) => Some(bytes),
            Found::TooLong => {
                report.error(Code::E106, &self.path(name), seq, "longer than a file of an anchor may be");
                None
            }
            Found::Missing => {
                let detail = "the file is missing, or not the one that its name is the digest of";
                report.error(Code::E701, &format!("{path}#/event/{member}"), seq, detail);
                None
            }
        };
        let note_name = format!("{}.{NOTE_ENDING}", said.sha256);
        let note = get(&note_name, "sha256").and_then(|bytes| read_note(&bytes));
        let proof_name = format!("{}.{}", said.proof, said.kind.ending());
        let proof = get(&proof_name, "proof");
        if let Some((checkpoint, _)) = &note
            && (checkpoint.size != said.size || checkpoint.root != said.root)
        {
            let detail = "its size or root are not those of the receipt that anchors it";
            report.error(Code::E601, &self.path(&note_name), seq, detail);
        }
        if let Some(proof) = proof {
            check_proof(&said, &proof, note.as_ref().map(|(_, text)| text.as_str()), &mut |code, pointer, detail| {
                let path = self.path(&proof_name);
                let path = if pointer.is_empty() { path } else { format!("{path}#{pointer}") };
                match code {
                    Code::E705 => report.warning(code, &path, seq, detail),
                    _ => report.error(code, &path, seq, detail),
                }
            });
        }
    }
}

/// A note as checkpoint and text, if it is one. What is wrong with it was said when all notes were read.
fn read_note(bytes: &[u8]) -> Option<(Checkpoint, String)> {
    let note = SignedNote::parse(bytes).ok()?;
    Some((Checkpoint::from_text(note.text()).ok()?, note.text().to_owned()))
}

/// Told of each fault: code, JSON pointer, words for people.
type Tell<'t> = dyn FnMut(Code, &str, String) + 't;

fn check_proof(said: &Said<'_>, proof: &[u8], note: Option<&str>, tell: &mut Tell<'_>) {
    match said.kind {
        AnchorKind::Directory | AnchorKind::Object => {
            let _ = json(proof, &CopyProof::SHAPE, tell);
        }
        AnchorKind::Rfc3161 => check_token(said, proof, tell),
        AnchorKind::OpenTimestamps => check_opentimestamps(said, proof, tell),
        AnchorKind::OpReturn => check_op_return(said, proof, tell),
        AnchorKind::Witness => {
            if let (Some(note), Some((_, text))) = (note, read_note(proof))
                && note != text
            {
                tell(Code::E703, "", "it is over another text than the anchored note".to_owned());
            }
        }
    }
}

/// Reads a proof that is JSON; tells what is wrong with its form.
fn json(bytes: &[u8], form: &Shape, tell: &mut Tell<'_>) -> Option<Value> {
    let value = match parse(bytes, Limits::MANIFEST) {
        Ok(value) => value,
        Err(error) => {
            let (code, detail) = json_fault(error.fault);
            tell(code, "", detail.to_owned());
            return None;
        }
    };
    if !is_canonical(bytes, &value) {
        tell(Code::E203, "", "not canonical JSON".to_owned());
    }
    let faults = shape::check(&value, form);
    for fault in &faults {
        let (code, detail) = if fault.unknown {
            (Code::E207, "an unknown member")
        } else {
            (Code::E206, "missing or not of the form that it must have")
        };
        tell(code, &fault.pointer, detail.to_owned());
    }
    faults.is_empty().then_some(value)
}

fn check_token(said: &Said<'_>, proof: &[u8], tell: &mut Tell<'_>) {
    let token = match Token::from_response(proof) {
        Ok(token) => token,
        Err(fault) => return tell(Code::E702, "", fault.to_string()),
    };
    if token.digest != Some(said.digest) {
        tell(Code::E703, "", "it stamps another digest than that of the note".to_owned());
    }
    let at: Option<String> =
        said.at.map(|at| at.chars().filter(char::is_ascii_digit).take(token.seconds.len()).collect());
    if at.as_ref() != Some(&token.seconds) {
        tell(Code::E704, "", format!("its time is {}, the receipt states another", token.seconds));
    }
}

fn check_opentimestamps(said: &Said<'_>, proof: &[u8], tell: &mut Tell<'_>) {
    let proof = match Proof::from_bytes(proof) {
        Ok(proof) => proof,
        Err(fault) => return tell(Code::E706, "", fault.to_string()),
    };
    if proof.digest != said.digest {
        tell(Code::E703, "", "it stamps another digest than that of the note".to_owned());
    }
    match &said.header {
        None => tell(Code::E705, "", "it does not lead to a block header yet".to_owned()),
        Some(header) => {
            if let Err(fault) = proof.check_header(header) {
                tell(Code::E706, "", fault.to_string());
            }
        }
    }
}

fn check_op_return(said: &Said<'_>, proof: &[u8], tell: &mut Tell<'_>) {
    let Some(value) = json(proof, &OpReturnProof::SHAPE, tell) else { return };
    let Some(proof) = OpReturnProof::from_value(&value) else { return };
    let faults = proof.faults(&said.digest);
    if faults.contains(&OpReturnFault::Digest) {
        tell(Code::E703, "", OpReturnFault::Digest.to_string());
    }
    if let Some(fault) = faults.iter().find(|fault| **fault != OpReturnFault::Digest) {
        tell(Code::E708, "", fault.to_string());
    }
}

#[cfg(test)]
mod tests;
