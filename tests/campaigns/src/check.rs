//! What must hold of a data directory whatever happened to it: everything that was acknowledged is there, before and after
//! the log is taken up again; the log can be taken up; it verifies.

use std::collections::BTreeMap;
use std::path::Path;

use clyra_receipts::verify::{Severity, VerifyOptions};
use clyra_receipts::{Log, PublicKey, Sealer, verify};

use crate::journal;
use crate::told::Told;
use crate::writer;

/// What is there.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Receipts, those of the check included.
    pub receipts: u64,
    /// A torn end was set aside.
    pub torn: bool,
}

/// Segments of the process that checks: large, for it rotates nothing that matters.
const SEGMENT_BYTES: u64 = 1024 * 1024;

/// Holds the directory against what was told, takes the log up, lets it go on, and verifies all of it. The error says what
/// is wrong.
pub fn check(data_dir: &Path, told: &Told) -> Result<Found, String> {
    if let Some(violation) = told.violations.first() {
        return Err(violation.clone());
    }
    // Before anybody has repaired anything.
    acknowledged_is_there(data_dir, told).map_err(|what| format!("as it was left: {what}"))?;
    let (log, report) = Log::open(writer::options(data_dir, SEGMENT_BYTES))
        .map_err(|error| format!("the log is not taken up again: {error}"))?;
    if told.root.as_ref().is_some_and(|root| *root != report.root_vkey) {
        return Err("the log was taken up with another root key".to_owned());
    }
    writer::one_more(&log).map_err(|error| format!("the log does not go on: {error}"))?;
    let count = log.status().durable_count;
    log.shutdown().map_err(|error| format!("the log does not end in good order: {error}"))?;
    let (mut sealer, total) =
        Sealer::open_offline(data_dir).map_err(|error| format!("nothing can be sealed: {error}"))?;
    while sealer.seal(total, &[]).map_err(|error| format!("nothing can be sealed: {error}"))?.is_some() {}
    drop(sealer);
    acknowledged_is_there(data_dir, told).map_err(|what| format!("after recovery: {what}"))?;
    let frames = journal::frames(data_dir).map_err(|error| error.to_string())?;
    if !frames.iter().map(|frame| frame.seq).eq(0..=count) {
        return Err(format!("the numbers are not those from 0 to {count}"));
    }
    sealed_is_there(data_dir, told)?;
    verifies(data_dir, &report.root_vkey)?;
    Ok(Found { receipts: total, torn: report.torn.is_some() })
}

/// Every acknowledged receipt is in the journal, with its chain value.
pub fn acknowledged_is_there(data_dir: &Path, told: &Told) -> Result<(), String> {
    if told.acknowledged.is_empty() {
        return Ok(());
    }
    let frames = journal::frames(data_dir).map_err(|error| error.to_string())?;
    let found: BTreeMap<u64, String> = frames.into_iter().map(|frame| (frame.seq, frame.chain)).collect();
    for (seq, chain) in &told.acknowledged {
        if found.get(seq) != Some(chain) {
            let instead = if found.contains_key(seq) { "another one stands in its place" } else { "it is not there" };
            return Err(format!("acknowledged receipt {seq} is lost: {instead}, {} are there", found.len()));
        }
    }
    Ok(())
}

/// Every checkpoint that was published is there, with its bundle and the same root.
fn sealed_is_there(data_dir: &Path, told: &Told) -> Result<(), String> {
    let bundles = clyra_receipts::bundle::list(data_dir).map_err(|error| error.to_string())?;
    for (size, root) in &told.sealed {
        if !data_dir.join("checkpoints").join(size.to_string()).is_file() {
            return Err(format!("published checkpoint {size} is lost"));
        }
        if !bundles.iter().any(|bundle| bundle.to == *size && bundle.root == *root) {
            return Err(format!("there is no bundle with the root of published checkpoint {size}"));
        }
    }
    Ok(())
}

/// The whole directory verifies, down to the root key that the writer named.
pub fn verifies(data_dir: &Path, root: &str) -> Result<(), String> {
    let trusted_root = Some(PublicKey::from_vkey(root).map_err(|error| error.to_string())?);
    let options = VerifyOptions { trusted_root, ..VerifyOptions::default() };
    let verdict = verify(&[data_dir], &options).map_err(|error| error.to_string())?;
    let errors: Vec<_> = verdict.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    if verdict.ok && errors.is_empty() { Ok(()) } else { Err(format!("it does not verify: {errors:?}")) }
}
