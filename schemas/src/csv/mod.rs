//! CSV: a stream of records held to RFC 4180 and to typed columns, released record by record.
//!
//! A [`CsvContract`] names the dialect and the columns; a [`CsvLock`] takes text in fragments and gives back whole records that
//! keep it. **No byte of a record leaves before the record has ended and every field of it is right**, and nothing leaves
//! after the first violation. Text that a spreadsheet would read as a formula is defused or refused (CWE-1236).
//!
//! Syntax is judged by a strict machine of our own: the `csv` crate forgives what RFC 4180 does not. It reads the fields of
//! records that were accepted. Values are judged by the same authority as JSON documents: a column is a JSON Schema.
//!
//! ```
//! use clyra_schemas::{CsvContract, CsvLock, End, Outcome, Released};
//!
//! let contract = CsvContract::compile(&serde_json::json!({
//!     "columns": [
//!         { "name": "id", "schema": { "type": "integer", "minimum": 1 }, "unique": true },
//!         { "name": "note", "schema": { "type": "string", "maxLength": 80 } }
//!     ]
//! }))?;
//! let mut lock = CsvLock::new(contract);
//! let mut released = Released::default();
//! lock.feed("id,note\r\n1,fi", &mut released);
//! assert_eq!(released.text, "id,note\r\n");
//! lock.feed("rst\r\n2,=cmd()\r\n", &mut released);
//! assert_eq!(lock.finish(End::Stop, &mut released), Outcome::Pass);
//! assert_eq!(released.text, "id,note\r\n1,first\r\n2,\"'=cmd()\"\r\n");
//! # Ok::<(), clyra_schemas::CsvContractError>(())
//! ```

mod contract;
mod formula;
mod lock;
mod machine;

pub use contract::{CsvContract, CsvContractError, Formulas, LineEnding};
pub use lock::{CsvLock, Released};
