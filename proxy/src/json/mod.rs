//! JSON read strictly and by position: every value knows the bytes it stands on, so that a redaction can rewrite exactly
//! those and leave the rest of the document as it came (RFC 8259; duplicate names refused as RFC 7493 §2.3 asks).

mod doc;
mod error;
mod text;

pub use doc::{Doc, Kind, Limits, Value};
pub use error::{JsonError, JsonErrorKind};
pub use text::{Edit, TextDecoder, escape_into, rewrite};
