//! `clyra validate`: SchemaLock over stdin, with the limits and the strictness that answers are held to.

mod batch;
mod excerpt;
mod follow;
mod judge;
mod mended;

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clyra_schemas::{
    Coercion, Contract, ContractError, ContractSource, CsvContract, CsvLock, Judgement, Limits, Lock, Mode,
    Outcome as Judged, RepairClass, RepairPolicy, Verdict, Violation, ViolationKind,
};
use serde_json::json;

use self::excerpt::Excerpt;
use self::follow::Follow;
use self::judge::{Judge, Watch, judge};
use self::mended::Mended;
use super::exit::{Exit, Outcome, bad};
use super::print;
use crate::json::{Doc, Limits as JsonLimits};

/// Hold a document on stdin to a JSON Schema, reading no further than the first violation.
///
/// Prints the verdict and, for a violation, its byte offset, the JSON pointer of the refused value (with `*` for names
/// that the schema does not mention) and the keyword; on stderr, unless there is --json, the document's line with the place
/// marked. Status 0 if it passes, 1 if not, 2 if the schema cannot be used.
///
/// Example: clyra validate --schema invoice.schema.json < answer.json
///
/// With --format csv the document is CSV (RFC 4180, strictly), and the schema a CSV contract: {"columns": [{"name", "type" or
/// "schema", "required", "unique"}], "delimiter", "line_ending", "header", "rows_min", "rows_max", "formulas"}; see docs/csv.md.
///
/// Example: clyra validate --format csv --schema orders.json < orders.csv
///
/// With --repair, a document that passes goes to stdout as an answer would be released: damage that can be mended without guessing
/// is mended, of every kind or of the kinds that are named, and formulas in CSV are defused. What was changed goes to stderr.
///
/// Example: clyra validate --schema invoice.schema.json --repair fences,quotes < answer.txt
///
/// With --coerce, a scalar of a kind that the schema refuses there stands for the one that it can mean, of every kind of coercion or of those
/// that are named: numbers ("42" for 42), booleans ("true" for true), single_to_list (1 for [1]). The document goes to stdout as with
/// --repair.
///
/// Example: clyra validate --schema invoice.schema.json --coerce numbers < answer.json
///
/// With --follow, what may leave goes to stdout as soon as it may, as a client would receive it; what is held, and in the end the
/// verdict, goes to stderr. With --json each step is a line {"text","held"} on stdout, and the last line is the verdict.
///
/// Example: my-agent | clyra validate --schema invoice.schema.json --follow --mode cutoff
///
/// With --batch, each line of stdin is {"id","schema","document","chunk","repair","coerce"}: the document is a string with the text, or
/// any other JSON value as it is written there; without "schema" the one of --schema is used; "chunk" feeds the document
/// in pieces of about so many bytes; "repair" is true, false or a list of kinds of damage, without it --repair holds; "coerce" likewise, with --coerce. Each line out
/// is {"id","verdict","offset","pointer","keyword","early"}, and "repaired", the document as it would be released, if it passes
/// with edits.
///
/// Example: clyra validate --schema invoice.schema.json --batch --repair < answers.jsonl
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The JSON Schema, or the CSV contract
    #[arg(long, value_name = "FILE", required_unless_present = "batch")]
    schema: Option<PathBuf>,
    /// What the document is
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Read `format` in the schema as a comment
    #[arg(long)]
    no_formats: bool,
    /// Mend damage, of these kinds or of every kind
    #[arg(long, value_name = "KINDS", num_args = 0..=1, value_delimiter = ',', value_parser = mended::class())]
    repair: Option<Vec<RepairClass>>,
    /// Let a scalar stand for the one that it can mean, in these ways or in every way
    #[arg(long, value_name = "KINDS", num_args = 0..=1, value_delimiter = ',', value_parser = mended::coercion())]
    coerce: Option<Vec<Coercion>>,
    /// Show the document as it may leave
    #[arg(long, conflicts_with = "batch")]
    follow: bool,
    /// With --follow, what may leave; verified if it is left out
    #[arg(long, value_enum, requires = "follow")]
    mode: Option<FollowMode>,
    /// Read JSON Lines, one document each
    #[arg(long)]
    batch: bool,
    /// Print a JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// JSON, held to a JSON Schema
    Json,
    /// CSV (RFC 4180), held to a CSV contract
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FollowMode {
    /// The whole document once it has passed
    Buffer,
    /// Each value once it has passed, the last bracket once the whole has
    Verified,
    /// Each byte while the document can still become valid, the last bracket once it has passed
    Cutoff,
}

