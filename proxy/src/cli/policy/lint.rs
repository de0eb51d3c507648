//! `clyra policy lint`: everything that would stop a start, and advice on what its author may not have meant.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clyra_detectors::EngineError;
use clyra_policy::{Advice, Code, Diagnostic, Policy};
use serde_json::{Value, json};

use crate::cli::exit::{Exit, Outcome, bad};
use crate::cli::print;
use crate::exchange::gateway::engine;
use crate::exchange::lock::{Contracts, SchemaError};

/// Check a policy as a start would: syntax, expressions, patterns, detectors and schemas, each mistake with its place.
///
/// Also gives advice about rules that can never fire or have no effect, and exceptions that end. Status 1 if the policy
/// cannot be used; advice alone is status 0.
///
/// Example: clyra policy lint policy.yaml --json
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let report = Report::of(&args.file, i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    print::result(|out| if args.json { writeln!(out, "{}", report.json()) } else { report.text(out) })?;
    if report.unreadable {
        return Err(Exit::usage(format!("{} cannot be read; nothing was checked", args.file.display())));
    }
    Ok(if report.errors.is_empty() { ExitCode::SUCCESS } else { bad() })
}

/// Something that would stop a start.
#[derive(Debug)]
enum Problem {
    Policy(Diagnostic),
    /// Found by a later station than the policy's own reader, which knows the entry but not its line.
    Later {
        code: &'static str,
        path: String,
        message: String,
    },
}

#[derive(Debug)]
struct Report {
    file: String,
    /// The file itself is the problem.
    unreadable: bool,
    policy: Option<Policy>,
    errors: Vec<Problem>,
    advice: Vec<Advice>,
}

impl Report {
    fn of(file: &Path, now_unix_s: i64) -> Report {
        let name = file.display().to_string();
        let mut report = Report { file: name, unreadable: false, policy: None, errors: Vec::new(), advice: Vec::new() };
        let policy = match Policy::load(file) {
            Ok(policy) => policy,
            Err(error) => {
                report.unreadable = error.code() == Code::Unreadable;
                report.errors = error.diagnostics().iter().cloned().map(Problem::Policy).collect();
                return report;
            }
        };
        report.advice = policy.lint(now_unix_s);
        if let Err(error) = Contracts::new(&policy) {
            report.errors.push(schema_problem(&policy, &error));
        }
        match engine(&policy) {
            Ok(engine) => report.policy = Some(policy.with_detectors(&engine.versions())),
            Err(error) => report.errors.push(detector_problem(&policy, &error)),
        }
        report
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for error in &self.errors {
            match error {
                Problem::Policy(diagnostic) => writeln!(out, "error: {diagnostic}")?,
                Problem::Later { code, path, message } => {
                    writeln!(out, "error: {}: {path}: {message} [{code}]", self.file)?;
                }
            }
        }
        for advice in &self.advice {
            writeln!(out, "advice: {advice}")?;
        }
        let errors = print::count(self.errors.len() as u64, "error");
        let advice = self.advice.len();
        match self.policy.as_ref().filter(|_| self.errors.is_empty()) {
            Some(policy) => {
                let short = policy.hash().get(..12).unwrap_or_default();
                writeln!(out, "{}: ok, mode {}, hash {short}, advice: {advice}", self.file, policy.mode().as_str())
            }
            None => writeln!(out, "{}: cannot be used, {errors}, advice: {advice}", self.file),
        }
    }

    fn json(&self) -> Value {
        let errors: Vec<Value> = self.errors.iter().map(|error| self.problem_json(error)).collect();
        let policy = self.policy.as_ref().filter(|_| self.errors.is_empty());
        json!({
            "file": self.file,
            "ok": self.errors.is_empty(),
            "hash": policy.map(Policy::hash),
            "mode": policy.map(|policy| policy.mode().as_str()),
            "errors": errors,
            "advice": self.advice,
        })
    }

    fn problem_json(&self, problem: &Problem) -> Value {
        match problem {
            Problem::Policy(diagnostic) => json!(diagnostic),
            Problem::Later { code, path, message } => {
                json!({"code": code, "message": message, "path": path, "file": self.file, "line": 0, "column": 0})
            }
        }
    }
}

fn schema_problem(policy: &Policy, error: &SchemaError) -> Problem {
    let index = policy.schemas().position(|schema| schema.id == error.id);
    let path = index.map_or("schemas".to_owned(), |index| format!("schemas[{index}].schema"));
    Problem::Later { code: error.source.code(), path, message: error.to_string() }
}

fn detector_problem(policy: &Policy, error: &EngineError) -> Problem {
    let patterns = policy.patterns();
    let rule = error_rule(error).and_then(|rule| patterns.iter().position(|pattern| pattern.id == rule));
    let path = match (error, rule) {
        (EngineError::UnknownDetector { id, .. }, _) => format!("detectors.{id}"),
        (_, Some(index)) => format!("detectors.patterns[{index}]"),
        (_, None) => "detectors".to_owned(),
    };
    Problem::Later { code: error.code(), path, message: error.to_string() }
}

fn error_rule(error: &EngineError) -> Option<&str> {
    match error {
        EngineError::Id { rule }
        | EngineError::DuplicateId { rule }
        | EngineError::Class { rule }
        | EngineError::Score { rule, .. }
        | EngineError::TooLong { rule, .. }
        | EngineError::Syntax { rule, .. }
        | EngineError::MatchesEmpty { rule }
        | EngineError::NeverMatches { rule }
        | EngineError::TooComplex { rule, .. } => Some(rule),
        _ => None,
    }
}
