//! The check of a custody log: who had the bundle, in an order that cannot be changed afterwards.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::Code;
use super::report::Report;
use crate::bundle::{CustodyEntry, custody};

/// Checks each entry up to the first that is not good. Gives the digests of what was taken out, as an unbroken log says.
pub(super) fn check(bytes: &[u8], manifest: &[u8], log: &str, path: &str, report: &mut Report) -> BTreeSet<String> {
    match custody::read(bytes, &Sha256::digest(manifest).into(), log) {
        Ok(entries) => entries.iter().filter_map(CustodyEntry::digest).collect(),
        Err(broken) => {
            report.error(Code::E951, &format!("{path}#{}", broken.entry), None, broken.what);
            BTreeSet::new()
        }
    }
}
