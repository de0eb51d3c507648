//! Calls over real sockets on the loopback, to origins that follow a script.

pub(crate) mod identity;
pub(crate) mod origin;
mod plain;
mod tls;
