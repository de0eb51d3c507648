//! Witness types: bytes that have passed the checks that were due on them.
//!
//! Only the guard can make them. The upstream client takes nothing but [`Inspected`], the downstream writer nothing but
//! [`Released`], so that a forgotten check does not compile.

use bytes::Bytes;

/// A request body that the policy in force let through (as it came in, or with redactions).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected(Bytes);

impl Inspected {
    pub(super) fn new(bytes: Bytes) -> Self {
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

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}
