//! `clyra validate --batch`: many documents, each with a schema of its own or with the one of `--schema`.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clyra_schemas::{Coercion, Contract, ContractError, End, Judgement, Lock, Mode, RepairPolicy, Step, Verdict};
use serde_json::json;

use super::compile;
use super::judge::Watch;
use super::mended::{Mended, coercions_of_line, policy_of_line};
use crate::cli::exit::{Exit, Outcome, bad};
use crate::cli::lines::{Line, LineError, Lines};
use crate::cli::print;
use crate::json::{Doc, Kind, Limits};

type Compiled = Result<Arc<Contract>, ContractError>;

/// How a batch went, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worst {
    Pass,
    Violation,
    UnreadableSchema,
}

pub(super) fn run(
    schema: Option<Arc<Contract>>,
    formats: bool,
    (repair, coerce): (RepairPolicy, Vec<Coercion>),
) -> Outcome {
    let mut batch = Batch { given: schema, formats, repair, coerce, last: None, worst: Worst::Pass };
    match batch.judge(io::stdin(), &mut print::stdout()) {
        Err(LineError::Write(error)) => print::written(Err(error))?,
        other => other?,
    }
    match batch.worst {
        Worst::Pass => Ok(ExitCode::SUCCESS),
        Worst::Violation => Ok(bad()),
        Worst::UnreadableSchema => Err(Exit::usage("at least one schema cannot be used; see the lines that say so")),
    }
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) given: Option<Arc<Contract>>,
    /// Whether `format` in a schema is asserted.
    pub(super) formats: bool,
    /// What may be mended in the document of a line that does not say.
    pub(super) repair: RepairPolicy,
    /// What may be coerced in it.
    pub(super) coerce: Vec<Coercion>,
    /// The last schema that was compiled, by its text: tests of one schema stand together.
    pub(super) last: Option<(Vec<u8>, Compiled)>,
    pub(super) worst: Worst,
}

impl Batch {
    pub(super) fn judge(&mut self, input: impl Read, out: &mut dyn Write) -> Result<(), LineError> {
        let mut lines = Lines::new(input);
        let done = loop {
            match self.line(&mut lines, out) {
                Ok(true) if lines.is_drained() => out.flush().map_err(LineError::Write)?,
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // What came before a bad line stands.
        out.flush().map_err(LineError::Write)?;
        done
    }

    /// Answers one line; `false` when there is none.
    fn line<R: Read>(&mut self, lines: &mut Lines<R>, out: &mut dyn Write) -> Result<bool, LineError> {
        let Some(line) = lines.next()? else { return Ok(false) };
        let contract = self.contract(&line)?;
        let document = line.get("document").ok_or_else(|| line.fault("no member `document`"))?;
        let document = match document.as_str() {
            Some(text) => text,
            None => String::from_utf8_lossy(document.raw()),
        };
        let chunk = match line.get("chunk").filter(|chunk| !chunk.is_null()) {
            None => None,
            Some(chunk) => Some(chunk.as_u64().ok_or_else(|| line.fault("`chunk` must be a number of bytes"))?),
        };
        let repair = match line.get("repair").filter(|repair| !repair.is_null()) {
            None => self.repair,
            Some(repair) => policy_of_line(repair).ok_or_else(|| {
                line.fault(
                    "`repair` must be true, false or a list of the names that `clyra validate --help` has for --repair",
                )
            })?,
        };
        let coerce = match line.get("coerce").filter(|coerce| !coerce.is_null()) {
            None => self.coerce.clone(),
            Some(coerce) => coercions_of_line(coerce).ok_or_else(|| {
                line.fault(
                    "`coerce` must be true, false or a list of the names that `clyra validate --help` has for --coerce",
                )
            })?,
        };
        let repair = repair.coercing(coerce);
        let (verdict, repaired) = match contract {
            Ok(contract) if !repair.is_none() || repair.coerces_any() => {
                mended(contract, repair, pieces(&document, chunk))
            }
            contract => (Verdict::of(contract, pieces(&document, chunk)), None),
        };
        self.worst = self.worst.max(match verdict.verdict {
            Judgement::Pass => Worst::Pass,
            Judgement::Violation => Worst::Violation,
            Judgement::UnreadableSchema => Worst::UnreadableSchema,
        });
        let mut verdict = json!(verdict);
        if let (Some(members), Some(repaired)) = (verdict.as_object_mut(), repaired) {
            members.insert("repaired".to_owned(), json!(repaired));
        }
        let verdict = verdict.to_string();
        let mut write = || {
            out.write_all(b"{\"id\":")?;
            out.write_all(line.id())?;
            // The verdict is an object with members: what follows its brace follows the id.
            writeln!(out, ",{}", verdict.strip_prefix('{').unwrap_or_default())
        };
        write().map_err(LineError::Write)?;
        Ok(true)
    }

    /// The schema of a line: an object or boolean, or a string with its text.
    fn contract(&mut self, line: &Line<'_>) -> Result<Compiled, LineError> {
        let Some(schema) = line.get("schema") else {
            let given = self.given.clone().ok_or_else(|| line.fault("no member `schema`, and no --schema is given"))?;
            return Ok(Ok(given));
        };
        let text = match schema.kind() {
            Kind::String => schema.as_str().unwrap_or_default().into_owned().into_bytes(),
            _ => schema.raw().to_vec(),
        };
        if let Some((last, compiled)) = &self.last
            && *last == text
        {
            return Ok(compiled.clone());
        }
        if Doc::parse(&text, Limits::default()).is_err() {
            return Err(
                line.fault("the text in `schema` is not strict JSON; a path cannot be given here, use --schema")
            );
        }
        let compiled = compile(&text, self.formats);
        self.last = Some((text, compiled.clone()));
        Ok(compiled)
    }
}

/// The verdict on a document that may be mended and, if it passes with edits, the document as it would be released.
fn mended<'a>(
    contract: Arc<Contract>,
    repair: RepairPolicy,
    pieces: impl Iterator<Item = &'a str>,
) -> (Verdict, Option<String>) {
    let (mut lock, mut mended) = (Lock::new(contract, Mode::Buffer, repair), Mended::default());
    for piece in pieces {
        let step = lock.feed(piece);
        mended.fed(piece, &mut lock);
        if let Step::Violation(violation) = step {
            return (violation.into(), None);
        }
    }
    let verdict = Verdict::from(lock.finish(End::Stop));
    mended.fed("", &mut lock);
    let is_repaired = verdict.verdict == Judgement::Pass && !mended.edits().is_empty();
    (verdict, is_repaired.then_some(mended.text))
}

/// Cuts a text into pieces of at least `bytes` bytes, each up to the next end of a character.
pub(super) fn pieces(text: &str, bytes: Option<u64>) -> impl Iterator<Item = &str> {
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0).unwrap_or(usize::MAX);
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(bytes.min(rest.len())));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
