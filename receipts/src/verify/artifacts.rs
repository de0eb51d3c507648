//! The check of attached files: those in the bundle by their names, those beside it by what the bundle says of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use super::Code;
use super::head::{document, shape_is_good};
use super::members::{Digests, Members};
use super::report::Report;
use crate::bundle::{self, ARTIFACT_MAX_BYTES, Attached, externals_directory, read_externals};
use crate::canonical::Limits;
use crate::hex;
use crate::receipt::shape;

/// Holds each artifact against its name and the largest size.
pub(super) fn check_names(label: &str, members: &Members, report: &mut Report) {
    for file in members.passed.values() {
        let Some(name) = file.path.strip_prefix(bundle::ARTIFACTS) else { continue };
        let path = format!("{label}/{}", file.path);
        if hex::encode(&file.sha256) != name {
            report.error(Code::E802, &path, None, "not the file that its digest names");
        }
        if file.size > ARTIFACT_MAX_BYTES {
            report.error(Code::E803, &path, None, "larger than an artifact in a bundle may be");
        }
    }
}

/// Holds the files beside the bundle against `externals.json`.
pub(super) fn check_externals(
    bundle: &Path,
    label: &str,
    members: &Members,
    redacted: &BTreeSet<String>,
    report: &mut Report,
) {
    let Some(bytes) = members.get(bundle::EXTERNALS) else { return };
    let path = format!("{label}/{}", bundle::EXTERNALS);
    let Some(value) = document(bytes, Limits::MANIFEST, Code::E203, &path, report) else { return };
    if !shape_is_good(&value, &shape::EXTERNALS, &path, report) {
        return;
    }
    let externals = read_externals(&value).unwrap_or_default();
    if !externals.windows(2).all(|pair| matches!(pair, [a, b] if a.sha256 < b.sha256)) {
        report.error(Code::E206, &path, None, "not in ascending order of their digests");
    }
    let directory = externals_directory(bundle);
    let looked_for = directory.is_dir();
    for (index, external) in externals.iter().enumerate() {
        let path = format!("{path}#/{index}");
        let digest = hex::encode(&external.sha256);
        let found = open_plain(&directory.join(&digest)).filter(|_| looked_for);
        match found {
            Some((file, size)) => check_content(file, size, external, &path, report),
            None if redacted.contains(&digest) => {
                report.warning(Code::E804, &path, None, "taken out, as the custody log says");
            }
            None if looked_for => report.error(Code::E801, &path, None, "the external file is missing"),
            None => {
                let detail = format!("not looked for: there is no {}", directory.display());
                report.warning(Code::E801, &path, None, detail);
            }
        }
    }
}

/// A plain file and its size.
fn open_plain(path: &Path) -> Option<(File, u64)> {
    let metadata = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((File::open(path).ok()?, metadata.len()))
}

fn check_content(mut file: File, size: u64, external: &Attached, path: &str, report: &mut Report) {
    if size != external.size {
        report.error(Code::E803, path, None, "the external file is of another size");
        return;
    }
    let good = Digests::of(path, &mut file)
        .is_ok_and(|found| found.sha256 == external.sha256 && found.blake3 == external.blake3);
    if !good {
        report.error(Code::E802, path, None, "the external file is another one");
    }
}
