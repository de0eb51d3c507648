//! SchemaLock: holds a streamed answer to a schema. Nothing here knows a provider, a socket or a clock.
//!
//! A [`Contract`] is a compiled JSON Schema; a [`Lock`] is fed one text in fragments and releases it only when the
//! contract is kept. The promise of [`Mode::Buffer`], the mode there is: **no byte leaves before the whole document
//! is one strict JSON text (RFC 8259) that the schema accepts.**
//!
//! Schemas and documents are both untrusted. Everything that either can make large, deep or slow has a limit, and a
//! limit that is reached is a refusal, never a pass.
//!
//! ```
//! use clyra_schemas::{Contract, ContractSource, End, Limits, Lock, Mode, Outcome, Released};
//!
//! let schema = serde_json::json!({ "type": "object", "required": ["total"] });
//! let contract = Contract::compile(&schema, None, ContractSource::Policy, &Limits::default())?;
//!
//! let mut lock = Lock::new(contract, Mode::Buffer);
//! let mut released = Released::default();
//! lock.feed(r#"{"tot"#, &mut released);
//! lock.feed(r#"al": 3}"#, &mut released);
//! assert!(released.text.is_empty());
//! assert_eq!(lock.finish(End::Stop, &mut released), Outcome::Pass);
//! assert_eq!(released.text, r#"{"total": 3}"#);
//! # Ok::<(), clyra_schemas::ContractError>(())
//! ```

mod analysis;
mod contract;
mod csv;
mod limits;
mod locate;
mod lock;
mod number;
mod syntax;
mod verdict;
mod violation;

pub use contract::{Contract, ContractError, ContractSource, Draft};
pub use csv::{CsvContract, CsvContractError, CsvLock, Formulas, LineEnding};
pub use limits::{Limits, SCHEMA_DEPTH_MAX, SCHEMA_EXPANSION_MAX, SCHEMA_NESTING_MAX};
pub use lock::{End, Lock, Mode, Outcome, Released, Step};
pub use verdict::{Judgement, Verdict};
pub use violation::{Violation, ViolationKind};