/// Largest schema file: four times the text that a schema may have, for its white space.
const SCHEMA_FILE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn run(args: &Args) -> Outcome {
    let missing = || Exit::usage("--schema is missing");
    let formats = !args.no_formats;
    let repair = args.repair.as_deref().map_or(RepairPolicy::NONE, mended::policy);
    let coerce = args.coerce.as_deref().map_or_else(Vec::new, mended::coercions);
    if args.format == Format::Csv && args.coerce.is_some() {
        return Err(Exit::usage(
            "--coerce is for JSON documents: in CSV every field is text, and its column says what it means",
        ));
    }
    let mode = match args.mode {
        _ if !args.follow => Mode::Buffer,
        Some(FollowMode::Buffer) => Mode::Buffer,
        Some(FollowMode::Verified) | None => Mode::Verified,
        Some(FollowMode::Cutoff) => Mode::Cutoff,
    };
    let mut lock: Box<dyn Judge> = match args.format {
        Format::Csv if args.batch => return Err(Exit::usage("--batch is for JSON documents; leave out --format csv")),
        Format::Csv => {
            let contract = csv_contract_of(args.schema.as_deref().ok_or_else(missing)?, formats)?;
            Box::new(CsvLock::new(contract, mode, repair))
        }
        Format::Json => {
            let contract = args.schema.as_deref().map(|path| contract_of(path, formats)).transpose()?;
            if args.batch {
                return batch::run(contract, formats, (repair, coerce));
            }
            Box::new(Lock::new(contract.ok_or_else(missing)?, mode, repair.coercing(coerce)))
        }
    };
    let fault = if args.follow { follow(args, lock.as_mut())? } else { hold(args, lock.as_mut())? };
    Ok(if fault.is_none() { ExitCode::SUCCESS } else { bad() })
}

/// Judges stdin, and then says what came of it.
fn hold(args: &Args, lock: &mut dyn Judge) -> Result<Option<Fault>, Exit> {
    let (mut excerpt, mut mended) = (Excerpt::default(), Mended::default());
    let mut watches: Vec<&mut dyn Watch> = vec![&mut excerpt];
    let mends = args.repair.is_some() || args.coerce.is_some();
    if mends {
        watches.push(&mut mended);
    }
    let fault = judge(lock, io::stdin(), &mut watches).map_err(unreadable)?;
    if mends {
        mended.print(fault.as_ref(), args.json)?;
    } else {
        print::result(|out| match (&fault, args.json) {
            (_, true) => writeln!(out, "{}", json!(verdict(fault.as_ref()))),
            (None, false) => writeln!(out, "pass"),
            (Some(fault), false) => writeln!(out, "violation: {}", fault.text()),
        })?;
    }
    if let Some(lines) = shown(args, excerpt, fault.as_ref()) {
        print::hint(lines);
    }
    Ok(fault)
}

/// Shows stdin as it may leave.
fn follow(args: &Args, lock: &mut dyn Judge) -> Result<Option<Fault>, Exit> {
    let (mut out, mut notes, mut excerpt) = (io::stdout(), io::stderr(), Excerpt::default());
    let shares_terminal = out.is_terminal() && notes.is_terminal();
    let mut follow = Follow::new(&mut out, &mut notes, args.json, shares_terminal);
    let fault = judge(lock, io::stdin(), &mut [&mut excerpt, &mut follow]).map_err(unreadable)?;
    follow.end(fault.as_ref(), shown(args, excerpt, fault.as_ref()))?;
    Ok(fault)
}

