//! What operators watch.

mod metrics;

pub use metrics::{AnchorOutcome, Metrics, WriterKind};
