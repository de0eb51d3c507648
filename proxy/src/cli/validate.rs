//! `clyra validate`: SchemaLock over stdin, with the limits and the strictness that answers are held to.

mod batch;
mod mended;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clyra_schemas::{
    Contract, ContractError, ContractSource, CsvContract, CsvLock, Edit, End, Judgement, Limits, Lock, Mode,
    Outcome as Judged, RepairPolicy, Step, Verdict, Violation,
};
use serde_json::json;

use self::mended::Mended;

use super::exit::{Exit, Outcome, bad};
use super::print;
use crate::json::{Doc, Limits as JsonLimits};

/// Hold a document on stdin to a JSON Schema, reading no further than the first violation.
///
/// Prints the verdict and, for a violation, its byte offset, the JSON pointer of the refused value (with `*` for names
/// that the schema does not mention) and the keyword, but no text of the document. Status 0 if it passes, 1 if
/// not, 2 if the schema cannot be used.
///
/// With --format csv the document is CSV (RFC 4180, strictly), and the schema a CSV contract: {"columns": [{"name", "type" or
/// "schema", "required", "unique"}], "delimiter", "line_ending", "header", "rows_min", "rows_max", "formulas"}; see docs/csv.md.
///
/// With --repair, a document that passes goes to stdout as an answer would be released: every kind of damage that can be
/// mended without guessing is, and formulas in CSV are defused. What was changed goes to stderr.
///
/// With --batch, each line of stdin is {"id","schema","document","chunk"}: the document is a string with the text, or
/// any other JSON value as it is written there; without "schema" the one of --schema is used; "chunk" feeds the document
/// in pieces of about so many bytes. Each line out is {"id","verdict","offset","pointer","keyword","early"}.
///
/// Example: clyra validate --schema invoice.schema.json < answer.json
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The JSON Schema, or the CSV contract
    #[arg(long, value_name = "FILE", required_unless_present = "batch")]
    schema: Option<PathBuf>,
    /// What the document is
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Read JSON Lines, one document each
    #[arg(long)]
    batch: bool,
    /// Print the document as it would be released, mended
    #[arg(long, conflicts_with = "batch")]
    repair: bool,
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

/// Largest schema file: four times the text that a schema may have, for its white space.
const SCHEMA_FILE_BYTES_MAX: u64 = 1 << 20;

/// Read at a time. A stream is judged as it comes in.
const READ_BYTES: usize = 64 << 10;

pub(super) fn run(args: &Args) -> Outcome {
    let unreadable = |error: io::Error| Exit::usage(format!("stdin cannot be read: {error}"));
    let missing = || Exit::usage("--schema is missing");
    let repair = if args.repair { RepairPolicy::all() } else { RepairPolicy::NONE };
    let mut lock: Box<dyn Judge> = match (args.format, args.batch) {
        (Format::Csv, true) => return Err(Exit::usage("--batch is for JSON documents; leave out --format csv")),
        (Format::Csv, false) => {
            let contract = csv_contract_of(args.schema.as_deref().ok_or_else(missing)?)?;
            Box::new(CsvLock::new(contract, Mode::Buffer, repair))
        }
        (Format::Json, batch) => {
            let contract = args.schema.as_deref().map(contract_of).transpose()?;
            if batch {
                return batch::run(contract);
            }
            Box::new(Lock::new(contract.ok_or_else(missing)?, Mode::Buffer, repair))
        }
    };
    let mut mended = args.repair.then(Mended::default);
    let fault = judge(lock.as_mut(), io::stdin(), mended.as_mut()).map_err(unreadable)?;
    match mended {
        Some(mended) => mended.print(fault.as_ref(), args.json)?,
        None => print::result(|out| match (&fault, args.json) {
            (_, true) => writeln!(out, "{}", json!(verdict(fault.as_ref()))),
            (None, false) => writeln!(out, "pass"),
            (Some(fault), false) => writeln!(out, "violation: {}", fault.text()),
        })?,
    }
    Ok(if fault.is_none() { ExitCode::SUCCESS } else { bad() })
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
}

/// A lock of either format.
trait Judge {
    fn feed(&mut self, text: &str) -> Step;
    fn finish(&mut self) -> Judged;
    fn settled(&self) -> u64;
    fn take_edits(&mut self) -> Vec<Edit>;
}

impl Judge for Lock {
    fn feed(&mut self, text: &str) -> Step {
        Lock::feed(self, text)
    }

    fn finish(&mut self) -> Judged {
        Lock::finish(self, End::Stop)
    }

    fn settled(&self) -> u64 {
        Lock::settled(self)
    }

    fn take_edits(&mut self) -> Vec<Edit> {
        Lock::take_edits(self)
    }
}

impl Judge for CsvLock {
    fn feed(&mut self, text: &str) -> Step {
        CsvLock::feed(self, text)
    }

    fn finish(&mut self) -> Judged {
        CsvLock::finish(self, End::Stop)
    }

    fn settled(&self) -> u64 {
        CsvLock::settled(self)
    }

    fn take_edits(&mut self) -> Vec<Edit> {
        CsvLock::take_edits(self)
    }
}

/// Judges what `input` brings, as it comes. `None` if it passes; then `mended` has what is released.
fn judge(lock: &mut dyn Judge, mut input: impl Read, mut mended: Option<&mut Mended>) -> io::Result<Option<Fault>> {
    let mut buffer = vec![0; READ_BYTES];
    // Bytes of an unfinished character at the start of the buffer, and the offset in the document where they stand.
    let (mut kept, mut at) = (0, 0);
    loop {
        let read = match input.read(buffer.get_mut(kept..).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let bytes = buffer.get(..kept + read).unwrap_or_default();
        let (text, utf8) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let text = bytes.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok());
                let at = at + error.valid_up_to() as u64;
                // An unfinished character may be finished by the next bytes, if there are any.
                (text.unwrap_or_default(), (error.error_len().is_some() || read == 0).then_some(Fault::Utf8 { at }))
            }
        };
        let step = lock.feed(text);
        if let Some(mended) = &mut mended {
            mended.push(text);
            mended.take(lock);
        }
        if let Step::Violation(violation) = step {
            return Ok(Some(Fault::Violation(violation)));
        }
        if utf8.is_some() {
            return Ok(utf8);
        }
        if read == 0 {
            let judged = lock.finish();
            if let Some(mended) = &mut mended {
                mended.take(lock);
            }
            return Ok(match judged {
                Judged::Block(violation) => Some(Fault::Violation(violation)),
                _ => None,
            });
        }
        let (used, all) = (text.len(), bytes.len());
        at += used as u64;
        kept = all - used;
        buffer.copy_within(used..all, 0);
    }
}

/// Reads and compiles a schema file.
fn contract_of(path: &Path) -> Result<Arc<Contract>, Exit> {
    let bytes = schema_text(path)?;
    compile(&bytes).map_err(|error| Exit::usage(format!("schema {}: {error} [{}]", path.display(), error.code())))
}

/// The same for a CSV contract.
fn csv_contract_of(path: &Path) -> Result<Arc<CsvContract>, Exit> {
    let document = serde_json::from_slice(&schema_text(path)?).unwrap_or(serde_json::Value::Null);
    CsvContract::compile(&document)
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
fn compile(text: &[u8]) -> Result<Arc<Contract>, ContractError> {
    let schema = serde_json::from_slice(text).unwrap_or(serde_json::Value::Null);
    Contract::compile(&schema, None, ContractSource::Policy, &Limits::default())
}

#[cfg(test)]
mod tests;