fn unreadable(error: io::Error) -> Exit {
    Exit::usage(format!("stdin cannot be read: {error}"))
}

/// The place of a fault, for people.
fn shown(args: &Args, mut excerpt: Excerpt, fault: Option<&Fault>) -> Option<String> {
    let fault = fault.filter(|_| !args.json)?;
    if matches!(fault, Fault::Utf8 { .. }) {
        // What stands there instead of text.
        excerpt.push("\u{fffd}");
    }
    excerpt.show(&fault.place()?)
}

fn verdict(fault: Option<&Fault>) -> Verdict {
    fault.map_or_else(|| Judged::Pass.into(), Fault::verdict)
}

/// Why a document is refused.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Violation(Violation),
    /// No UTF-8 from this byte on, and so no JSON (RFC 8259 §8.1).
    Utf8 {
        at: u64,
    },
}

impl Fault {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Violation(violation) => violation.clone().into(),
            Self::Utf8 { at } => Verdict {
                verdict: Judgement::Violation,
                offset: Some(*at),
                pointer: Some(String::new()),
                keyword: Some("utf8"),
                early: true,
            },
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Violation(violation) => violation.to_string(),
            Self::Utf8 { at } => format!("byte {at}: this is not UTF-8"),
        }
    }

    /// The bytes to point at; none if it is the whole document that is refused, or nobody looked for the place.
    fn place(&self) -> Option<Range<u64>> {
        match self {
            Self::Utf8 { at } => Some(*at..at + 1),
            Self::Violation(Violation { kind: ViolationKind::Schema, keyword: None, .. })
            | Self::Violation(Violation { kind: ViolationKind::TooCostly, .. }) => None,
            // What is found as it comes, is found where it ends. The verdict on the whole comes at the end of the whole.
            Self::Violation(Violation { at, found_at, early: true, .. }) => Some(*at..(at + 1).max(*found_at)),
            Self::Violation(Violation { at, .. }) => Some(*at..at + 1),
        }
    }
}

/// Reads and compiles a schema file.
fn contract_of(path: &Path, formats: bool) -> Result<Arc<Contract>, Exit> {
    let bytes = schema_text(path)?;
    compile(&bytes, formats)
        .map_err(|error| Exit::usage(format!("schema {}: {error} [{}]", path.display(), error.code())))
}

/// The same for a CSV contract.
fn csv_contract_of(path: &Path, formats: bool) -> Result<Arc<CsvContract>, Exit> {
    let document = serde_json::from_slice(&schema_text(path)?).unwrap_or(serde_json::Value::Null);
    CsvContract::compile_with(&document, formats)
        .map_err(|error| Exit::usage(format!("schema {}: {error} [{}]", path.display(), error.code())))
}

/// The text of a schema file, strict JSON.
fn schema_text(path: &Path) -> Result<Vec<u8>, Exit> {
    let fail = |what: &dyn std::fmt::Display| Exit::usage(format!("schema {}: {what}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fail(&format!("cannot be read: {error}")))?;
    let read = file.take(SCHEMA_FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| fail(&format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > SCHEMA_FILE_BYTES_MAX {
        return Err(fail(&format!("larger than {SCHEMA_FILE_BYTES_MAX} bytes")));
    }
    // Strictly first: a schema with a member twice would silently mean something else.
    Doc::parse(&bytes, JsonLimits::default()).map_err(|error| fail(&format!("not JSON: {error}")))?;
    Ok(bytes)
}

/// Compiles the text of a schema that is known to be strict JSON. What cannot be represented is no schema either.
fn compile(text: &[u8], formats: bool) -> Result<Arc<Contract>, ContractError> {
    let schema = serde_json::from_slice(text).unwrap_or(serde_json::Value::Null);
    Contract::compile_with(&schema, None, ContractSource::Policy, formats, &Limits::default())
}

#[cfg(test)]
mod tests;
