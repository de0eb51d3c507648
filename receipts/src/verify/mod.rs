//! Offline verification: what evidence shows, said in full, whoever hands it over.
//!
//! Input is any mix of bundles (files or directories of their members), data directories, journal directories and proofs. Every
//! deviation is reported with a stable [`Code`], in a fixed order; the check goes on after a finding wherever it can. Nothing is
//! written, nothing is unpacked to disk, memory is bounded whatever the input.
//!
//! What no evidence can show: a tail dropped after the last checkpoint that anybody else holds, a request that was never
//! logged, and what the model really meant.

mod alone;
mod anchor;
mod artifacts;
mod bundle;
mod codes;
mod custody;
mod head;
mod journal;
mod kinds;
mod members;
mod pairs;
mod proof;
mod quorum;
mod report;
mod stream;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::anchor::ANCHORS_DIRECTORY;
use crate::bundle::{BUNDLES_DIRECTORY, CHECKPOINTS_DIRECTORY, list_bundle_files};
use crate::checkpoint::Checkpoint;
use crate::journal::{JOURNAL_DIRECTORY, segments};
use crate::keys::{KEYS_DIRECTORY, PublicKey, TrustFile};
use crate::tree::Hash;
use crate::witness::WitnessPolicy;

pub use codes::Code;
use journal::{JournalPaths, verify_journal};
use proof::{EVENT_PROOF, TLOG_PROOF};
use report::Report;
pub use report::{Assurance, Severity, Verdict, VerifyFinding, VerifyStats};
use stream::{RootClaim, Stream};

/// What the reader knows from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The root key that the evidence must lead to. Without one, integrity is checked and origin is not.
    pub trusted_root: Option<PublicKey>,
    /// A checkpoint note that was kept from an earlier look at the same log: it must not have shrunk or changed since.
    pub remembered_checkpoint: Option<Vec<u8>>,
    /// The witnesses that must have cosigned.
    pub witness_policy: Option<WitnessPolicy>,
    /// The event that an event proof must be about.
    pub event: Option<Vec<u8>>,
}

/// The verification could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is neither a bundle, nor a proof, nor a data directory, nor a journal", .0.display())]
    Unknown(PathBuf),
}

/// What an input is.
enum Input {
    Bundle(PathBuf, String),
    Data(PathBuf),
    Journal(PathBuf),
    Proof(PathBuf, String),
}

/// State over all inputs.
struct Session<'a> {
    options: &'a VerifyOptions,
    report: Report,
    /// The last bundle's log and stream, for the bundle that continues it.
    last: Option<(String, Stream)>,
    /// Roots met in checkpoints, by log and size.
    roots: HashMap<(String, u64), Hash>,
    remembered: Option<Remembered>,
}

/// What was met of the log of a remembered checkpoint: in trust files that could be read, and in the receipts beside them.
struct Remembered {
    checkpoint: Checkpoint,
    /// A trust file could be read, of whatever log.
    trusted: bool,
    /// A trust file of its log could be read, and whether a key of one signed it.
    vouched: Option<bool>,
    /// Most receipts that the log has among the inputs.
    receipts: Option<u64>,
    /// A tree of receipts had its size.
    checked: bool,
}

const REMEMBERED: &str = "remembered checkpoint";

/// Most roots of checkpoints that are compared with each other: a checkpoint a minute for two months.
const ROOTS_MAX: usize = 100_000;

