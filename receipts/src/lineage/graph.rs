//! The graph around one run, found breadth first from an index of all exchanges that name a run.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::canonical::Value;
use crate::receipt::{Kind, parse_decimal};

/// Exchanges that an index holds: some 300 bytes each, 300 MB at the most.
const EXCHANGES_MAX: usize = 1_000_000;

/// Why there is no graph. Each has a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error(
        "G001: no receipt names run {0:?}; `clyra receipts grep --kind attempt --json` shows the runs that there are"
    )]
    Unknown(String),
    #[error("G002: the log has more than {EXCHANGES_MAX} exchanges with a run; name a part of it with --from and --to")]
    TooMany,
}

/// How far to go from the run that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphLimits {
    /// Runs that are further away are left out; 0 is the run alone.
    pub depth: usize,
    /// Most runs, and most exchanges, of one graph.
    pub runs: usize,
    pub exchanges: usize,
}

impl Default for GraphLimits {
    fn default() -> Self {
        Self { depth: 3, runs: 1_000, exchanges: 10_000 }
    }
}

/// An exchange as its receipts tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub id: String,
    pub run: String,
    /// Sequence number of the attempt (or of the first bypass receipt).
    pub attempt: u64,
    /// Sequence number of the outcome, where there is one.
    pub outcome: Option<u64>,
    /// Time of the attempt.
    pub ts: String,
    pub surface: String,
    pub model: Option<String>,
    pub verdict: Option<String>,
    /// Outcomes that this request goes on from.
    pub parents: Vec<u64>,
}

/// A run and what started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub id: String,
    pub parent: Option<String>,
    /// Steps from the run that was asked for.
    pub distance: usize,
}

/// The part of the lineage around one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// The run that was asked for.
    pub run: String,
    /// In the order in which they were found: by distance, then by their first receipt.
    pub runs: Vec<Run>,
    /// In the order of their attempts.
    pub exchanges: Vec<Exchange>,
    /// Something was left out because of the limits.
    pub truncated: bool,
}

/// All exchanges of a log that name a run.
#[derive(Debug, Default)]
pub struct Index {
    /// By attempt.
    exchanges: BTreeMap<u64, Exchange>,
    attempt_of_outcome: HashMap<u64, u64>,
    open: HashMap<String, u64>,
    parent_of_run: BTreeMap<String, String>,
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

impl Index {
    /// Takes in the next receipt of the log. What is not of an exchange with a run is passed over.
    pub fn receipt(&mut self, body: &Value) -> Result<(), GraphError> {
        let kind = body.get("kind").and_then(Value::as_str).and_then(Kind::from_name);
        if !matches!(kind, Some(Kind::Attempt | Kind::Outcome | Kind::Bypass)) {
            return Ok(());
        }
        let (Some(run), Some(seq), Some(id)) =
            (body.get("run"), body.get("seq").and_then(Value::as_str).and_then(parse_decimal), text(body.get("id")))
        else {
            return Ok(());
        };
        let Some(run_id) = text(run.get("id")) else { return Ok(()) };
        if let Some(attempt) = self.open.get(&id).copied() {
            if let Some(exchange) = self.exchanges.get_mut(&attempt) {
                exchange.outcome = Some(seq);
                exchange.verdict = text(body.get("verdict"));
                self.attempt_of_outcome.insert(seq, attempt);
            }
            self.open.remove(&id);
            return Ok(());
        }
        if kind == Some(Kind::Outcome) {
            // Its attempt lies before the first receipt that was read.
            return Ok(());
        }
        if self.exchanges.len() >= EXCHANGES_MAX {
            return Err(GraphError::TooMany);
        }
        if let Some(parent) = text(run.get("parent")) {
            self.parent_of_run.entry(run_id.clone()).or_insert(parent);
        }
        let request = body.get("request");
        let parents = run.get("parents").and_then(Value::as_array).unwrap_or_default();
        let exchange = Exchange {
            id: id.clone(),
            run: run_id,
            attempt: seq,
            outcome: None,
            ts: text(body.get("ts")).unwrap_or_default(),
            surface: text(request.and_then(|request| request.get("surface"))).unwrap_or_default(),
            model: text(request.and_then(|request| request.get("model"))),
            verdict: text(body.get("verdict")),
            parents: parents.iter().filter_map(|parent| parent.as_str().and_then(parse_decimal)).collect(),
        };
        self.open.insert(id, seq);
        self.exchanges.insert(seq, exchange);
        Ok(())
    }

