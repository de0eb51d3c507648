//! Lineage: how the exchanges of agent runs hang together, read out of receipts.
//!
//! A run's exchanges follow each other; a run may have been started by another; and a request may answer the tool calls of
//! earlier outcomes. Together they are a directed acyclic graph, because every edge leads to an earlier receipt.
//!
//! - [`Graph`]: the part of it around one run.
//! - [`openlineage`]: the same as OpenLineage run events, a line each.

mod graph;
pub mod openlineage;
mod render;

pub use graph::{Exchange, Graph, GraphError, GraphLimits, Index, Run};

#[cfg(test)]
mod tests;
