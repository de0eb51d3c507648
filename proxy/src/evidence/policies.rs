//! Policies that were in force, by hash, in their canonical form: `policies/<hash>.json` in the data directory.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clyra_policy::Policy;
use clyra_receipts::bundle::PolicyDocument;

const DIRECTORY: &str = "policies";

/// Policies that one bundle may carry. A log with more was reconfigured every few minutes for months; the newest win.
const POLICIES_MAX: usize = 512;

/// Largest canonical policy that is read back.
const POLICY_BYTES_MAX: u64 = 8 << 20;

/// Writes the policy's canonical form, durably, before the first receipt names its hash.
pub fn remember_policy(data_dir: &Path, policy: &Policy) -> io::Result<()> {
    let dir = data_dir.join(DIRECTORY);
    fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{}.json", policy.hash()));
    if path.exists() {
        return Ok(());
    }
    let part = dir.join(format!("{}.part", policy.hash()));
    let mut file = fs::File::create(&part)?;
    file.write_all(policy.canonical().as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, &path)?;
    fs::File::open(&dir)?.sync_all()
}

/// The policies kept so far, oldest first.
pub fn remembered_policies(data_dir: &Path) -> io::Result<Vec<PolicyDocument>> {
    let dir = data_dir.join(DIRECTORY);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(hash) = name.to_str().and_then(|n| n.strip_suffix(".json")) {
            let data = entry.metadata()?;
            if data.len() <= POLICY_BYTES_MAX {
                files.push((data.modified()?, hash.to_owned(), entry.path()));
            }
        }
    }
    files.sort();
    let surplus = files.len().saturating_sub(POLICIES_MAX);
    let kept = files.into_iter().skip(surplus);
    kept.map(|(_, hash, path)| Ok(PolicyDocument { hash, canonical: fs::read(path)? })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_kept_once_and_comes_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        assert!(remembered_policies(dir.path()).unwrap().is_empty());
        let policy = Policy::observe();
        remember_policy(dir.path(), &policy).unwrap();
        remember_policy(dir.path(), &policy).unwrap();
        let kept = remembered_policies(dir.path()).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].hash, policy.hash());
        assert_eq!(kept[0].canonical, policy.canonical().as_bytes());
    }
}
