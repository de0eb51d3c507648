//! The check of a journal directory, as a running or stopped log leaves it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::alone::{Alone, BATCH_BYTES, BATCH_RECEIPTS, Raw, look_at};
use super::anchor::Anchors;
use super::head::{document, read_checkpoint, shape_is_good};
use super::report::Report;
use super::stream::{RootClaim, Stream};
use super::{Code, Session};
use crate::bundle::{checkpoint_sizes, read_frontier};
use crate::canonical::{Limits, Value};
use crate::checkpoint::NOTE_MAX_BYTES;
use crate::journal::{ChainValue, FrameType, Next, SegmentReader, origin_digest, seal_body, segment_name, segments};
use crate::keys::{KeyError, Purpose, TrustFault, TrustFile, read_trust};
use crate::receipt::shape;
use crate::tree::Frontier;
use crate::{durable, hex};

/// Where the parts of a log lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct JournalPaths<'a> {
    pub(super) journal: &'a Path,
    pub(super) keys: &'a Path,
    pub(super) checkpoints: Option<&'a Path>,
    pub(super) anchors: Option<&'a Path>,
}

/// What is left of a journal begins here.
struct Pruned {
    chain: ChainValue,
    frontier: Frontier,
}

/// Where a journal says that segments were removed.
const PRUNED: &str = "pruned.json";

/// Checks a journal from its first segment on. `label` names it in findings.
pub(super) fn verify_journal(paths: JournalPaths<'_>, label: &str, session: &mut Session<'_>) -> io::Result<()> {
    let trust = trust_of(paths.keys, session);
    let pruned = read_pruned(paths.journal, label, &mut session.report)?;
    let is_pruned = pruned.is_some();
    let mut stream = match pruned {
        Some(pruned) => Stream::new(pruned.frontier.size(), Some(pruned.chain), Some(pruned.frontier)),
        None => Stream::new(0, None, Some(Frontier::default())),
    };
    if let Some(directory) = paths.checkpoints {
        checkpoints(directory, trust.as_ref(), &mut stream, session)?;
    }
    let anchors = paths.anchors.map_or(Anchors::Elsewhere, Anchors::Directory);
    anchors.notes(trust.as_ref(), &mut stream, session)?;
    session.claims_on(trust.as_ref(), &mut stream);
    // After the checkpoints, because a running log may go on between: what a checkpoint covers is then in a segment listed.
    let first_seqs = segments(paths.journal)?;
    let passed_over = first_seqs.partition_point(|first| *first <= stream.start()).saturating_sub(1);
    let kept = first_seqs.get(if is_pruned { passed_over } else { 0 }..).unwrap_or_default();
    let mut number = Some(0).filter(|_| !is_pruned);
    for (index, first_seq) in kept.iter().enumerate() {
        let name = segment_name(*first_seq);
        let walk = Walk {
            path: format!("{label}/{name}").into(),
            is_last: index + 1 == kept.len(),
            first_seq: *first_seq,
            number,
            anchors,
        };
        let file = File::open(paths.journal.join(&name))?;
        let found = walk.segment(file, trust.as_ref(), &mut stream, session)?;
        number = found.map(|number| number.saturating_add(1));
    }
    let report = &mut session.report;
    let found = stream.expected();
    for (size, path) in stream.unreached() {
        let detail = format!("the checkpoint is over {size} receipts, the journal ends at {found}");
        report.error(Code::E506, path, Some(found), detail);
    }
    let receipt_keys = trust.iter().flat_map(TrustFile::certificates);
    let receipt_keys = receipt_keys.filter(|certificate| certificate.purpose == Purpose::Receipt);
    if receipt_keys.map(|certificate| certificate.valid_from_seq).max().is_some_and(|certified| certified > found) {
        let detail = "a receipt key was certified for later receipts than the journal has";
        report.error(Code::W003, label, Some(found), detail);
    }
    if is_pruned && !stream.is_pruned() {
        let detail = "no receipt tells that what is not here was removed in good order";
        report.error(Code::E501, &format!("{label}/{PRUNED}"), Some(0), detail);
    }
    session.leave(trust.as_ref(), &stream);
    stream.finish(&mut session.report);
    Ok(())
}

/// Reads `pruned.json`, where it is.
fn read_pruned(journal: &Path, label: &str, report: &mut Report) -> io::Result<Option<Pruned>> {
    let path = format!("{label}/{PRUNED}");
    let bytes = match durable::read_bounded(&journal.join(PRUNED), Limits::RECEIPT.bytes_max as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            report.error(Code::E106, &path, None, error.to_string());
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let Some(value) = document(&bytes, Limits::RECEIPT, Code::E203, &path, report) else { return Ok(None) };
    if !shape_is_good(&value, &shape::PRUNED, &path, report) {
        return Ok(None);
    }
    let chain = value.get("chain").and_then(Value::as_str).and_then(hex::decode_32);
    let frontier = value.get("frontier").and_then(read_frontier);
    let (Some(chain), Some(frontier)) = (chain, frontier) else {
        report.error(Code::E601, &path, None, "not a frontier of its size");
        return Ok(None);
    };
    Ok(Some(Pruned { chain, frontier }))
}

fn trust_of(keys: &Path, session: &mut Session<'_>) -> Option<TrustFile> {
    match read_trust(keys) {
        Ok(mut trust) => {
            trust.holds = trust.is_authorised();
            if !trust.holds {
                session.report.trust(TrustFault::Unauthorised, "keys");
            }
            session.check_root(&trust, "keys");
            Some(trust)
        }
        Err(KeyError::Malformed { what, .. }) => {
            session.report.error(Code::E206, "keys", None, what);
            None
        }
        Err(error) => {
            session.report.error(Code::E101, "keys", None, error.to_string());
            None
        }
    }
}

/// Every published checkpoint becomes a claim on the tree.
fn checkpoints(
    directory: &Path,
    trust: Option<&TrustFile>,
    stream: &mut Stream,
    session: &mut Session<'_>,
) -> io::Result<()> {
    for size in checkpoint_sizes(directory)? {
        let path = format!("checkpoints/{size}");
        let bytes = durable::read_bounded(&directory.join(size.to_string()), NOTE_MAX_BYTES as u64)?;
        if let Some(checkpoint) = read_checkpoint(&bytes, &path, trust, &mut session.report) {
            if checkpoint.size != size {
                session.report.error(Code::E601, &path, None, "its size is not that of its name");
            }
            session.meet(&checkpoint, &path);
            let claim = RootClaim { root: checkpoint.root, path, code: Code::E601 };
            stream.claim(checkpoint.size, claim, &mut session.report);
        }
    }
    Ok(())
}

struct Walk<'a> {
    path: Arc<str>,
    is_last: bool,
    first_seq: u64,
    /// The number that the segment must have, where that is known.
    number: Option<u64>,
    anchors: Anchors<'a>,
}

