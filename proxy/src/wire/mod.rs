//! Wire framing: how bytes on the connection become events, without changing one of them; and content codings, undone.

pub mod encoding;
pub mod sse;
