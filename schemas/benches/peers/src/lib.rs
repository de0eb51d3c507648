//! The documents of `schemas/benches/lock.rs`.

include!("../../documents.rs");