/// What stands in a segment instead of a receipt, and where.
struct Stop {
    offset: u64,
    next: Next,
}

impl Walk<'_> {
    /// Checks a segment and gives its number.
    fn segment(
        &self,
        file: File,
        trust: Option<&TrustFile>,
        stream: &mut Stream,
        session: &mut Session<'_>,
    ) -> io::Result<Option<u64>> {
        let report = &mut session.report;
        report.stats.segments += 1;
        let path = &self.path;
        let (mut reader, header) = SegmentReader::open(Box::new(file))?;
        let Some(header) = header else {
            report.error(Code::W002, path, None, "its header is damaged");
            return Ok(None);
        };
        if trust.is_some_and(|trust| header.origin_sha256 != origin_digest(&trust.log)) {
            report.error(Code::E604, path, None, "it is of another log than the trust file");
        }
        let chained =
            stream.chain().is_none_or(|chain| stream.expected() != self.first_seq || chain == header.prev_chain);
        let numbered = self.number.is_none_or(|number| number == header.number);
        if header.first_seq != self.first_seq || !numbered || !chained {
            report.error(Code::W002, path, Some(self.first_seq), "it does not continue the segment before it");
        }
        self.frames(&mut reader, trust, stream, report)?;
        Ok(Some(header.number))
    }

    fn frames(
        &self,
        reader: &mut SegmentReader,
        trust: Option<&TrustFile>,
        stream: &mut Stream,
        report: &mut Report,
    ) -> io::Result<()> {
        let path = &self.path;
        let (mut sealed, mut receipts) = (false, 0);
        loop {
            let stop = self.receipts(reader, sealed, &mut receipts, trust, stream, report)?;
            let Some(Stop { offset, next }) = stop else { continue };
            let at = Some(stream.expected());
            match next {
                Next::End => return Ok(()),
                Next::Bad => {
                    let torn = self.is_last && !sealed && !reader.has_later_frame(stream.expected())?;
                    let detail = format!("no whole frame at byte {offset}");
                    if torn {
                        report.warning(Code::W001, path, at, detail);
                    } else {
                        report.error(Code::W002, path, at, detail);
                    }
                    return Ok(());
                }
                Next::Frame(_) if sealed => {
                    report.error(Code::W002, path, at, format!("a frame follows the seal at byte {offset}"));
                    return Ok(());
                }
                Next::Frame(frame) => {
                    sealed = true;
                    let whole = frame.header.seq == stream.expected()
                        && stream.chain().is_none_or(|chain| chain == frame.header.chain);
                    if !whole || frame.body != seal_body(offset, &frame.header.chain, receipts) {
                        report.error(Code::W002, path, at, "its seal is not over the receipts before it");
                    }
                }
            }
        }
    }

    /// Checks a batch of receipts, up to what is none.
    fn receipts(
        &self,
        reader: &mut SegmentReader,
        sealed: bool,
        receipts: &mut u64,
        trust: Option<&TrustFile>,
        stream: &mut Stream,
        report: &mut Report,
    ) -> io::Result<Option<Stop>> {
        let (mut batch, mut headers, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut stop = None;
        while stop.is_none() && batch.len() < BATCH_RECEIPTS && bytes < BATCH_BYTES {
            let offset = reader.offset();
            match reader.next()? {
                Next::Frame(frame) if frame.header.kind == FrameType::Receipt && !sealed => {
                    bytes += frame.body.len();
                    headers.push((frame.header.seq, frame.header.chain));
                    batch.push(Raw::Frame { body: frame.body, signature: frame.signature });
                }
                next => stop = Some(Stop { offset, next }),
            }
        }
        *receipts += batch.len() as u64;
        let (looked_at, ()) = look_at(&batch, trust, || ());
        for (alone, header) in looked_at.into_iter().zip(headers) {
            self.receipt(alone, header, trust, stream, report);
        }
        Ok(stop)
    }

    fn receipt(
        &self,
        alone: Alone,
        (seq, chain): (u64, ChainValue),
        trust: Option<&TrustFile>,
        stream: &mut Stream,
        report: &mut Report,
    ) {
        let placed = stream.receipt(alone, &self.path, trust, report);
        // What cannot be read, stands twice or late was reported as that.
        let agrees = placed.as_ref().is_none_or(|placed| (placed.seq, placed.chain) == (seq, chain));
        self.anchors.look_for(placed, &self.path, report);
        if !agrees {
            let detail = "the frame names another number or chain value than its receipt has";
            report.error(Code::W002, &self.path, Some(seq), detail);
        }
    }
}
