//! The policies that ship with Clyra, as texts to start from.

/// Decides nothing and touches nothing; what [`Policy::observe`](crate::Policy::observe) is.
pub const OBSERVE: &str = include_str!("../packs/observe.yaml");

/// Enforces the least that every deployment wants: no credentials in either direction, no restricted terms.
pub const BASELINE: &str = include_str!("../packs/baseline.yaml");
