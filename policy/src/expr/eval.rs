//! Evaluating a condition over facts: always an answer, never a panic, never more than a bounded amount of work.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::types::CelBool;
use cel::{Context, ExecutionError, Value};
use serde::Serialize;

use super::compile::Program;
use super::functions::ENVIRONMENT;
use super::value::{Cost, FindingValue, Variables};
use crate::facts::Facts;

/// Why a condition has no answer. Says nothing about the content it was looking at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EvalFailure {
    #[error("the expression reads a member or element that is not there; guard it with has(…)")]
    Missing,
    #[error("the expression uses a value of the wrong type")]
    WrongType,
    #[error("the expression calculates beyond the range of its numbers or divides by zero")]
    Arithmetic,
    #[error("the expression takes too long on this content")]
    TooCostly,
    #[error("the expression could not be evaluated")]
    Internal,
}

/// Which findings an evaluation sees.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    /// All of them.
    All,
    /// The one with this index, alone.
    One(usize),
}

/// The answer of a condition.
pub(crate) fn eval(program: &Program, facts: &Facts<'_>, subject: Subject) -> Result<bool, EvalFailure> {
    // The evaluator has arithmetic and casts that were never meant for hostile input; one bad exchange must not take the
    // worker down with it.
    catch_unwind(AssertUnwindSafe(|| eval_once(program, facts, subject))).unwrap_or(Err(EvalFailure::Internal))
}

fn eval_once(program: &Program, facts: &Facts<'_>, subject: Subject) -> Result<bool, EvalFailure> {
    let cost = Cost::default();
    let visible = match subject {
        Subject::All => facts.findings,
        Subject::One(index) => facts.findings.get(index).map(std::slice::from_ref).unwrap_or_default(),
    };
    let findings: Vec<FindingValue<'_>> = if program.uses_findings() {
        visible.iter().map(|facts| FindingValue { facts, cost: &cost }).collect()
    } else {
        Vec::new()
    };
    let variables = Variables { facts, findings: &findings, regexes: &program.regexes, cost: &cost };
    let env = ENVIRONMENT.as_ref().map_err(|_| EvalFailure::Internal)?;
    let mut context = Context::with_env(env.clone());
    context.set_variable_resolver(&variables);
    let answer = Value::resolve_val(&program.expr, &context);
    // Lists end early when the budget is spent, so the answer may be wrong whichever it is.
    if cost.is_exhausted() {
        return Err(EvalFailure::TooCostly);
    }
    match answer {
        Ok(value) => value.downcast_ref::<CelBool>().map(|value| *value.inner()).ok_or(EvalFailure::WrongType),
        Err(error) => Err(classify(&error)),
    }
}

fn classify(error: &ExecutionError) -> EvalFailure {
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => EvalFailure::Missing,
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) | ExecutionError::Overflow(..) => {
            EvalFailure::Arithmetic
        }
        ExecutionError::UnexpectedType { .. }
        | ExecutionError::NoSuchOverload(_)
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedKeyType(_)
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::NotSupportedAsMethod { .. }
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedIndex(..)
        | ExecutionError::FunctionError { .. } => EvalFailure::WrongType,
        _ => EvalFailure::Internal,
    }
}
