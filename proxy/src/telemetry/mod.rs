//! What operators watch.

mod metrics;

pub use metrics::{Metrics, WriterKind};
