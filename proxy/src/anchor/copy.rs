//! What copies in directories and object stores have in common: their names.

/// Where the note of a checkpoint goes below the place of the settings. The name is the size, so that a log that was set
/// back and grew differently meets its own past there.
pub(super) fn note_name(size: u64) -> String {
    format!("checkpoints/{size}")
}

/// Where a bundle goes.
pub(super) fn bundle_name(name: &str) -> String {
    format!("bundles/{name}")
}
