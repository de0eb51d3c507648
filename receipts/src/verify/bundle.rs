//! The check of one bundle: its members in one pass, its receipts in order.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::alone::{BATCH_BYTES, BATCH_RECEIPTS, Raw, look_at};
use super::anchor::Anchors;
use super::head::Head;
use super::members::{Digests, Members, pass};
use super::report::Report;
use super::stream::{RootClaim, Stream};
use super::{Code, Session};
use crate::bundle::{self, Container, ContainerFault, ManifestFile, io_fault, open_bundle};
use crate::receipt::LEAF_MAX_BYTES;
use crate::tree::Frontier;

/// Checks a bundle whose container was found good. Fails only when the file cannot be opened.
pub(super) fn verify_bundle(path: &Path, label: &str, session: &mut Session<'_>) -> io::Result<()> {
    let mut container = open_bundle(path)?;
    session.report.stats.bundles += 1;
    let mut members = Members::default();
    let mut checked: Option<(Head, Stream)> = None;
    let mut placed = false;
    loop {
        let step = match container.next() {
            Ok(None) => break,
            Ok(Some(member)) if member.path == bundle::RECEIPTS => {
                let (head, mut stream) = begin(path, label, &members, session);
                let anchors = Anchors::Members(&members.whole, label);
                let receipts = head.receipts(&mut container, anchors, &mut stream, session);
                checked = Some((head, stream));
                receipts.map(|(file, any)| {
                    placed = any;
                    members.passed.insert(member.path, file);
                })
            }
            Ok(Some(member)) if container.is_streamed() => {
                pass(&mut container, &member.path).map(|file| drop(members.passed.insert(member.path, file)))
            }
            Ok(Some(member)) => container.read_member().map(|bytes| drop(members.whole.insert(member.path, bytes))),
            Err(fault) => Err(fault),
        };
        // It was good a moment ago; what is different now is not looked at further.
        if let Err(fault) = step {
            container_fault(&fault, label, &mut session.report);
            break;
        }
    }
    let (head, stream) = checked.unwrap_or_else(|| begin(path, label, &members, session));
    head.files(&members, session);
    head.close(stream, members.has(bundle::RECEIPTS), placed, session);
    Ok(())
}

/// Checks all but the receipts, and finds the stream that they belong to.
fn begin(path: &Path, label: &str, members: &Members, session: &mut Session<'_>) -> (Head, Stream) {
    let head = Head::check(path, label, members, session);
    let mut stream = head.stream(session);
    // Members in memory can always be read.
    let _ = Anchors::Members(&members.whole, label).notes(head.trust.as_ref(), &mut stream, session);
    (head, stream)
}

/// Tells of a container that is no bundle's.
pub(super) fn container_fault(fault: &ContainerFault, label: &str, report: &mut Report) {
    let code = match fault {
        ContainerFault::Limit => Code::E106,
        ContainerFault::Path => Code::E107,
        ContainerFault::Form => Code::E108,
    };
    report.error(code, label, None, fault.to_string());
}

/// Why the receipts end.
enum End {
    File,
    /// A line that is longer than a leaf may be.
    Long,
    /// The last line has no newline.
    Open,
}

/// Lines being read, and the digests of all that is read.
struct Lines<'c> {
    input: BufReader<&'c mut Container>,
    digests: Digests,
    end: Option<End>,
}

