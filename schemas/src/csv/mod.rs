//! CSV: a stream of records held to RFC 4180 and to typed columns.
//!
//! A [`CsvContract`] names the dialect and the columns; a [`CsvLock`] takes text in fragments and says how much of it may leave.
//! **No byte of a field leaves before it is known to be right, in mode `verified` none of a record**, and nothing leaves
//! after the first violation. Text that a spreadsheet would read as a formula is defused or refused (CWE-1236).
//!
//! Syntax is judged by a strict machine of our own: the `csv` crate forgives what RFC 4180 does not. What the fields say that the
//! machine accepts is that crate's word. Values are judged by the same authority as JSON documents: a column is a JSON Schema.
//!
//! ```
//! use clyra_schemas::{CsvContract, CsvLock, End, Mode, Outcome, Release, RepairPolicy};
//!
//! let contract = CsvContract::compile(&serde_json::json!({
//!     "columns": [
//!         { "name": "id", "schema": { "type": "integer", "minimum": 1 }, "unique": true },
//!         { "name": "note", "schema": { "type": "string", "maxLength": 80 } }
//!     ]
//! }))?;
//! let mut lock = CsvLock::new(contract, Mode::Verified, RepairPolicy::NONE);
//! let mut release = Release::default();
//! let mut next = |text: &str, lock: &mut CsvLock| {
//!     release.push(text);
//!     lock.feed(text);
//!     release.take(lock.take_edits(), lock.settled())
//! };
//! assert_eq!(next("id,note\r\n1,fi", &mut lock), "id,note\r\n");
//! assert_eq!(next("rst\r\n2,=cmd()\r\n", &mut lock), "1,first\r\n2,\"'=cmd()\"\r\n");
//! assert_eq!(lock.finish(End::Stop), Outcome::Pass);
//! # Ok::<(), clyra_schemas::CsvContractError>(())
//! ```

mod contract;
mod field;
mod formula;
mod lock;
mod machine;
mod opening;
mod reader;
mod wrapper;

pub use contract::{CsvContract, CsvContractError, Formulas, LineEnding};
pub use lock::CsvLock;
