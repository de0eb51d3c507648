//! The check of everything in a bundle but its receipts: trust file, manifest and its signature, frontier, checkpoints,
//! proof, policies, attached files, custody.

use std::collections::BTreeSet;
use std::path::Path;

use super::alone::Fault;
use super::members::Members;
use super::report::Report;
use super::{Code, Session, artifacts, custody};
use crate::bundle::{self, Manifest, STATEMENT_PAYLOAD_TYPE, read_frontier, read_proof_lines, statement};
use crate::canonical::{Limits, Value, is_canonical, parse};
use crate::checkpoint::{Checkpoint, NoteError, SignedNote};
use crate::dsse::{Envelope, pae};
use crate::keys::{Lookup, PublicKey, TrustFile};
use crate::receipt::shape;
use crate::tree::{Frontier, verify_consistency};

/// Everything in a bundle but the receipts, as far as it could be read.
pub(super) struct Head {
    pub(super) label: String,
    pub(super) manifest: Option<Manifest>,
    pub(super) trust: Option<TrustFile>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) frontier: Option<Frontier>,
    /// SHA-256 of attached files that were taken out, as an unbroken custody log says.
    pub(super) redacted: BTreeSet<String>,
}

impl Head {
    /// Checks what was read; `bundle` is where external files are looked for.
    pub(super) fn check(bundle: &Path, label: &str, members: &Members, session: &mut Session<'_>) -> Self {
        let mut head = Self {
            label: label.to_owned(),
            manifest: None,
            trust: None,
            checkpoint: None,
            frontier: None,
            redacted: BTreeSet::new(),
        };
        head.trust = head.read_trust(members, session);
        head.manifest = head.read_manifest(members, &mut session.report);
        head.check_statement(members, &mut session.report);
        head.frontier = head.read_frontier(members, &mut session.report);
        head.checkpoint = head.read_checkpoint(bundle::CHECKPOINT, members, &mut session.report);
        if let Some(note) = members.get(bundle::CHECKPOINT) {
            session.check_quorum(note, &head.path(bundle::CHECKPOINT));
        }
        head.check_checkpoints(members, session);
        head.check_policies(members, &mut session.report);
        head.redacted = head.read_custody(members, &mut session.report);
        artifacts::check_names(label, members, &mut session.report);
        artifacts::check_externals(bundle, label, members, &head.redacted, &mut session.report);
        head
    }

    pub(super) fn path(&self, member: &str) -> String {
        format!("{}/{member}", self.label)
    }

    fn read_trust(&self, members: &Members, session: &mut Session<'_>) -> Option<TrustFile> {
        let path = self.path(bundle::KEYS);
        let trust = match TrustFile::read(members.get(bundle::KEYS)?) {
            Ok(trust) => trust,
            Err(fault) => {
                session.report.trust(fault, &path);
                return None;
            }
        };
        session.check_root(&trust, &path);
        Some(trust)
    }

    fn read_manifest(&self, members: &Members, report: &mut Report) -> Option<Manifest> {
        let path = self.path(bundle::MANIFEST);
        let bytes = members.get(bundle::MANIFEST)?;
        let value = document(bytes, Limits::MANIFEST, Code::E104, &path, report)?;
        if value.get("v").and_then(Value::as_str).is_some_and(|version| version != crate::receipt::FORMAT) {
            report.error(Code::E105, &path, None, "a version that this verifier does not know");
            return None;
        }
        if !shape_is_good(&value, Manifest::SHAPE, &path, report) {
            return None;
        }
        let manifest = Manifest::from_value(&value)?;
        if let Some(trust) = &self.trust
            && trust.log != manifest.log
        {
            report.error(Code::E604, &path, None, "the manifest is of another log than the trust file");
        }
        let ascending = manifest.files.windows(2).all(|pair| matches!(pair, [a, b] if a.path < b.path));
        if !ascending || manifest.from >= manifest.to {
            report.error(Code::E206, &path, None, "files not in ascending order, or a range that is empty");
        }
        Some(manifest)
    }

