//! The check of one bundle: its members in one pass, its receipts one by one.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::anchor::Anchors;
use super::head::Head;
use super::report::Report;
use super::stream::{Item, RootClaim, Stream};
use super::{Code, Session};
use crate::bundle::{self, Container, ContainerFault, Manifest, ManifestFile, io_fault, open_bundle};
use crate::canonical::{Limits, is_canonical, parse};
use crate::dsse::Envelope;
use crate::receipt::{LEAF_MAX_BYTES, RECEIPT_PAYLOAD_TYPE};
use crate::tree::{Frontier, leaf_hash};

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
            let anchors = Anchors::Members(&members, label);
            // Members in memory can always be read.
            let _ = anchors.notes(head.trust.as_ref(), &mut stream, session);
            match head.receipts(&mut container, anchors, &mut stream, session) {
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
        anchors: Anchors<'_>,
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
            self.line(envelope, &path, anchors, stream, report);
        }
        self.check_counts(&before, report);
        Ok(ManifestFile {
            path: bundle::RECEIPTS.to_owned(),
            size,
            sha256: sha256.finalize().into(),
            blake3: *blake3.finalize().as_bytes(),
        })
    }

    fn line(&self, line: &[u8], path: &str, anchors: Anchors<'_>, stream: &mut Stream, report: &mut Report) {
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
                    anchors,
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
