//! The heart: what may leave, in either direction, and the types that prove it.
//!
//! Everything here is pure: bytes, documents and time in; releases and blocks out. Its promise is in one line: no byte is
//! released that the policy in force would have stopped, had it seen what Clyra had seen by then.

mod again;
mod calls;
mod channel;
mod choices;
mod count;
mod document;
mod form;
mod judge;
mod locked;
mod locks;
mod mended;
mod repairs;
mod said;
mod schema;
mod session;
mod shadow;
mod splice;
mod stream;
mod whole;
mod witness;

#[cfg(test)]
mod choice_tests;
#[cfg(test)]
mod lock_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod tests;

pub use again::{Invalid, as_stream};
pub use count::{NotAsked, ask_for_count, not_asked};
pub use form::{address, bodiless, form, handshake, kept};
pub use judge::{Block, Cause, Found, Gap, Judge, Report, Ruling, SchemaBreach, ToolCall};
pub use schema::{
    Binding, Contracted, HoldLimit, JsonContract, Repairs, Schema, SchemaReport, Scope, TableContract, Terms, TextLock,
    ToolSchemas,
};
pub use session::{Bond, Fate, Leaving, SessionGuard, Settled, cancel};
pub use stream::{HELD_BYTES_MAX, StreamEnd, StreamGuard};
pub use whole::{Answer, Shape, answer, bypass, comment, error, media, own, request, uninspected};
pub use witness::{Inspected, Released};
