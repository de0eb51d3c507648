//! A graph as canonical JSON, Mermaid flowchart and Graphviz DOT.

use std::fmt::Write as _;

use super::Graph;
use super::graph::Edge;
use crate::canonical::{Value, to_vec};

impl Graph {
    /// Canonical JSON: `{"edges", "exchanges", "run", "runs", "truncated"}`; an edge names attempts.
    pub fn to_json(&self) -> Vec<u8> {
        let number = |seq: u64| Value::from(seq.to_string());
        let optional = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        let exchanges = self.exchanges.iter().map(|exchange| {
            Value::from([
                ("attempt", number(exchange.attempt)),
                ("id", Value::from(exchange.id.as_str())),
                ("model", optional(&exchange.model)),
                ("outcome", exchange.outcome.map_or(Value::Null, number)),
                ("parents", Value::Array(exchange.parents.iter().map(|parent| number(*parent)).collect())),
                ("run", Value::from(exchange.run.as_str())),
                ("surface", Value::from(exchange.surface.as_str())),
                ("ts", Value::from(exchange.ts.as_str())),
                ("verdict", optional(&exchange.verdict)),
            ])
        });
        let runs = self.runs.iter().map(|run| {
            Value::from([
                ("distance", Value::Integer(i64::try_from(run.distance).unwrap_or(i64::MAX))),
                ("id", Value::from(run.id.as_str())),
                ("parent", optional(&run.parent)),
            ])
        });
        let edges = self.edges().into_iter().map(|edge| {
            let (from, kind, to) = match edge {
                Edge::Next { from, to } => (from, "next", to),
                Edge::ToolCall { from, to } => (from, "tool_call", to),
            };
            Value::from([("from", number(from)), ("kind", Value::from(kind)), ("to", number(to))])
        });
        to_vec(&Value::from([
            ("edges", Value::Array(edges.collect())),
            ("exchanges", Value::Array(exchanges.collect())),
            ("run", Value::from(self.run.as_str())),
            ("runs", Value::Array(runs.collect())),
            ("truncated", Value::Bool(self.truncated)),
        ]))
    }

    /// A Mermaid flowchart: a box for each run, a node for each exchange.
    pub fn to_mermaid(&self) -> String {
        let mut out = String::from("flowchart TD\n");
        for (index, run) in self.runs.iter().enumerate() {
            let _ = writeln!(out, "  subgraph run{index}[\"{}\"]", entities(&run.id));
            for exchange in self.exchanges.iter().filter(|exchange| exchange.run == run.id) {
                let _ = writeln!(out, "    x{}[\"{}\"]", exchange.attempt, entities(&label(exchange, "<br/>")));
            }
            out.push_str("  end\n");
        }
        for (index, run) in self.runs.iter().enumerate() {
            let parent = run.parent.as_ref().and_then(|parent| self.runs.iter().position(|other| other.id == *parent));
            if let Some(parent) = parent {
                let _ = writeln!(out, "  run{parent} -->|started| run{index}");
            }
        }
        for edge in self.edges() {
            let _ = match edge {
                Edge::Next { from, to } => writeln!(out, "  x{from} --> x{to}"),
                Edge::ToolCall { from, to } => writeln!(out, "  x{from} -.->|tool result| x{to}"),
            };
        }
        out
    }

    /// A Graphviz digraph: a cluster for each run, a node for each exchange.
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph lineage {\n  node [shape=box];\n");
        for (index, run) in self.runs.iter().enumerate() {
            let _ = writeln!(out, "  subgraph cluster_{index} {{\n    label={};", quoted(&run.id));
            let _ = writeln!(out, "    run{index} [shape=point];");
            for exchange in self.exchanges.iter().filter(|exchange| exchange.run == run.id) {
                let _ = writeln!(out, "    x{} [label={}];", exchange.attempt, quoted(&label(exchange, "\n")));
            }
            out.push_str("  }\n");
        }
        for (index, run) in self.runs.iter().enumerate() {
            let parent = run.parent.as_ref().and_then(|parent| self.runs.iter().position(|other| other.id == *parent));
            if let Some(parent) = parent {
                let _ = writeln!(out, "  run{parent} -> run{index} [label=\"started\"];");
            }
        }
        for edge in self.edges() {
            let _ = match edge {
                Edge::Next { from, to } => writeln!(out, "  x{from} -> x{to};"),
                Edge::ToolCall { from, to } => {
                    writeln!(out, "  x{from} -> x{to} [style=dashed, label=\"tool result\"];")
                }
            };
        }
        out.push_str("}\n");
        out
    }
}

fn label(exchange: &super::Exchange, line: &str) -> String {
    let receipts = match exchange.outcome {
        Some(outcome) => format!("{}, {outcome}", exchange.attempt),
        None => exchange.attempt.to_string(),
    };
    let model = exchange.model.as_deref().unwrap_or("-");
    let verdict = exchange.verdict.as_deref().unwrap_or("no outcome");
    format!("{} {model}{line}{verdict}{line}receipts {receipts}", exchange.surface)
}

/// Mermaid reads HTML entities inside quotes; names come from clients, so everything that could end the quotes is one.
/// The line break that we write ourselves stays.
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, part) in text.split("<br/>").enumerate() {
        if index > 0 {
            out.push_str("<br/>");
        }
        for character in part.chars() {
            if character.is_alphanumeric() || " .,:/_-+@".contains(character) {
                out.push(character);
            } else {
                let _ = write!(out, "#{};", u32::from(character));
            }
        }
    }
    out
}

/// A DOT string: only quotes and backslashes have a meaning in it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            other if other.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
