//! Expressions of one policy, compiled together on a thread that is given up when it takes too long.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cel::IdedExpr;

use super::check::{self, Problem};
use super::declare::Scope;
use super::functions::{ENVIRONMENT, RegexValue};
use crate::diagnostic::{Code, Report};
use crate::yaml::Mark;

/// Bytes of one expression; a rule that needs more is several rules.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// Expressions in one policy.
const EXPRESSIONS_MAX: usize = 2048;
/// Nesting that the parser follows, in its own count of grammar rules.
const PARSER_DEPTH_MAX: u16 = 96;
/// Time for all expressions of a policy; a large policy takes milliseconds.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(10);
/// Stack of the compiling thread: the parser recurses many frames per level of nesting.
const COMPILE_STACK_BYTES: usize = 32 * 1024 * 1024;

/// Handle of an expression that waits to be compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExprId(usize);

/// A condition that is ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Program {
    pub(super) expr: IdedExpr,
    pub(super) regexes: Vec<RegexValue>,
    text: String,
    uses_findings: bool,
    uses_variables: bool,
    reads_tool_args: bool,
    reads_class: bool,
    classes: Vec<String>,
}

impl Program {
    /// As written, without surrounding white space.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn uses_findings(&self) -> bool {
        self.uses_findings
    }

    /// Whether the result depends on nothing but the expression itself.
    pub(crate) fn is_constant(&self) -> bool {
        !self.uses_variables
    }

    /// Whether it looks at the arguments of a tool call.
    pub(crate) fn reads_tool_args(&self) -> bool {
        self.reads_tool_args
    }

    /// Whether it looks at the class of findings.
    pub(crate) fn reads_class(&self) -> bool {
        self.reads_class
    }

    /// The classes of findings that it compares with.
    pub(crate) fn classes(&self) -> &[String] {
        &self.classes
    }
}

#[derive(Debug)]
struct Job {
    text: String,
    scope: Scope,
    at: Mark,
    path: String,
}

/// Collects a policy's expressions while it is read, then compiles them all.
#[derive(Debug, Default)]
pub(crate) struct Compiler {
    jobs: Vec<Job>,
}

impl Compiler {
    /// Accepts an expression for compilation, if it is of acceptable size.
    pub(crate) fn add(
        &mut self,
        text: &str,
        scope: Scope,
        at: Mark,
        path: &str,
        report: &mut Report<'_>,
    ) -> Option<ExprId> {
        let text = text.trim();
        let refusal = if text.is_empty() {
            Some("the expression is empty".to_owned())
        } else if text.len() > EXPRESSION_BYTES_MAX {
            Some(format!("the expression is over {EXPRESSION_BYTES_MAX} bytes"))
        } else if self.jobs.len() >= EXPRESSIONS_MAX {
            Some(format!("the policy has over {EXPRESSIONS_MAX} expressions"))
        } else {
            None
        };
        if let Some(message) = refusal {
            report.add(Code::ExpressionLimit, at, path, message);
            return None;
        }
        self.jobs.push(Job { text: text.to_owned(), scope, at, path: path.to_owned() });
        Some(ExprId(self.jobs.len() - 1))
    }

