//! Witness types: bytes that have passed the checks that were due on them.
//!
//! Only the guard can make them. The upstream client takes nothing but [`Inspected`], the downstream writer nothing but
//! [`Released`], so that a forgotten check does not compile.

use bytes::{Bytes, BytesMut};

/// A request body that the policy in force let through (as it came in, or with redactions).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected(Bytes);

impl Inspected {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    #[cfg(test)]
    pub(crate) fn for_test(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// Bytes that may be shown to the client: released by the guard, or written by Clyra itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released(Bytes);

impl Released {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    #[cfg(test)]
    pub(crate) fn for_test(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Several releases as one write.
    pub fn join(parts: Vec<Released>) -> Released {
        let mut parts = parts;
        match parts.len() {
            1 => parts.remove(0),
            _ => {
                let mut joined = BytesMut::with_capacity(parts.iter().map(|p| p.0.len()).sum());
                parts.iter().for_each(|p| joined.extend_from_slice(&p.0));
                Self(joined.freeze())
            }
        }
    }
}