impl Lines<'_> {
    /// The next lines, without their newlines; none at the end.
    fn batch(&mut self) -> io::Result<Vec<Raw>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while self.end.is_none() && batch.len() < BATCH_RECEIPTS && bytes < BATCH_BYTES {
            let mut line = Vec::new();
            (&mut self.input).take(LEAF_MAX_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
            self.digests.update(&line);
            bytes += line.len();
            if line.last() == Some(&b'\n') {
                line.pop();
                batch.push(Raw::Line(line));
            } else {
                self.end = Some(match line.len() {
                    0 => End::File,
                    length if length > LEAF_MAX_BYTES => End::Long,
                    _ => End::Open,
                });
            }
        }
        Ok(batch)
    }

    /// Digests of the whole member, however far it was read.
    fn finish(mut self) -> io::Result<ManifestFile> {
        loop {
            let rest = self.input.fill_buf()?;
            if rest.is_empty() {
                return Ok(self.digests.finish(bundle::RECEIPTS));
            }
            let length = rest.len();
            self.digests.update(rest);
            self.input.consume(length);
        }
    }
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
        session.claims_on(self.trust.as_ref(), &mut stream);
        stream
    }

    fn log(&self) -> String {
        let manifest = self.manifest.as_ref().map(|manifest| manifest.log.clone());
        manifest.or_else(|| self.trust.as_ref().map(|trust| trust.log.clone())).unwrap_or_default()
    }

    /// Reads and checks the receipts, one envelope a line. Gives the file, and whether any of them stood in its place.
    fn receipts(
        &self,
        container: &mut Container,
        anchors: Anchors<'_>,
        stream: &mut Stream,
        session: &mut Session<'_>,
    ) -> Result<(ManifestFile, bool), ContainerFault> {
        let path: Arc<str> = self.path(bundle::RECEIPTS).into();
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
        let before = (report.stats.kinds.clone(), report.stats.verdicts.clone());
        let fault = |error: io::Error| io_fault(&error);
        let mut lines =
            Lines { input: BufReader::with_capacity(128 * 1024, container), digests: Digests::default(), end: None };
        let mut any = false;
        let mut batch = lines.batch().map_err(fault)?;
        while !batch.is_empty() {
            let (looked_at, next) = look_at(&batch, self.trust.as_ref(), || lines.batch());
            for alone in looked_at {
                let placed = stream.receipt(alone, &path, self.trust.as_ref(), report);
                any |= placed.is_some();
                anchors.look_for(placed, &path, report);
            }
            batch = next.map_err(fault)?;
        }
        let at = Some(stream.expected());
        match lines.end {
            Some(End::Long) => report.error(Code::E106, &path, at, "a line is longer than a leaf may be"),
            Some(End::Open) => report.error(Code::E201, &path, at, "the last line does not end"),
            Some(End::File) | None => {}
        }
        self.check_counts(&before, report);
        Ok((lines.finish().map_err(fault)?, any))
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
    fn files(&self, members: &Members, session: &mut Session<'_>) {
        let report = &mut session.report;
        let mut required = vec![
            bundle::CHECKPOINT,
            bundle::FRONTIER,
            bundle::KEYS,
            bundle::MANIFEST,
            bundle::MANIFEST_DSSE,
            bundle::RECEIPTS,
        ];
        if self.manifest.as_ref().is_some_and(|manifest| manifest.from > 0) {
            required.extend([bundle::CHECKPOINT_PREV, bundle::CONSISTENCY]);
        }
        let listed = self.manifest.iter().flat_map(|manifest| &manifest.files);
        let mut missing: Vec<&str> = required;
        missing.extend(listed.map(|file| file.path.as_str()));
        missing.retain(|path| !members.has(path));
        missing.sort_unstable();
        missing.dedup();
        for path in missing {
            let taken = path.strip_prefix(bundle::ARTIFACTS).is_some_and(|digest| self.redacted.contains(digest));
            if taken {
                report.warning(Code::E804, &self.path(path), None, "taken out, as the custody log says");
            } else {
                report.error(Code::E101, &self.path(path), None, "the member is missing");
            }
        }
        let Some(manifest) = &self.manifest else { return };
        for listed in &manifest.files {
            if members.file(&listed.path).is_some_and(|found| found != *listed) {
                report.error(Code::E103, &self.path(&listed.path), None, "not the file that the manifest lists");
            }
        }
        let unsealed = [bundle::MANIFEST, bundle::MANIFEST_DSSE, bundle::CUSTODY];
        let listed: std::collections::BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        for path in members.names().filter(|path| !unsealed.contains(&path.as_str()) && !listed.contains(path.as_str()))
        {
            report.error(Code::E102, &self.path(path), None, "the manifest does not list this member");
        }
    }

    /// After the last receipt: is it where the checkpoint says that the tree ends?
    fn close(&self, stream: Stream, read: bool, placed: bool, session: &mut Session<'_>) {
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
            && placed
            && manifest.chain != chain
        {
            let detail = "the manifest names another chain value than that of the last receipt";
            report.error(Code::E503, &format!("{}#/chain", self.path(bundle::MANIFEST)), None, detail);
        }
        session.leave(self.trust.as_ref(), &stream);
        session.last = Some((self.log(), stream));
    }
}
