//! NDJSON for the SIEM: one line per exchange, one per finding.

mod line;
mod writer;

pub use line::{bypass_line, exchange_line, finding_lines, notice_line};
pub use writer::{LineWriter, WriterOptions, WriterStats};