    /// The graph around a run.
    pub fn graph(&self, run: &str, limits: GraphLimits) -> Result<Graph, GraphError> {
        let mut by_run: HashMap<&str, Vec<&Exchange>> = HashMap::new();
        let mut answered_by: HashMap<u64, Vec<&str>> = HashMap::new();
        for exchange in self.exchanges.values() {
            by_run.entry(&exchange.run).or_default().push(exchange);
            for parent in &exchange.parents {
                answered_by.entry(*parent).or_default().push(&exchange.run);
            }
        }
        let mut children: HashMap<&str, Vec<&str>> = HashMap::new();
        for (child, parent) in &self.parent_of_run {
            children.entry(parent).or_default().push(child);
        }
        if !by_run.contains_key(run) && !children.contains_key(run) {
            return Err(GraphError::Unknown(run.to_owned()));
        }
        let mut graph = Graph { run: run.to_owned(), runs: Vec::new(), exchanges: Vec::new(), truncated: false };
        let mut seen: BTreeSet<&str> = BTreeSet::from([run]);
        let mut waiting = VecDeque::from([(run, 0)]);
        while let Some((id, distance)) = waiting.pop_front() {
            let own = by_run.get(id).map(Vec::as_slice).unwrap_or_default();
            if graph.runs.len() >= limits.runs || graph.exchanges.len() + own.len() > limits.exchanges {
                graph.truncated = true;
                break;
            }
            let parent = self.parent_of_run.get(id);
            graph.runs.push(Run { id: id.to_owned(), parent: parent.cloned(), distance });
            graph.exchanges.extend(own.iter().map(|exchange| (*exchange).clone()));
            let mut near: Vec<&str> = parent.map(String::as_str).into_iter().collect();
            near.extend(children.get(id).into_iter().flatten());
            for exchange in own {
                let called = exchange.parents.iter().filter_map(|outcome| {
                    self.attempt_of_outcome.get(outcome).and_then(|attempt| self.exchanges.get(attempt))
                });
                near.extend(called.map(|called| called.run.as_str()));
                near.extend(exchange.outcome.and_then(|outcome| answered_by.get(&outcome)).into_iter().flatten());
            }
            near.retain(|id| !seen.contains(id));
            let first = |id: &str| by_run.get(id).and_then(|own| own.first()).map_or(u64::MAX, |first| first.attempt);
            near.sort_by_key(|id| (first(id), *id));
            near.dedup();
            if distance >= limits.depth {
                graph.truncated |= !near.is_empty();
                continue;
            }
            for id in near {
                seen.insert(id);
                waiting.push_back((id, distance + 1));
            }
        }
        graph.exchanges.sort_by_key(|exchange| exchange.attempt);
        Ok(graph)
    }
}

/// An edge between two exchanges, by their attempts: from what came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Edge {
    /// The next exchange of the same run.
    Next { from: u64, to: u64 },
    /// The request answers a tool call of the earlier answer.
    ToolCall { from: u64, to: u64 },
}

impl Graph {
    /// The edges between the graph's exchanges, in a fixed order.
    pub(super) fn edges(&self) -> Vec<Edge> {
        let mut last: HashMap<&str, u64> = HashMap::new();
        let by_outcome: HashMap<u64, u64> =
            self.exchanges.iter().filter_map(|exchange| Some((exchange.outcome?, exchange.attempt))).collect();
        let mut edges = Vec::new();
        for exchange in &self.exchanges {
            if let Some(from) = last.insert(&exchange.run, exchange.attempt) {
                edges.push(Edge::Next { from, to: exchange.attempt });
            }
            for from in exchange.parents.iter().filter_map(|parent| by_outcome.get(parent)) {
                edges.push(Edge::ToolCall { from: *from, to: exchange.attempt });
            }
        }
        edges.sort_unstable();
        edges
    }
}
