//! The verdict on one document in the words of the command line: `pass`, `violation` or `unreadable schema`.

use std::sync::Arc;

use serde::Serialize;

use crate::contract::{Contract, ContractError};
use crate::lock::{End, Lock, Mode, Outcome, Step};
use crate::repair::RepairPolicy;
use crate::violation::Violation;

/// What came of one document and one schema. Serialised, it is the part of an output line of `clyra validate` that is about the
/// document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The verdict in one word, or two.
    pub verdict: Judgement,
    /// Byte offset of the first violation.
    pub offset: Option<u64>,
    /// JSON Pointer to the refused value, with member names that the schema does not mention as `*`.
    pub pointer: Option<String>,
    /// The schema's keyword that refused it; for anything else, the code of the [`ViolationKind`](crate::ViolationKind) or
    /// [`ContractError`].
    pub keyword: Option<&'static str>,
    /// Whether the violation was found while the document came, rather than by judging the whole.
    pub early: bool,
}

/// See [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Judgement {
    /// The document keeps the schema.
    #[serde(rename = "pass")]
    Pass,
    /// It does not.
    #[serde(rename = "violation")]
    Violation,
    /// The schema cannot be used, so the document was not looked at.
    #[serde(rename = "unreadable schema")]
    UnreadableSchema,
}

impl Verdict {
    /// Judges the document that `pieces` make up, fed one after the other as a stream would.
    pub fn of<'a>(contract: Result<Arc<Contract>, ContractError>, pieces: impl IntoIterator<Item = &'a str>) -> Self {
        let mut lock = match contract {
            Ok(contract) => Lock::new(contract, Mode::Buffer, RepairPolicy::NONE),
            Err(error) => {
                let verdict = Judgement::UnreadableSchema;
                return Self { verdict, offset: None, pointer: None, keyword: Some(error.code()), early: false };
            }
        };
        for piece in pieces {
            if let Step::Violation(violation) = lock.feed(piece) {
                return violation.into();
            }
        }
        lock.finish(End::Stop).into()
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => {
                Self { verdict: Judgement::Pass, offset: None, pointer: None, keyword: None, early: false }
            }
            Outcome::Block(violation) => violation.into(),
        }
    }
}

impl From<Violation> for Verdict {
    fn from(violation: Violation) -> Self {
        Self {
            verdict: Judgement::Violation,
            offset: Some(violation.at),
            keyword: Some(violation.keyword.unwrap_or(violation.kind.code())),
            pointer: Some(violation.instance_path),
            early: violation.early,
        }
    }
}
