//! Cosignatures of witnesses: good where they are of a known witness, and enough where the reader asks for them.

use super::{Code, Session};
use crate::checkpoint::SignedNote;

impl Session<'_> {
    /// Holds a note against the reader's witness policy. A note out of form was reported as that.
    pub(super) fn check_quorum(&mut self, note: &[u8], path: &str) {
        let Some(policy) = &self.options.witness_policy else { return };
        let Ok(note) = SignedNote::parse(note) else { return };
        // One that is wrong counts for nothing; whether the others are enough is a question of its own.
        for witness in policy.witnesses() {
            if witness.verify(&note).is_err() {
                let detail = format!("a cosignature in the name of {} is wrong", witness.name());
                self.report.error(Code::E402, path, None, detail);
            }
        }
        if !policy.is_met(&note) {
            self.report.error(Code::E404, path, None, "its cosignatures do not satisfy the witness policy");
        }
    }
}
