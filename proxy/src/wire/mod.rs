//! Wire framing: how bytes on the connection become events, without changing one of them.

pub mod sse;