/// Verifies evidence. The verdict lists everything that is wrong; an error means that there was nothing to verify.
pub fn verify<P: AsRef<Path>>(paths: &[P], options: &VerifyOptions) -> Result<Verdict, VerifyError> {
    let mut session =
        Session { options, report: Report::default(), last: None, roots: HashMap::new(), remembered: None };
    session.remember();
    let mut bundles = Vec::new();
    let mut proofs = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let unreadable = |source| VerifyError::Unreadable { path: path.to_owned(), source };
        match input(path)? {
            Input::Bundle(path, label) => bundles.push((path, label)),
            Input::Proof(path, label) => proofs.push((path, label)),
            Input::Journal(journal) => {
                let keys = journal.parent().unwrap_or(&journal).join(KEYS_DIRECTORY);
                let paths = JournalPaths { journal: &journal, keys: &keys, checkpoints: None, anchors: None };
                verify_journal(paths, JOURNAL_DIRECTORY, &mut session).map_err(unreadable)?;
            }
            Input::Data(data) => {
                let paths = JournalPaths {
                    journal: &data.join(JOURNAL_DIRECTORY),
                    keys: &data.join(KEYS_DIRECTORY),
                    checkpoints: Some(&data.join(CHECKPOINTS_DIRECTORY)),
                    anchors: Some(&data.join(ANCHORS_DIRECTORY)),
                };
                verify_journal(paths, JOURNAL_DIRECTORY, &mut session).map_err(unreadable)?;
                for (path, name) in list_bundle_files(&data).map_err(unreadable)? {
                    bundles.push((path, format!("{BUNDLES_DIRECTORY}/{name}")));
                }
            }
        }
    }
    // In the order of their receipts, so that each can be held against the one before.
    let mut ordered = Vec::new();
    for (path, label) in bundles {
        let unreadable = |source| VerifyError::Unreadable { path: path.clone(), source };
        let survey = members::survey(&path).map_err(unreadable)?;
        match survey.fault {
            None => ordered.push((survey.place, label, path)),
            Some(fault) => {
                session.report.stats.bundles += 1;
                bundle::container_fault(&fault, &label, &mut session.report);
            }
        }
    }
    ordered.sort();
    for (_, label, path) in ordered {
        bundle::verify_bundle(&path, &label, &mut session)
            .map_err(|source| VerifyError::Unreadable { path: path.clone(), source })?;
    }
    if let Some((_, mut stream)) = session.last.take() {
        stream.finish(&mut session.report);
    }
    for (path, label) in proofs {
        let checked = if label.ends_with(EVENT_PROOF) {
            proof::verify_event_proof(&path, &label, &mut session)
        } else {
            proof::verify_tlog_proof(&path, &label, &mut session)
        };
        checked.map_err(|source| VerifyError::Unreadable { path: path.clone(), source })?;
    }
    session.judge_remembered();
    let assurance = if options.trusted_root.is_some() { Assurance::Origin } else { Assurance::Integrity };
    Ok(session.report.finish(assurance))
}

fn input(path: &Path) -> Result<Input, VerifyError> {
    let unreadable = |source| VerifyError::Unreadable { path: path.to_owned(), source };
    let name = path.canonicalize().map_err(unreadable)?;
    let name = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if path.is_file() && (name.ends_with(TLOG_PROOF) || name.ends_with(EVENT_PROOF)) {
        return Ok(Input::Proof(path.to_owned(), name));
    }
    if path.is_file() || path.join(crate::bundle::MANIFEST).is_file() {
        return Ok(Input::Bundle(path.to_owned(), name));
    }
    if path.join(JOURNAL_DIRECTORY).is_dir() {
        return Ok(Input::Data(path.to_owned()));
    }
    match segments(path).map_err(unreadable)?.is_empty() {
        true => Err(VerifyError::Unknown(path.to_owned())),
        false => Ok(Input::Journal(path.to_owned())),
    }
}

