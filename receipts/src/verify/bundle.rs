//! The check of one bundle.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::report::Report;
use super::stream::{Item, RootClaim, Stream};
use super::{Code, Session};
use crate::bundle::{
    self, Container, ContainerFault, Manifest, ManifestFile, STATEMENT_PAYLOAD_TYPE, io_fault, open_bundle,
    read_frontier, read_proof_lines, statement,
};
use crate::canonical::{Limits, Value, is_canonical, parse};
use crate::checkpoint::{Checkpoint, NoteError, SignedNote};
use crate::dsse::{Envelope, pae};
use crate::keys::{Lookup, TrustFile};
use crate::receipt::{LEAF_MAX_BYTES, RECEIPT_PAYLOAD_TYPE, shape};
use crate::tree::{Frontier, leaf_hash, verify_consistency};

/// Range of a bundle as its manifest claims it; for putting bundles in order before they are checked.
pub(super) fn peek(path: &Path) -> Option<(String, u64)> {
    let mut container = open_bundle(path).ok()?;
    while let Some(member) = container.next().ok()? {
        if member.path == bundle::MANIFEST {
            let value = parse(&container.read_member().ok()?, Limits::MANIFEST).ok()?;
            let manifest = Manifest::from_value(&value)?;
            return Some((manifest.log, manifest.from));
        }
    }
    None
}

/// Everything in a bundle but the receipts, as far as it could be read.
struct Head {
    label: String,
    manifest: Option<Manifest>,
    trust: Option<TrustFile>,
    checkpoint: Option<Checkpoint>,
    frontier: Option<Frontier>,
}

/// Checks a bundle. Fails only when the file cannot be opened.
pub(super) fn verify_bundle(path: &Path, label: &str, session: &mut Session<'_>) -> io::Result<()> {
    let mut container = open_bundle(path)?;
    session.report.stats.bundles += 1;
    let mut members: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut receipts: Option<ManifestFile> = None;
    let mut checked: Option<(Head, Stream)> = None;
    let mut whole = false;
    loop {
        let member = match container.next() {
            Ok(Some(member)) => member,
            Ok(None) => {
                whole = true;
                break;
            }
            Err(fault) => {
                container_fault(&fault, label, &mut session.report);
                break;
            }
        };
        if member.path == bundle::RECEIPTS {
            let head = Head::check(label, &members, session);
            let mut stream = head.stream(session);
            match head.receipts(&mut container, &mut stream, session) {
                Ok(file) => receipts = Some(file),
                Err(fault) => {
                    container_fault(&fault, label, &mut session.report);
                    checked = Some((head, stream));
                    break;
                }
            }
            checked = Some((head, stream));
        } else {
            match container.read_member() {
                Ok(bytes) => {
                    members.insert(member.path, bytes);
                }
                Err(fault) => {
                    container_fault(&fault, label, &mut session.report);
                    break;
                }
            }
        }
    }
    let (head, stream) = checked.unwrap_or_else(|| {
        let head = Head::check(label, &members, session);
        let stream = head.stream(session);
        (head, stream)
    });
    // What is missing from an archive that breaks off was named by the break already.
    if whole {
        head.files(&members, receipts.as_ref(), session);
    }
    head.close(stream, receipts.is_some(), session);
    Ok(())
}

fn container_fault(fault: &ContainerFault, label: &str, report: &mut Report) {
    let code = match fault {
        ContainerFault::Limit => Code::E106,
        ContainerFault::Path => Code::E107,
        ContainerFault::Form => Code::E108,
    };
    report.error(code, label, None, fault.to_string());
}

impl Head {
    fn check(label: &str, members: &BTreeMap<String, Vec<u8>>, session: &mut Session<'_>) -> Self {
        let mut head = Self { label: label.to_owned(), manifest: None, trust: None, checkpoint: None, frontier: None };
        head.trust = head.read_trust(members, session);
        head.manifest = head.read_manifest(members, &mut session.report);
        head.check_statement(members, &mut session.report);
        head.frontier = head.read_frontier(members, &mut session.report);
        head.checkpoint = head.read_checkpoint(bundle::CHECKPOINT, members, &mut session.report);
        head.check_checkpoints(members, session);
        head.check_policies(members, &mut session.report);
        head
    }

