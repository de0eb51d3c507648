//! Calls over real sockets on the loopback, to origins that follow a script.

mod failover;
pub(crate) mod identity;
pub(crate) mod origin;
mod plain;
mod tls;
mod ways;
