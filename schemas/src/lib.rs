//! SchemaLock: holds a streamed answer to a schema. Nothing here knows a provider, a socket or a clock.
//!
//! A [`Contract`] is a compiled JSON Schema; a [`Lock`] is fed one text in fragments and says how much of it may leave.
//! Its [`Mode`] says what that depends on. In each mode but [`Mode::Observe`], **a document is never complete at the client
//! unless it is one strict JSON text (RFC 8259) that the schema accepts.**
//!
//! Schemas and documents are both untrusted. Everything that either can make large, deep or slow has a limit, and a
//! limit that is reached is a refusal, never a pass.
//!
//! ```
//! use clyra_schemas::{Contract, ContractSource, End, Limits, Lock, Mode, Outcome, RepairPolicy};
//!
//! let schema = serde_json::json!({ "type": "object", "required": ["total"] });
//! let contract = Contract::compile(&schema, None, ContractSource::Policy, &Limits::default())?;
//!
//! let mut lock = Lock::new(contract, Mode::Buffer, RepairPolicy::NONE);
//! lock.feed(r#"{"tot"#);
//! lock.feed(r#"al": 3}"#);
//! assert_eq!(lock.settled(), 0);
//! assert_eq!(lock.finish(End::Stop), Outcome::Pass);
//! assert_eq!(lock.settled(), u64::MAX);
//! # Ok::<(), clyra_schemas::ContractError>(())
//! ```

mod analysis;
mod coerce;
mod contract;
mod csv;
mod explain;
mod falsify;
mod limits;
mod locate;
mod lock;
mod names;
mod number;
mod observe;
mod release;
mod repair;
mod syntax;
mod verdict;
mod violation;

pub use coerce::Coercion;
pub use contract::{Contract, ContractError, ContractSource, Draft};
pub use csv::{CsvContract, CsvContractError, CsvLock, Formulas, LineEnding};
pub use limits::{Limits, SCHEMA_DEPTH_MAX, SCHEMA_EXPANSION_MAX, SCHEMA_NESTING_MAX};
pub use lock::{End, Lock, Mode, Outcome, Step};
pub use release::Release;
pub use repair::{Edit, RepairClass, RepairPolicy};
pub use verdict::{Judgement, Verdict};
pub use violation::{Violation, ViolationKind};
