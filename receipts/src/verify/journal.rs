//! The check of a journal directory, as a running or stopped log leaves it.

use std::fs::File;
use std::io;
use std::path::Path;

use super::anchor::Anchors;
use super::head::read_checkpoint;
use super::stream::{Item, RootClaim, Stream};
use super::{Code, Session};
use crate::bundle::checkpoint_sizes;
use crate::checkpoint::NOTE_MAX_BYTES;
use crate::durable;
use crate::journal::{FrameType, Next, SegmentReader, origin_digest, segment_name, segments};
use crate::keys::{KeyError, TrustFault, TrustFile, read_trust};
use crate::tree::Frontier;

/// Where the parts of a log lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct JournalPaths<'a> {
    pub(super) journal: &'a Path,
    pub(super) keys: &'a Path,
    pub(super) checkpoints: Option<&'a Path>,
    pub(super) anchors: Option<&'a Path>,
}

/// Checks a journal from its first segment on. `label` names it in findings.
pub(super) fn verify_journal(paths: JournalPaths<'_>, label: &str, session: &mut Session<'_>) -> io::Result<()> {
    let trust = trust_of(paths.keys, session);
    let mut stream = Stream::new(0, None, Some(Frontier::default()));
    let log = trust.as_ref().map(|trust| trust.log.clone()).unwrap_or_default();
    if let Some(directory) = paths.checkpoints {
        checkpoints(directory, trust.as_ref(), &mut stream, session)?;
    }
    let anchors = paths.anchors.map_or(Anchors::Elsewhere, Anchors::Directory);
    anchors.notes(trust.as_ref(), &mut stream, session)?;
    session.claims_on(&log, &mut stream);
    // After the checkpoints, because a running log may go on between: what a checkpoint covers is then in a segment listed.
    let first_seqs = segments(paths.journal)?;
    let count = first_seqs.len();
    for (index, first_seq) in first_seqs.into_iter().enumerate() {
        let name = segment_name(first_seq);
        let walk = Walk {
            path: format!("{label}/{name}"),
            is_last: index + 1 == count,
            first_seq,
            number: index as u64,
            anchors,
        };
        walk.segment(File::open(paths.journal.join(&name))?, trust.as_ref(), &mut stream, session)?;
    }
    let report = &mut session.report;
    let found = stream.expected();
    for (size, claims) in stream.unreached() {
        for claim in claims.into_iter().filter(|claim| claim.code == Code::E601 && size > found) {
            let detail = format!("the checkpoint is over {size} receipts, the journal ends at {found}");
            report.error(Code::E506, &claim.path, Some(found), detail);
        }
    }
    let certified = trust.iter().flat_map(TrustFile::certificates).map(|certificate| certificate.valid_from_seq).max();
    if certified.is_some_and(|certified| certified > found) {
        let detail = "a receipt key was certified for later receipts than the journal has";
        report.error(Code::W003, label, Some(found), detail);
    }
    session.leave(&log, &stream);
    stream.finish(&mut session.report);
    Ok(())
}

fn trust_of(keys: &Path, session: &mut Session<'_>) -> Option<TrustFile> {
    match read_trust(keys) {
        Ok(trust) => {
            if !trust.is_authorised() {
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
    path: String,
    is_last: bool,
    first_seq: u64,
    number: u64,
    anchors: Anchors<'a>,
}

impl Walk<'_> {
    fn segment(
        &self,
        file: File,
        trust: Option<&TrustFile>,
        stream: &mut Stream,
        session: &mut Session<'_>,
    ) -> io::Result<()> {
        let report = &mut session.report;
        report.stats.segments += 1;
        let path = &self.path;
        let (mut reader, header) = SegmentReader::open(Box::new(file))?;
        let Some(header) = header else {
            report.error(Code::W002, path, None, "its header is damaged");
            return Ok(());
        };
        if trust.is_some_and(|trust| header.origin_sha256 != origin_digest(&trust.log)) {
            report.error(Code::E604, path, None, "it is of another log than the trust file");
        }
        let chained =
            stream.chain().is_none_or(|chain| stream.expected() != self.first_seq || chain == header.prev_chain);
        if header.first_seq != self.first_seq || header.number != self.number || !chained {
            report.error(Code::W002, path, Some(self.first_seq), "it does not continue the segment before it");
        }
        let mut sealed = false;
        loop {
            let offset = reader.offset();
            let next = reader.next()?;
            let at = Some(stream.expected());
            let frame = match next {
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
                Next::Frame(frame) => frame,
            };
            if sealed {
                report.error(Code::W002, path, at, format!("a frame follows the seal at byte {offset}"));
                return Ok(());
            }
            if frame.header.kind == FrameType::Seal {
                sealed = true;
                let whole = frame.header.seq == stream.expected()
                    && stream.chain().is_none_or(|chain| chain == frame.header.chain);
                if !whole {
                    report.error(Code::W002, path, at, "its seal is not over the receipts before it");
                }
                continue;
            }
            let before = stream.expected();
            let item = Item {
                body: &frame.body,
                key_id: None,
                signature: &frame.signature,
                anchors: self.anchors,
                leaf: None,
            };
            stream.receipt(&item, path, trust, report);
            // A receipt that stands twice or late moves nothing on, and was reported as that.
            let moved = stream.expected() != before;
            let agrees = stream.chain().is_none_or(|chain| chain == frame.header.chain)
                && stream.expected() == frame.header.seq.saturating_add(1);
            if moved && !agrees {
                report.error(
                    Code::W002,
                    path,
                    Some(frame.header.seq),
                    "the frame names another number or chain value than its receipt has",
                );
            }
        }
    }
}
