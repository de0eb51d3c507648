//! Clyra: an inline firewall sidecar for LLM traffic.

pub mod admin;
pub mod anchor;
pub mod cli;
pub mod config;
pub mod edge;
pub mod evidence;
pub mod exchange;
mod fetch;
pub mod guard;
pub mod json;
pub mod keys;
pub mod outbound;
pub mod siem;
pub mod surface;
pub mod telemetry;
pub mod upstream;
pub mod wire;
pub mod witness;
