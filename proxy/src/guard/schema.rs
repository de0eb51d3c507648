//! What holds an answer to its schemas: the schemas that bind it, the terms on which they do, and what came of it.
//!
//! The guard knows locks only by what they say of a text ([`TextLock`]): what may leave, what is to be changed on the way,
//! and the verdict. Which language a schema is written in is the contract's business.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use clyra_schemas::{Contract, CsvContract, CsvLock, Edit, End, Lock, Mode, Outcome, RepairPolicy, Step};

use super::again::Invalid;
use super::judge::SchemaBreach;

/// Holds one text to a contract.
pub trait TextLock: Debug + Send {
    /// Takes the next fragment.
    fn feed(&mut self, text: &str) -> Step;
    /// Bytes of the text as it came that may leave now.
    fn settled(&self) -> u64;
    /// The edits that were decided since the last call, in the order of the text.
    fn take_edits(&mut self) -> Vec<Edit>;
    /// Ends the text and judges it.
    fn finish(&mut self, end: End) -> Outcome;
}

impl TextLock for Lock {
    fn feed(&mut self, text: &str) -> Step {
        Lock::feed(self, text)
    }

    fn settled(&self) -> u64 {
        Lock::settled(self)
    }

    fn take_edits(&mut self) -> Vec<Edit> {
        Lock::take_edits(self)
    }

    fn finish(&mut self, end: End) -> Outcome {
        Lock::finish(self, end)
    }
}

impl TextLock for CsvLock {
    fn feed(&mut self, text: &str) -> Step {
        CsvLock::feed(self, text)
    }

    fn settled(&self) -> u64 {
        CsvLock::settled(self)
    }

    fn take_edits(&mut self) -> Vec<Edit> {
        CsvLock::take_edits(self)
    }

    fn finish(&mut self, end: End) -> Outcome {
        CsvLock::finish(self, end)
    }
}

/// Makes locks.
pub trait Contracted: Debug + Send + Sync {
    /// A lock for one text.
    fn lock(&self, mode: Mode, repair: RepairPolicy) -> Box<dyn TextLock>;
    /// The text is JSON to whoever reads it, so that an escape sequence in it is a character.
    fn is_json(&self) -> bool;
}

/// A contract for JSON texts.
#[derive(Debug, Clone)]
pub struct JsonContract(pub Arc<Contract>);

impl Contracted for JsonContract {
    fn lock(&self, mode: Mode, repair: RepairPolicy) -> Box<dyn TextLock> {
        Box::new(Lock::new(Arc::clone(&self.0), mode, repair))
    }

    fn is_json(&self) -> bool {
        true
    }
}

/// A contract for CSV texts.
#[derive(Debug, Clone)]
pub struct TableContract(pub Arc<CsvContract>);

impl Contracted for TableContract {
    fn lock(&self, mode: Mode, repair: RepairPolicy) -> Box<dyn TextLock> {
        Box::new(CsvLock::new(Arc::clone(&self.0), mode, repair))
    }

    fn is_json(&self) -> bool {
        false
    }
}

/// A compiled schema and its digest, 64 hex digits.
#[derive(Debug, Clone)]
pub struct Schema {
    pub digest: String,
    pub contract: Arc<dyn Contracted>,
}

/// What a schema binds.
#[derive(Debug, Clone)]
pub enum Scope {
    /// The text of every choice and of every content block.
    Content(Schema),
    /// The arguments of every tool call, each to the schema of its tool.
    Tools(Arc<ToolSchemas>),
}

/// The tools that the model was offered.
#[derive(Debug)]
pub struct ToolSchemas {
    /// Digest over all of them, for a call of a tool that is none of them.
    pub digest: String,
    /// By name. A tool without schemas (a provider's own, or one that takes free text) may be called with anything; one that
    /// was offered twice binds to both.
    pub by_name: BTreeMap<String, Vec<Schema>>,
}

/// How much of a text may be held back, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimit {
    pub bytes: u64,
    /// Of each byte.
    pub time: Duration,
}

/// On which terms a schema binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub mode: Mode,
    pub repair: RepairPolicy,
    pub hold: HoldLimit,
    /// False where a violation is recorded and nothing else.
    pub blocks: bool,
    /// The model may be asked once more, and how long that may take.
    pub ask_again: Option<Duration>,
    /// Choices that were asked for, where one that breaks the schema ends alone; else 1.
    pub choices: u32,
}

/// A compiled schema that binds this exchange, under the id of the policy's entry.
#[derive(Debug, Clone)]
pub struct Binding {
    pub id: String,
    pub scope: Scope,
    pub terms: Terms,
}

/// What the locks of an answer did, for receipts, events and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaReport {
    /// Every lock has given its verdict.
    pub finished: bool,
    /// Schemas that texts were held to: id of the policy's entry and digest.
    pub checked: BTreeSet<(String, String)>,
    /// What was mended, where something was.
    pub repairs: Repairs,
    /// Where nothing is touched: the edits by kind of damage with which a refused answer would have passed.
    pub would_repair: BTreeMap<&'static str, u64>,
    /// Numbers of the choices that were ended alone.
    pub ended: BTreeSet<u64>,
    /// Most bytes of one text that were held at one time.
    pub held_bytes_max: u64,
    /// Longest time that a byte was held.
    pub held_max: Duration,
    /// Time spent in locks.
    pub enforce_us: u64,
    /// The answer broke a schema whose entry lets the model be asked once more, and was nothing but this text; and how long
    /// that may take.
    pub invalid: Option<(Invalid, Duration)>,
}

/// The edits of an answer: kinds, number, and a digest that commits to each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Number of edits by kind of damage.
    pub by_class: BTreeMap<&'static str, u64>,
    /// The entry of the policy whose lock mended, and the digest of its schema.
    pub by: Option<(String, String)>,
    /// BLAKE3 (64 hex digits) over the list of edits, see `receipts/SPEC.md`.
    pub digest: Option<String>,
}

impl Repairs {
    /// The answer was asked for once more, because it broke this schema.
    pub fn asked_again(by: (String, String)) -> Repairs {
        Repairs { by_class: [("ask_again", 1)].into(), by: Some(by), digest: Some(super::repairs::digest_of(&[])) }
    }

    pub fn any(&self) -> bool {
        !self.by_class.is_empty()
    }

    /// The kinds of damage that were mended, in the order of their names, for the receipt.
    pub fn kinds(&self) -> String {
        self.by_class.keys().copied().collect::<Vec<_>>().join(",")
    }
}

/// A breach of what a lock says of its text.
pub(super) fn breach(id: &str, digest: &str, violation: &clyra_schemas::Violation) -> SchemaBreach {
    SchemaBreach {
        id: id.to_owned(),
        digest: digest.to_owned(),
        pointer: violation.instance_path.clone(),
        keyword: violation.keyword.unwrap_or_default().to_owned(),
        at: violation.at,
        kind: violation.kind.code().to_owned(),
    }
}

/// A breach that is not a lock's to see.
pub(super) fn breach_of(id: &str, digest: &str, kind: &str, keyword: &str, at: u64) -> SchemaBreach {
    SchemaBreach {
        id: id.to_owned(),
        digest: digest.to_owned(),
        pointer: String::new(),
        keyword: keyword.to_owned(),
        at,
        kind: kind.to_owned(),
    }
}