impl Session<'_> {
    /// Is this the root that the reader trusts?
    fn check_root(&mut self, trust: &TrustFile, path: &str) {
        self.report.stats.logs.push(trust.log.clone());
        if self.options.trusted_root.as_ref().is_some_and(|trusted| *trusted != trust.root) {
            self.report.error(Code::E301, path, None, "its root key is not the one that was named as trusted");
        }
        if trust.has_worthless() {
            self.report.error(Code::E305, path, None, "a key was certified by a key that was revoked before");
        }
        // It is enough that one of the inputs has a key that signed what the reader remembers.
        if let (Some(note), Some(remembered)) = (&self.options.remembered_checkpoint, &mut self.remembered)
            && trust.holds
        {
            remembered.trusted = true;
            if remembered.checkpoint.origin == trust.log {
                let mut quiet = Report::default();
                let _ = head::read_checkpoint(note, REMEMBERED, Some(trust), &mut quiet);
                let signed = quiet.finish(Assurance::Integrity).ok;
                remembered.vouched = Some(signed || remembered.vouched == Some(true));
            }
        }
    }

    fn remember(&mut self) {
        let Some(note) = &self.options.remembered_checkpoint else { return };
        if let Some(checkpoint) = head::read_checkpoint(note, REMEMBERED, None, &mut self.report) {
            self.meet(&checkpoint, REMEMBERED);
            let met = Remembered { checkpoint, trusted: false, vouched: None, receipts: None, checked: false };
            self.remembered = Some(met);
        }
    }

    /// Notes a checkpoint; another root at the same size is a fork.
    fn meet(&mut self, checkpoint: &Checkpoint, path: &str) {
        let key = (checkpoint.origin.clone(), checkpoint.size);
        match self.roots.get(&key) {
            Some(root) if *root != checkpoint.root => {
                let detail = format!("another checkpoint of size {} has another root", checkpoint.size);
                self.report.error(Code::E606, path, None, detail);
            }
            Some(_) => {}
            None if self.roots.len() < ROOTS_MAX => {
                self.roots.insert(key, checkpoint.root);
            }
            None => {}
        }
    }

    /// The remembered checkpoint, for receipts whose trust file is of its log.
    fn remembered_of(&mut self, trust: Option<&TrustFile>) -> Option<&mut Remembered> {
        let trust = trust.filter(|trust| trust.holds)?;
        self.remembered.as_mut().filter(|remembered| remembered.checkpoint.origin == trust.log)
    }

    /// Puts the remembered checkpoint to a stream that may reach its size.
    fn claims_on(&mut self, trust: Option<&TrustFile>, stream: &mut Stream) {
        let Some(remembered) = self.remembered_of(trust) else { return };
        let (size, root) = (remembered.checkpoint.size, remembered.checkpoint.root);
        if stream.frontier().is_some_and(|frontier| frontier.size() <= size) {
            let claim = RootClaim { root, path: REMEMBERED.to_owned(), code: Code::E606 };
            stream.claim(size, claim, &mut self.report);
        }
    }

    /// Notes how far a stream came.
    fn leave(&mut self, trust: Option<&TrustFile>, stream: &Stream) {
        let Some(remembered) = self.remembered_of(trust) else { return };
        remembered.receipts = remembered.receipts.max(Some(stream.expected()));
        remembered.checked |= stream.had(remembered.checkpoint.size);
    }

    fn judge_remembered(&mut self) {
        let Some(remembered) = &self.remembered else { return };
        let size = remembered.checkpoint.size;
        match remembered.vouched {
            None if remembered.trusted => {
                let detail = format!("none of the inputs is of log {}", remembered.checkpoint.origin);
                self.report.error(Code::E604, REMEMBERED, None, detail);
            }
            Some(false) => {
                let detail = "it is not signed by a log key of the evidence";
                self.report.error(Code::E402, REMEMBERED, None, detail);
            }
            _ => {}
        }
        match remembered.receipts {
            Some(receipts) if receipts < size => {
                let detail = format!("the log had {size} receipts, the inputs know of {receipts}");
                self.report.error(Code::E605, REMEMBERED, Some(receipts), detail);
            }
            Some(_) if !remembered.checked => {
                let detail = "the inputs begin after it and do not prove that they continue it";
                self.report.warning(Code::E603, REMEMBERED, None, detail);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
