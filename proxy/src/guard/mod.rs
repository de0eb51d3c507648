//! The heart: what may leave, in either direction, and the types that prove it.

mod witness;

pub use witness::{Inspected, Released};