    fn path(&self, member: &str) -> String {
        format!("{}/{member}", self.label)
    }

    fn read_trust(&self, members: &BTreeMap<String, Vec<u8>>, session: &mut Session<'_>) -> Option<TrustFile> {
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

    fn read_manifest(&self, members: &BTreeMap<String, Vec<u8>>, report: &mut Report) -> Option<Manifest> {
        let path = self.path(bundle::MANIFEST);
        let bytes = members.get(bundle::MANIFEST)?;
        let value = match parse(bytes, Limits::MANIFEST) {
            Ok(value) => value,
            Err(error) => {
                report.json(error.fault, &path, None);
                return None;
            }
        };
        if !is_canonical(bytes, &value) {
            report.error(Code::E104, &path, None, "the manifest is not canonical JSON");
        }
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

    fn check_statement(&self, members: &BTreeMap<String, Vec<u8>>, report: &mut Report) {
        let path = self.path(bundle::MANIFEST_DSSE);
        let Some(bytes) = members.get(bundle::MANIFEST_DSSE) else { return };
        let value = match parse(bytes, Limits::MANIFEST) {
            Ok(value) => value,
            Err(error) => return report.json(error.fault, &path, None),
        };
        if !is_canonical(bytes, &value) {
            report.error(Code::E203, &path, None, "not canonical JSON");
        }
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
            Lookup::Unknown => {
                return report.error(Code::E301, &path, None, "signed with a key that is not in the trust file");
            }
        };
        if !key.verify(&pae(STATEMENT_PAYLOAD_TYPE, &envelope.payload), &envelope.signature) {
            report.error(Code::E403, &path, None, "the signature is not of the log key over the statement");
        }
    }

    fn read_frontier(&self, members: &BTreeMap<String, Vec<u8>>, report: &mut Report) -> Option<Frontier> {
        let path = self.path(bundle::FRONTIER);
        let bytes = members.get(bundle::FRONTIER)?;
        let value = match parse(bytes, Limits::RECEIPT) {
            Ok(value) => value,
            Err(error) => {
                report.json(error.fault, &path, None);
                return None;
            }
        };
        if !is_canonical(bytes, &value) {
            report.error(Code::E203, &path, None, "not canonical JSON");
        }
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
    fn read_checkpoint(
        &self,
        name: &str,
        members: &BTreeMap<String, Vec<u8>>,
        report: &mut Report,
    ) -> Option<Checkpoint> {
        read_checkpoint(members.get(name)?, &self.path(name), self.trust.as_ref(), report)
    }

    fn check_checkpoints(&self, members: &BTreeMap<String, Vec<u8>>, session: &mut Session<'_>) {
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

    fn check_policies(&self, members: &BTreeMap<String, Vec<u8>>, report: &mut Report) {
        for (name, bytes) in members {
            let hash = name.strip_prefix(bundle::POLICIES).and_then(|rest| rest.strip_suffix(".json"));
            if hash.is_some_and(|hash| blake3::hash(bytes).to_hex().as_str() != hash) {
                report.error(Code::E802, &self.path(name), None, "not the policy that its hash names");
            }
        }
    }

    /// Continues the stream of the bundle before, or begins one.
    fn stream(&self, session: &mut Session<'_>) -> Stream {
        let from = self.manifest.as_ref().map_or(0, |manifest| manifest.from);
        let log = self.log();
        let last = session.last.take();
        if let Some((last_log, mut stream)) = last {
            let same_place = last_log == log && stream.expected() == from;
            let same_tree = stream.frontier().map(|frontier| (frontier.size(), frontier.root()))
                == self.frontier.as_ref().map(|frontier| (frontier.size(), frontier.root()));
            if same_place && same_tree {
                return stream;
            }
            if last_log == log && from > stream.expected() {
                let detail = format!("receipts {} to {} are in none of the inputs", stream.expected(), from - 1);
                session.report.warning(Code::E501, &self.label, Some(stream.expected()), detail);
            }
            stream.finish(&mut session.report);
        }
        let chain = self.manifest.as_ref().filter(|_| from > 0).map(|manifest| manifest.prev);
        let mut stream = Stream::new(from, chain, self.frontier.clone());
        session.claims_on(&log, &mut stream);
        stream
    }

    fn log(&self) -> String {
        let manifest = self.manifest.as_ref().map(|manifest| manifest.log.clone());
        manifest.or_else(|| self.trust.as_ref().map(|trust| trust.log.clone())).unwrap_or_default()
    }

    /// Reads and checks the receipts, one envelope a line.
    fn receipts(
        &self,
        container: &mut Container,
        stream: &mut Stream,
        session: &mut Session<'_>,
    ) -> Result<ManifestFile, ContainerFault> {
        let path = self.path(bundle::RECEIPTS);
        let report = &mut session.report;
        if let (Some(manifest), Some(chain)) = (&self.manifest, stream.chain())
            && manifest.from > 0
            && manifest.prev != chain
        {
            let detail = "it does not continue the chain of the bundle before";
            report.error(Code::E503, &format!("{}#/prev", self.path(bundle::MANIFEST)), None, detail);
        }
        if let Some(checkpoint) = &self.checkpoint {
            let claim = RootClaim { root: checkpoint.root, path: self.path(bundle::CHECKPOINT), code: Code::E601 };
            stream.claim(checkpoint.size, claim, report);
        }
        let (mut sha256, mut blake3, mut size) = (Sha256::new(), blake3::Hasher::new(), 0u64);
        let before = (report.stats.kinds.clone(), report.stats.verdicts.clone());
        let mut input = BufReader::with_capacity(128 * 1024, container);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut input)
                .take(LEAF_MAX_BYTES as u64 + 1)
                .read_until(b'\n', &mut line)
                .map_err(|error| io_fault(&error))?;
            if read == 0 {
                break;
            }
            sha256.update(&line);
            blake3.update(&line);
            size += read as u64;
            let Some(envelope) = line.strip_suffix(b"\n") else {
                if line.len() > LEAF_MAX_BYTES {
                    report.error(Code::E106, &path, Some(stream.expected()), "a line is longer than a leaf may be");
                    return Err(ContainerFault::Limit);
                }
                report.error(Code::E201, &path, Some(stream.expected()), "the last line does not end");
                break;
            };
            self.line(envelope, &path, stream, report);
        }
        self.check_counts(&before, report);
        Ok(ManifestFile {
            path: bundle::RECEIPTS.to_owned(),
            size,
            sha256: sha256.finalize().into(),
            blake3: *blake3.finalize().as_bytes(),
        })
    }

    fn line(&self, line: &[u8], path: &str, stream: &mut Stream, report: &mut Report) {
        let (leaf, at) = (leaf_hash(line), stream.expected());
        let value = match parse(line, Limits::RECEIPT) {
            Ok(value) => value,
            Err(error) => {
                report.json(error.fault, path, Some(at));
                return stream.unreadable(leaf, report);
            }
        };
        if !is_canonical(line, &value) {
            report.error(Code::E203, path, Some(at), "the envelope is not canonical JSON");
        }
        let envelope = Envelope::from_value(&value);
        match envelope.filter(|envelope| envelope.payload_type == RECEIPT_PAYLOAD_TYPE) {
            None => {
                report.error(Code::E206, path, Some(at), "not a DSSE envelope of a receipt with one signature");
                stream.unreadable(leaf, report);
            }
            Some(envelope) => {
                let item = Item {
                    body: &envelope.payload,
                    key_id: Some(&envelope.key_id),
                    signature: &envelope.signature,
                    leaf: Some(leaf),
                };
                stream.receipt(&item, path, self.trust.as_ref(), report);
            }
        }
    }

    /// The manifest counts receipts by kind and verdict; they must be those that were read.
    fn check_counts(&self, before: &(BTreeMap<String, u64>, BTreeMap<String, u64>), report: &mut Report) {
        let Some(manifest) = &self.manifest else { return };
        let since = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| -> BTreeMap<String, u64> {
            let new = now.iter().map(|(name, count)| (name.clone(), count - before.get(name).copied().unwrap_or(0)));
            new.filter(|(_, count)| *count > 0).collect()
        };
        let (kinds, verdicts) = before;
        let same = since(&report.stats.kinds, kinds) == manifest.kinds
            && since(&report.stats.verdicts, verdicts) == manifest.verdicts;
        if !same {
            let detail = "the manifest counts other receipts than there are";
            report.error(Code::E511, &self.path(bundle::MANIFEST), None, detail);
        }
    }

    /// Holds what was read against what the manifest lists.
    fn files(&self, members: &BTreeMap<String, Vec<u8>>, receipts: Option<&ManifestFile>, session: &mut Session<'_>) {
        let report = &mut session.report;
        let begins = self.manifest.as_ref().is_some_and(|manifest| manifest.from == 0);
        let mut required = vec![
            bundle::CHECKPOINT,
            bundle::FRONTIER,
            bundle::KEYS,
            bundle::MANIFEST,
            bundle::MANIFEST_DSSE,
            bundle::RECEIPTS,
        ];
        if !begins {
            required.extend([bundle::CHECKPOINT_PREV, bundle::CONSISTENCY]);
        }
        let there = |path: &str| members.contains_key(path) || (path == bundle::RECEIPTS && receipts.is_some());
        let mut missing: Vec<String> = required.into_iter().filter(|path| !there(path)).map(str::to_owned).collect();
        let Some(manifest) = &self.manifest else {
            for path in missing {
                report.error(Code::E101, &self.path(&path), None, "the member is missing");
            }
            return;
        };
        for listed in &manifest.files {
            let found = match members.get(&listed.path) {
                Some(bytes) => Some(ManifestFile::of(&listed.path, bytes)),
                None => receipts.filter(|file| file.path == listed.path).cloned(),
            };
            match found {
                None => missing.push(listed.path.clone()),
                Some(found) if found != *listed => {
                    report.error(Code::E103, &self.path(&listed.path), None, "not the file that the manifest lists");
                }
                Some(_) => {}
            }
        }
        missing.sort();
        missing.dedup();
        for path in missing {
            report.error(Code::E101, &self.path(&path), None, "the member is missing");
        }
        let own = [bundle::MANIFEST, bundle::MANIFEST_DSSE];
        let listed = |path: &str| own.contains(&path) || manifest.files.iter().any(|file| file.path == path);
        let receipts = receipts.map(|file| &file.path);
        for path in members.keys().chain(receipts).filter(|path| !listed(path)) {
            report.error(Code::E102, &self.path(path), None, "the manifest does not list this member");
        }
    }

    /// After the last receipt: is it where the checkpoint says that the tree ends?
    fn close(&self, stream: Stream, read: bool, session: &mut Session<'_>) {
        let report = &mut session.report;
        let size = stream.frontier().map(Frontier::size);
        if let (Some(checkpoint), Some(size), true) = (&self.checkpoint, size, read) {
            let path = self.path(bundle::CHECKPOINT);
            if size < checkpoint.size {
                let detail = format!("the checkpoint is over {} receipts, the bundle ends at {size}", checkpoint.size);
                report.error(Code::E506, &path, Some(stream.expected()), detail);
            } else if size > checkpoint.size {
                let detail = format!("the checkpoint is over {} receipts, the bundle ends at {size}", checkpoint.size);
                report.error(Code::E601, &path, None, detail);
            }
        }
        if let (Some(manifest), Some(chain)) = (&self.manifest, stream.chain())
            && read
            && manifest.chain != chain
        {
            let detail = "the manifest names another chain value than that of the last receipt";
            report.error(Code::E503, &format!("{}#/chain", self.path(bundle::MANIFEST)), None, detail);
        }
        session.leave(&self.log(), &stream);
        session.last = Some((self.log(), stream));
    }
}

fn shape_is_good(value: &Value, shape: &shape::Shape, path: &str, report: &mut Report) -> bool {
    let faults = shape::check(value, shape);
    for fault in &faults {
        let (code, what) = if fault.unknown {
            (Code::E207, "an unknown member")
        } else {
            (Code::E206, "missing or not of the form that it must have")
        };
        report.error(code, &format!("{path}#{}", fault.pointer), None, what);
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
        if let Err(error) = note.verify(trust.log_keys()) {
            let detail = match error {
                NoteError::Unsigned => "no log key of the trust file signed it".to_owned(),
                other => other.to_string(),
            };
            report.error(Code::E402, path, None, detail);
        }
        if checkpoint.origin != trust.log {
            report.error(Code::E604, path, None, "it is of another log than the trust file");
        }
    }
    Some(checkpoint)
}