    /// Compiles what was added. Mistakes go to the report; their expressions are missing from the result.
    pub(crate) fn compile(self, report: &mut Report<'_>) -> Programs {
        let mut programs: Vec<Option<Program>> = Vec::new();
        if self.jobs.is_empty() {
            return Programs(programs);
        }
        let work: Vec<(String, Scope)> = self.jobs.iter().map(|job| (job.text.clone(), job.scope)).collect();
        let (sender, receiver) = mpsc::channel();
        let spawned =
            thread::Builder::new().name("policy-compile".to_owned()).stack_size(COMPILE_STACK_BYTES).spawn(move || {
                for (text, scope) in work {
                    // The receiver is gone when time is up: then nobody wants the rest.
                    if sender.send(compile(&text, scope)).is_err() {
                        return;
                    }
                }
            });
        let deadline = Instant::now() + COMPILE_TIME_MAX;
        for job in &self.jobs {
            let left = deadline.saturating_duration_since(Instant::now());
            let outcome = match &spawned {
                Ok(_) => receiver.recv_timeout(left).map_err(|error| match error {
                    mpsc::RecvTimeoutError::Timeout => "the expressions take too long to compile",
                    mpsc::RecvTimeoutError::Disconnected => "the expression cannot be compiled",
                }),
                Err(_) => Err("no thread could be started to compile the expression"),
            };
            match outcome {
                Ok(Ok(program)) => programs.push(Some(program)),
                Ok(Err(problems)) => {
                    for problem in problems {
                        let exact = place(job, &problem, report.source());
                        let message = match (exact, problem.offset) {
                            (None, Some(offset)) => {
                                format!("{} (at character {} of the expression)", problem.message, offset + 1)
                            }
                            _ => problem.message,
                        };
                        let at = exact.unwrap_or(job.at);
                        report.add(problem.code, at, &job.path, message);
                    }
                    programs.push(None);
                }
                Err(message) => {
                    report.add(Code::ExpressionLimit, job.at, &job.path, message);
                    break;
                }
            }
        }
        Programs(programs)
    }
}

/// The compiled expressions of one policy, to be handed out by id.
#[derive(Debug)]
pub(crate) struct Programs(Vec<Option<Program>>);

impl Programs {
    /// The program of an expression, if it compiled and was not taken before.
    pub(crate) fn take(&mut self, id: ExprId) -> Option<Program> {
        self.0.get_mut(id.0).and_then(Option::take)
    }
}

fn compile(text: &str, scope: Scope) -> Result<Program, Vec<Problem>> {
    let env = ENVIRONMENT.as_ref().map_err(|error| vec![syntax(error.to_string(), None)])?;
    let (mut expr, info) =
        env.parser().max_recursion_depth(PARSER_DEPTH_MAX).parse_with_source_info(text).map_err(|errors| {
            // The first error is where the author went wrong; the parser's guesses after it are noise.
            let first = errors.errors.into_iter().next();
            vec![
                first.map_or_else(
                    || syntax(String::new(), None),
                    |error| syntax(error.msg, char_offset(text, error.pos)),
                ),
            ]
        })?;
    let learned = check::check(&mut expr, &info, scope)?;
    Ok(Program {
        expr,
        regexes: learned.regexes,
        text: text.to_owned(),
        uses_findings: learned.uses_findings,
        uses_variables: learned.uses_variables,
        reads_tool_args: learned.reads_tool_args,
        reads_class: learned.reads_class,
        classes: learned.classes,
    })
}

fn syntax(detail: String, offset: Option<usize>) -> Problem {
    if detail.contains("Recursion limit") {
        return Problem {
            code: Code::ExpressionLimit,
            offset: None,
            message: "the expression is nested too deeply; split the rule".to_owned(),
        };
    }
    let detail = detail.strip_prefix("Syntax error: ").unwrap_or(&detail);
    // The list of everything that could have stood there helps nobody.
    let detail = detail.split(" expecting ").next().unwrap_or(detail);
    let detail = if detail.contains("'<EOF>'") { "it ends too early" } else { detail };
    Problem { code: Code::ExpressionSyntax, offset, message: format!("the expression is malformed: {detail}") }
}

/// Line (from 1) and column (from 0 or 1, never mind which: the parser gives both) to characters from the start.
fn char_offset(text: &str, (line, column): (isize, isize)) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?;
    let before: usize = text.split_inclusive('\n').take(line).map(|line| line.chars().count()).sum();
    Some(before + column)
}

/// The place of a mistake in the file, when the expression stands there in one piece.
fn place(job: &Job, problem: &Problem, source: &str) -> Option<Mark> {
    if job.text.contains('\n') {
        return None;
    }
    let offset = problem.offset?;
    let rest = source.get(job.at.byte?..)?;
    let quote = if rest.starts_with(job.text.as_str()) {
        0
    } else {
        let quoted = rest.strip_prefix(['"', '\''])?;
        quoted.starts_with(job.text.as_str()).then_some(1)?
    };
    let column = job.at.column as usize + quote + offset;
    Some(Mark { column: u32::try_from(column).ok()?, ..job.at })
}