    fn check_statement(&self, members: &Members, report: &mut Report) {
        let path = self.path(bundle::MANIFEST_DSSE);
        let Some(bytes) = members.get(bundle::MANIFEST_DSSE) else { return };
        let Some(value) = document(bytes, Limits::MANIFEST, Code::E203, &path, report) else { return };
        let Some(envelope) = Envelope::from_value(&value) else {
            return report.error(Code::E206, &path, None, "not a DSSE envelope with one signature");
        };
        let (Some(manifest), Some(manifest_bytes)) = (&self.manifest, members.get(bundle::MANIFEST)) else { return };
        if envelope.payload_type != STATEMENT_PAYLOAD_TYPE || envelope.payload != statement(manifest, manifest_bytes) {
            report.error(Code::E403, &path, None, "what is signed is not the statement over this manifest");
        }
        let Some(trust) = &self.trust else { return };
        let key = match trust.log_key(&envelope.key_id, manifest.to) {
            Lookup::Valid(key) => key,
            Lookup::OutOfRange(key) => {
                report.error(Code::E304, &path, None, "the log key is not valid for this range");
                key
            }
            Lookup::Revoked(key) => {
                report.error(Code::E305, &path, None, "the log key was revoked before this range ended");
                key
            }
            Lookup::Unknown => {
                return report.error(Code::E301, &path, None, "signed with a key that is not in the trust file");
            }
        };
        if !key.verify(&pae(STATEMENT_PAYLOAD_TYPE, &envelope.payload), &envelope.signature) {
            report.error(Code::E403, &path, None, "the signature is not of the log key over the statement");
        }
    }

    fn read_frontier(&self, members: &Members, report: &mut Report) -> Option<Frontier> {
        let path = self.path(bundle::FRONTIER);
        let bytes = members.get(bundle::FRONTIER)?;
        let value = document(bytes, Limits::RECEIPT, Code::E203, &path, report)?;
        if !shape_is_good(&value, &shape::FRONTIER, &path, report) {
            return None;
        }
        let frontier = read_frontier(&value);
        let fits = frontier
            .as_ref()
            .is_some_and(|frontier| self.manifest.as_ref().is_none_or(|manifest| manifest.from == frontier.size()));
        if !fits {
            report.error(Code::E601, &path, None, "not a frontier of the size at which the bundle begins");
            return None;
        }
        frontier
    }

    /// Reads a checkpoint and checks its signature and its log.
    fn read_checkpoint(&self, name: &str, members: &Members, report: &mut Report) -> Option<Checkpoint> {
        read_checkpoint(members.get(name)?, &self.path(name), self.trust.as_ref(), report)
    }

    fn check_checkpoints(&self, members: &Members, session: &mut Session<'_>) {
        let report = &mut session.report;
        let path = self.path(bundle::CHECKPOINT);
        if let (Some(checkpoint), Some(manifest)) = (&self.checkpoint, &self.manifest)
            && (checkpoint.size != manifest.to || checkpoint.root != manifest.root)
        {
            report.error(Code::E601, &path, None, "size or root are not those of the manifest");
        }
        let prev = self.read_checkpoint(bundle::CHECKPOINT_PREV, members, report);
        if let (Some(prev), Some(frontier)) = (&prev, &self.frontier)
            && (prev.size != frontier.size() || prev.root != frontier.root())
        {
            let detail = "size or root are not those of the frontier";
            report.error(Code::E601, &self.path(bundle::CHECKPOINT_PREV), None, detail);
        }
        if let Some(proof) = members.get(bundle::CONSISTENCY) {
            let path = self.path(bundle::CONSISTENCY);
            match (read_proof_lines(proof), &prev, &self.checkpoint) {
                (None, _, _) => report.error(Code::E603, &path, None, "not one base64 hash a line"),
                (Some(proof), Some(prev), Some(checkpoint)) => {
                    let proven = verify_consistency(prev.size, checkpoint.size, &proof, &prev.root, &checkpoint.root);
                    if let Err(error) = proven {
                        report.error(Code::E603, &path, None, error.to_string());
                    }
                }
                _ => {}
            }
        }
        let known = [(bundle::CHECKPOINT, &self.checkpoint), (bundle::CHECKPOINT_PREV, &prev)];
        for (name, checkpoint) in known {
            if let Some(checkpoint) = checkpoint {
                session.meet(checkpoint, &self.path(name));
            }
        }
    }

