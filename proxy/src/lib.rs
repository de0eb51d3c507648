//! Clyra: an inline firewall sidecar for LLM traffic.

pub mod exchange;
pub mod guard;
