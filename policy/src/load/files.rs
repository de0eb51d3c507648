//! Reading the policy and the files beside it: regular files only, bounded, never outside the policy's directory.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::diagnostic::Code;

/// Bytes of one schema file.
pub(super) const SCHEMA_BYTES_MAX: usize = 1024 * 1024;

/// The directory that the policy's relative paths start from.
pub(super) fn directory_of(policy: &Path) -> &Path {
    match policy.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The text of a file, or why there is none.
pub(super) fn read_text(path: &Path, bytes_max: usize) -> Result<String, (Code, String)> {
    let unreadable = |error: std::io::Error| (Code::Unreadable, format!("the file cannot be read: {error}"));
    // Asked before opening: opening a pipe would wait for a writer.
    let is_file = fs::metadata(path).map_err(unreadable)?.is_file();
    if !is_file {
        return Err((Code::Unreadable, "this is not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > bytes_max {
        return Err((Code::TooLarge, format!("the file is over {bytes_max} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        (Code::Unreadable, format!("the file is not UTF-8: byte {offset} is not part of a character"))
    })
}

/// A file below the policy's directory. `relative` has been checked to have no `..`; symbolic links are followed only to
/// where they stay inside, which is how Kubernetes mounts a ConfigMap.
pub(super) fn read_below(directory: &Path, relative: &str) -> Result<String, String> {
    let root =
        fs::canonicalize(directory).map_err(|error| format!("the policy's directory cannot be read: {error}"))?;
    let path = fs::canonicalize(root.join(relative)).map_err(|error| format!("the file cannot be read: {error}"))?;
    if !path.starts_with(&root) {
        return Err("the file is outside the policy's directory".to_owned());
    }
    read_text(&path, SCHEMA_BYTES_MAX).map_err(|(_, message)| message)
}
