//! Conditions: CEL expressions that are checked when the policy is loaded and bounded when they run.
//!
//! The `cel` crate notices undeclared names and wrong types only while it evaluates, and has no cost limit. Here every
//! expression is therefore checked against declared variables before it is accepted ([`check`]), compiled on a thread that is
//! given up after a time limit ([`compile`]), and evaluated over borrowed facts that charge for what is looked at ([`eval()`]).

mod check;
mod compile;
mod declare;
mod eval;
mod functions;
mod json;
mod typing;
mod value;

pub(crate) use compile::{Compiler, ExprId, Program, Programs};
pub(crate) use declare::Scope;
pub use eval::EvalFailure;
pub(crate) use eval::{Subject, eval};

/// Every variable, member and function that there is, for the check that the manual names it.
#[cfg(test)]
pub(crate) fn vocabulary() -> Vec<String> {
    let mut names: Vec<&str> = declare::UNSUPPORTED_VARIABLES.to_vec();
    for variable in &declare::VARIABLES {
        names.push(variable.name);
        if let declare::Ty::Record(record) = variable.ty() {
            names.extend(record.fields.iter().map(|(field, _)| *field));
        }
    }
    names.extend(declare::FINDING.fields.iter().map(|(field, _)| *field));
    names.extend(functions::SIGNATURES.iter().map(|signature| signature.name));
    names.extend(functions::MACROS);
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