    fn read_custody(&self, members: &Members, report: &mut Report) -> BTreeSet<String> {
        let parts = (members.get(bundle::CUSTODY), members.get(bundle::MANIFEST), &self.manifest);
        let (Some(bytes), Some(manifest_bytes), Some(manifest)) = parts else { return BTreeSet::new() };
        custody::check(bytes, manifest_bytes, &manifest.log, &self.path(bundle::CUSTODY), report)
    }

    fn check_policies(&self, members: &Members, report: &mut Report) {
        for (name, bytes) in &members.whole {
            let hash = name.strip_prefix(bundle::POLICIES).and_then(|rest| rest.strip_suffix(".json"));
            if hash.is_some_and(|hash| blake3::hash(bytes).to_hex().as_str() != hash) {
                report.error(Code::E802, &self.path(name), None, "not the policy that its hash names");
            }
        }
    }
}

/// Reads a document that has to be canonical JSON; `spelling` is the code if it is not.
pub(super) fn document(bytes: &[u8], limits: Limits, spelling: Code, path: &str, report: &mut Report) -> Option<Value> {
    match parse(bytes, limits) {
        Ok(value) => {
            if !is_canonical(bytes, &value) {
                report.error(spelling, path, None, "not canonical JSON");
            }
            Some(value)
        }
        Err(error) => {
            report.json(error.fault, path, None);
            None
        }
    }
}

pub(super) fn shape_is_good(value: &Value, shape: &shape::Shape, path: &str, report: &mut Report) -> bool {
    let faults: Vec<Fault> = shape::check(value, shape).into_iter().map(Fault::form).collect();
    for fault in &faults {
        let pointer = fault.pointer.as_deref().unwrap_or_default();
        report.error(fault.code, &format!("{path}#{pointer}"), None, fault.detail);
    }
    faults.is_empty()
}

/// Reads a checkpoint note, checks that a log key of the trust file signed it and that it is of its log.
pub(super) fn read_checkpoint(
    bytes: &[u8],
    path: &str,
    trust: Option<&TrustFile>,
    report: &mut Report,
) -> Option<Checkpoint> {
    let note = SignedNote::parse(bytes);
    let checkpoint = note.and_then(|note| Ok((Checkpoint::from_text(note.text())?, note)));
    let (checkpoint, note) = match checkpoint {
        Ok(read) => read,
        Err(error) => {
            report.error(Code::E405, path, None, error.to_string());
            return None;
        }
    };
    report.stats.checkpoints += 1;
    if let Some(trust) = trust {
        match note.verify(trust.log_keys()) {
            _ if !trust.holds => {}
            Ok(signed) => check_log_keys(trust, &signed, checkpoint.size, path, report),
            Err(NoteError::Unsigned) => {
                report.error(Code::E402, path, None, "no log key of the trust file signed it");
            }
            Err(error) => report.error(Code::E402, path, None, error.to_string()),
        }
        if checkpoint.origin != trust.log {
            report.error(Code::E604, path, None, "it is of another log than the trust file");
        }
    }
    Some(checkpoint)
}

/// One of the log keys that signed must be valid for a tree of this size.
fn check_log_keys(trust: &TrustFile, signed: &[&PublicKey], size: u64, path: &str, report: &mut Report) {
    let places: Vec<Lookup<'_>> = signed.iter().map(|key| trust.log_key(&key.id(), size)).collect();
    if places.iter().any(|place| matches!(place, Lookup::Valid(_))) {
    } else if places.iter().any(|place| matches!(place, Lookup::Revoked(_))) {
        report.error(Code::E305, path, None, "its log key was revoked before this size");
    } else {
        report.error(Code::E304, path, None, "its log key is not valid for this size");
    }
}
