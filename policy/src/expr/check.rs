//! Whether an expression can be evaluated at all: names, types and size, found when the policy is loaded.
//!
//! What passes here can still fail on traffic in few ways, all about values inside `tool.args`, arithmetic, and cost.

use std::sync::Arc;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, SelectExpr, SourceInfo, operators};
use regex::RegexBuilder;

use super::declare::{FINDING, Record, Scope, TOOL, Ty, UNSUPPORTED_VARIABLES, VARIABLES, variable};
use super::functions::{Arg, MACROS, Moment, RegexValue, SIGNATURES, Signature};
use super::typing;
use crate::diagnostic::{Code, nearest};

/// Depth of the syntax tree. Evaluation recurses once per level, which takes some 36 KiB of stack in an unoptimised build: this
/// many fit into half of a thread's usual 2 MiB. Chains of `&&` and `||` are balanced trees and hardly count.
const TREE_DEPTH_MAX: usize = 24;
/// `exists` inside `exists` is useful; a third level multiplies the cost without a use that is known.
const COMPREHENSIONS_NESTED_MAX: usize = 2;
/// Calls of `matches` in one expression; each may read a whole tool argument.
const REGEXES_MAX: usize = 4;
/// Bytes of one regular expression in an expression.
const REGEX_BYTES_MAX: usize = 512;
/// Memory of one compiled regular expression, so that `(\w{500}){500}` is refused here and not paid for later.
const REGEX_COMPILED_BYTES_MAX: usize = 256 * 1024;
/// Memory of the lazily built automaton of one regular expression.
const REGEX_DFA_BYTES_MAX: usize = 1024 * 1024;

/// Prefix of the names under which the evaluator finds an expression's regular expressions. Not writable in the language.
pub(super) const REGEX_PREFIX: &str = "@regex";
/// Name that the standard macros give to their accumulator. Not writable in the language.
const ACCUMULATOR: &str = "@result";

/// A mistake in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) code: Code,
    /// In characters from the start of the expression.
    pub(super) offset: Option<usize>,
    pub(super) message: String,
}

/// What the checker learned about an expression that is in order.
#[derive(Debug, Default)]
pub(super) struct Learned {
    pub(super) uses_findings: bool,
    pub(super) uses_variables: bool,
    pub(super) reads_tool_args: bool,
    /// Whether it asks for `class` of a finding at all.
    pub(super) reads_class: bool,
    /// Literals that it compares a finding's class with, when all comparisons are with literals.
    pub(super) classes: Vec<String>,
    pub(super) regexes: Vec<RegexValue>,
}

/// Checks an expression that must be a condition, and prepares it for evaluation (regular expressions are compiled, their
/// literals replaced by references).
pub(super) fn check(expr: &mut IdedExpr, info: &SourceInfo, scope: Scope) -> Result<Learned, Vec<Problem>> {
    let mut checker = Checker {
        info,
        scope,
        locals: Vec::new(),
        depth: 0,
        comprehensions: 0,
        problems: Vec::new(),
        learned: Learned::default(),
    };
    let id = expr.id;
    let ty = checker.expr(expr);
    if !matches!(ty, Ty::Bool | Ty::Dyn) && checker.problems.is_empty() {
        checker.problem(
            Code::ExpressionType,
            id,
            0,
            format!("the expression is {}, not a condition; compare it with something", typing::article(&ty)),
        );
    }
    if checker.problems.is_empty() { Ok(checker.learned) } else { Err(checker.problems) }
}

struct Checker<'i> {
    info: &'i SourceInfo,
    scope: Scope,
    locals: Vec<(String, Ty)>,
    depth: usize,
    comprehensions: usize,
    problems: Vec<Problem>,
    learned: Learned,
}

impl Checker<'_> {
    fn problem(&mut self, code: Code, id: u64, shift: usize, message: String) {
        let offset = self.info.offset_for(id).map(|(start, _)| start as usize + shift);
        let problem = Problem { code, offset, message };
        // A macro's argument is checked in more than one copy.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn type_problem(&mut self, id: u64, message: String) -> Ty {
        self.problem(Code::ExpressionType, id, 0, message);
        Ty::Dyn
    }

    fn typed(&mut self, id: u64, ty: Result<Ty, String>) -> Ty {
        ty.unwrap_or_else(|message| self.type_problem(id, message))
    }

    fn fits(&mut self, id: u64, fit: Result<(), String>) {
        if let Err(message) = fit {
            self.type_problem(id, message);
        }
    }

    fn expr(&mut self, node: &mut IdedExpr) -> Ty {
        if self.depth >= TREE_DEPTH_MAX {
            self.problem(
                Code::ExpressionLimit,
                node.id,
                0,
                format!("the expression is nested more than {TREE_DEPTH_MAX} levels deep; split the rule"),
            );
            return Ty::Dyn;
        }
        self.depth += 1;
        let id = node.id;
        let ty = match &mut node.expr {
            Expr::Literal(literal) => self.literal(id, literal),
            Expr::Ident(name) => self.ident(id, name),
            Expr::Select(select) => self.select(id, select),
            Expr::Call(call) => self.call(id, call),
            Expr::Comprehension(comprehension) => self.comprehension(id, comprehension),
            Expr::List(list) => {
                let mut element = Ty::Nothing;
                for item in &mut list.elements {
                    let item_id = item.id;
                    let ty = self.expr(item);
                    element = self.typed(item_id, typing::join(element, ty));
                }
                Ty::List(Box::new(element))
            }
            Expr::Map(_) | Expr::Struct(_) => {
                self.type_problem(id, "maps and messages cannot be written in an expression".to_owned())
            }
            Expr::Unspecified => self.type_problem(id, "the expression is incomplete".to_owned()),
        };
        self.depth -= 1;
        ty
    }

    fn literal(&mut self, id: u64, literal: &LiteralValue) -> Ty {
        match literal {
            LiteralValue::Boolean(_) => Ty::Bool,
            LiteralValue::Double(_) => Ty::Double,
            LiteralValue::Int(_) => Ty::Int,
            LiteralValue::UInt(_) => Ty::Uint,
            LiteralValue::String(_) => Ty::Text,
            LiteralValue::Null => Ty::Null,
            LiteralValue::Bytes(_) => {
                self.type_problem(id, "bytes are not used in policies; write a string".to_owned())
            }
        }
    }

    fn ident(&mut self, id: u64, name: &str) -> Ty {
        if let Some((_, ty)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return ty.clone();
        }
        if let Some(variable) = variable(name) {
            self.learned.uses_variables = true;
            self.learned.uses_findings |= name == "findings";
            if !variable.is_visible(self.scope) {
                let where_else = variable.phases_in_words();
                let here = self.scope.describe();
                self.problem(
                    Code::ExpressionName,
                    id,
                    0,
                    format!("`{name}` has no value {here}; it has one in: {where_else}"),
                );
                return Ty::Dyn;
            }
            return variable.ty();
        }
        if UNSUPPORTED_VARIABLES.contains(&name) {
            self.problem(Code::Unsupported, id, 0, format!("`{name}` is not supported by this version; remove it"));
            return Ty::Dyn;
        }
        let scope = self.scope;
        let visible = VARIABLES.iter().filter(|variable| variable.is_visible(scope)).map(|variable| variable.name);
        let locals = self.locals.iter().map(|(local, _)| local.as_str());
        let names: Vec<&str> = visible.chain(locals).filter(|name| *name != ACCUMULATOR).collect();
        let message = match nearest(name, names.iter().copied()) {
            Some(near) => format!("`{name}` is not declared; did you mean `{near}`?"),
            None => format!("`{name}` is not declared; what is declared here: {}", names.join(", ")),
        };
        self.problem(Code::ExpressionName, id, 0, message);
        Ty::Dyn
    }

    fn select(&mut self, id: u64, select: &mut SelectExpr) -> Ty {
        let operand = self.expr(&mut select.operand);
        let field = select.field.as_str();
        let ty = match &operand {
            Ty::Record(record) => match record.field(field) {
                Some(ty) => {
                    self.learned.reads_class |= **record == FINDING && field == "class";
                    self.learned.reads_tool_args |= **record == TOOL && field == "args";
                    ty
                }
                None => {
                    self.unknown_field(id, record, field);
                    Ty::Dyn
                }
            },
            Ty::Dyn => Ty::Dyn,
            Ty::List(_) => self.type_problem(
                id,
                format!("a list has no member `{field}`; ask its elements, as in `findings.exists(f, f.class == \"secret\")`"),
            ),
            other => {
                let message = format!("{} has no members", typing::article(other));
                self.type_problem(id, message)
            }
        };
        if select.test { Ty::Bool } else { ty }
    }

    fn unknown_field(&mut self, id: u64, record: &Record, field: &str) {
        let names: Vec<&str> = record.fields.iter().map(|(name, _)| *name).collect();
        let name = record.name;
        let message = match nearest(field, names.iter().copied()) {
            Some(near) => format!("`{name}` has no member `{field}`; did you mean `{near}`?"),
            None => format!("`{name}` has no member `{field}`; it has: {}", names.join(", ")),
        };
        // The node stands at the dot.
        self.problem(Code::ExpressionName, id, 1, message);
    }

    fn call(&mut self, id: u64, call: &mut CallExpr) -> Ty {
        if call.target.is_some() {
            return self.function(id, call);
        }
        let CallExpr { func_name, args, .. } = call;
        match (func_name.as_str(), args.as_mut_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) => {
                self.condition(left);
                self.condition(right);
                Ty::Bool
            }
            (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [operand]) => {
                self.condition(operand);
                Ty::Bool
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                self.condition(condition);
                let yes = self.expr(yes);
                let no_id = no.id;
                let no = self.expr(no);
                self.typed(no_id, typing::join(yes, no))
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                let left_ty = self.expr(left);
                let right_ty = self.expr(right);
                self.fits(id, typing::equality(&left_ty, &right_ty));
                self.note_class(left, right);
                self.note_class(right, left);
                Ty::Bool
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [left, right],
            ) => {
                let left = self.expr(left);
                let right = self.expr(right);
                self.fits(id, typing::order(&left, &right));
                Ty::Bool
            }
            (operators::IN, [element, list]) => {
                let element_ty = self.expr(element);
                let list_ty = self.expr(list);
                self.fits(id, typing::membership(&element_ty, &list_ty));
                self.note_classes(element, list);
                Ty::Bool
            }
            (
                operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
                [left, right],
            ) => {
                let is_add = func_name.as_str() == operators::ADD;
                let left = self.expr(left);
                let right = self.expr(right);
                self.typed(id, typing::arithmetic(is_add, left, right))
            }
            (operators::NEGATE, [operand]) => {
                let operand = self.expr(operand);
                self.typed(id, typing::negation(operand))
            }
            (operators::INDEX, [operand, index]) => {
                let operand = self.expr(operand);
                let index = self.expr(index);
                self.typed(id, typing::index(operand, &index))
            }
            _ => self.function(id, call),
        }
    }

    fn condition(&mut self, node: &mut IdedExpr) {
        let id = node.id;
        let ty = self.expr(node);
        if !matches!(ty, Ty::Bool | Ty::Dyn) {
            self.type_problem(id, format!("{} stands where a condition is needed", typing::article(&ty)));
        }
    }

    fn comprehension(&mut self, id: u64, comprehension: &mut ComprehensionExpr) -> Ty {
        let range_id = comprehension.iter_range.id;
        let range = self.expr(&mut comprehension.iter_range);
        let element = self.typed(range_id, typing::element(range));
        if self.comprehensions >= COMPREHENSIONS_NESTED_MAX {
            self.problem(
                Code::ExpressionLimit,
                id,
                0,
                format!("`exists`, `all`, `map` and `filter` may be nested {COMPREHENSIONS_NESTED_MAX} deep"),
            );
            return Ty::Dyn;
        }
        let name = comprehension.iter_var.clone();
        let is_taken = variable(&name).is_some()
            || UNSUPPORTED_VARIABLES.contains(&name.as_str())
            || self.locals.iter().any(|(local, _)| *local == name);
        if is_taken {
            self.problem(
                Code::ExpressionName,
                id,
                0,
                format!("`{name}` already means something here; give the element another name"),
            );
        }
        self.comprehensions += 1;
        let outer_locals = self.locals.len();
        let accumulator = self.expr(&mut comprehension.accu_init);
        self.locals.push((name, element));
        self.locals.push((comprehension.accu_var.clone(), accumulator));
        self.condition(&mut comprehension.loop_cond);
        let step = self.expr(&mut comprehension.loop_step);
        // `[]` has learned what it holds.
        if let Some((_, accumulator)) = self.locals.last_mut() {
            *accumulator = step;
        }
        let result = self.expr(&mut comprehension.result);
        self.locals.truncate(outer_locals);
        self.comprehensions -= 1;
        result
    }

    fn function(&mut self, id: u64, call: &mut CallExpr) -> Ty {
        let receiver = call.target.as_deref_mut().map(|target| self.expr(target));
        let name = call.func_name.as_str();
        let mut candidates = SIGNATURES.iter().filter(|signature| signature.name == name).peekable();
        if candidates.peek().is_none() {
            self.unknown_function(id, name);
            return Ty::Dyn;
        }
        let fitting = candidates.find(|signature| {
            signature.receiver.is_some() == receiver.is_some() && signature.args.len() == call.args.len()
        });
        let Some(signature) = fitting else {
            let message = format!("`{name}` is called as {}", usage(name));
            return self.type_problem(id, message);
        };
        if let (Some(expected), Some(ty)) = (signature.receiver, &receiver) {
            self.argument(id, name, expected, ty);
        }
        for (expected, arg) in signature.args.iter().zip(&mut call.args) {
            let arg_id = arg.id;
            let ty = self.expr(arg);
            self.argument(arg_id, name, *expected, &ty);
            if *expected == Arg::TextLiteral {
                self.literal_argument(name, arg);
            }
        }
        signature.result.ty()
    }

    fn argument(&mut self, id: u64, function: &str, expected: Arg, ty: &Ty) {
        let fits = match expected {
            Arg::Text => matches!(ty, Ty::Text | Ty::Dyn),
            Arg::TextLiteral => matches!(ty, Ty::Text),
            Arg::Time => matches!(ty, Ty::Time),
            Arg::Sized => matches!(ty, Ty::Text | Ty::List(_) | Ty::Dyn),
            Arg::Scalar => ty.is_number() || matches!(ty, Ty::Text | Ty::Bool | Ty::Dyn),
        };
        if !fits {
            self.type_problem(id, format!("`{function}` does not take {}", typing::article(ty)));
        }
    }

    /// Turns a literal that a function needs at load time into what it needs.
    fn literal_argument(&mut self, function: &str, arg: &mut IdedExpr) {
        let Expr::Literal(LiteralValue::String(literal)) = &arg.expr else {
            self.type_problem(
                arg.id,
                format!(
                    "`{function}` takes a text that is written out, so that it can be checked when the policy is loaded"
                ),
            );
            return;
        };
        if function == "timestamp" {
            if Moment::parse(literal.inner()).is_none() {
                self.type_problem(arg.id, "not a time; write one like \"2027-01-31T00:00:00Z\"".to_owned());
            }
            return;
        }
        match self.compile_regex(literal.inner()) {
            Ok(regex) => {
                let reference = format!("{REGEX_PREFIX}{}", self.learned.regexes.len());
                self.learned.regexes.push(regex);
                arg.expr = Expr::Ident(reference);
            }
            Err(message) => self.problem(Code::Regex, arg.id, 0, message),
        }
    }

    fn compile_regex(&self, pattern: &str) -> Result<RegexValue, String> {
        if self.learned.regexes.len() >= REGEXES_MAX {
            return Err(format!("more than {REGEXES_MAX} calls of `matches`; split the rule"));
        }
        if pattern.len() > REGEX_BYTES_MAX {
            return Err(format!("the regular expression is over {REGEX_BYTES_MAX} bytes"));
        }
        crate::pattern::check_syntax(pattern)?;
        RegexBuilder::new(pattern)
            .size_limit(REGEX_COMPILED_BYTES_MAX)
            .dfa_size_limit(REGEX_DFA_BYTES_MAX)
            .build()
            .map(|regex| RegexValue(Arc::new(regex)))
            .map_err(|_| "the regular expression is too big when compiled; use smaller repetitions".to_owned())
    }

    fn unknown_function(&mut self, id: u64, name: &str) {
        let known = SIGNATURES.iter().map(|signature| signature.name);
        let message = match nearest(name, known.chain(MACROS)) {
            Some(near) if near == name => format!("`{name}` is called as {}", usage(name)),
            Some(near) => format!("there is no function `{name}`; did you mean `{near}`?"),
            None => format!("there is no function `{name}` in policies"),
        };
        self.problem(Code::ExpressionName, id, 0, message);
    }

    fn note_class(&mut self, class: &IdedExpr, other: &IdedExpr) {
        if !is_class_of_finding(class) {
            return;
        }
        if let Expr::Literal(LiteralValue::String(literal)) = &other.expr {
            self.learned.classes.push(literal.inner().to_owned());
        }
    }

    fn note_classes(&mut self, class: &IdedExpr, list: &IdedExpr) {
        if let Expr::List(list) = &list.expr {
            for element in &list.elements {
                self.note_class(class, element);
            }
        }
    }
}

fn is_class_of_finding(node: &IdedExpr) -> bool {
    let Expr::Select(select) = &node.expr else {
        return false;
    };
    select.field == "class" && matches!(&select.operand.expr, Expr::Ident(name) if name != "tool")
}

/// How a function is written, for messages.
fn usage(name: &str) -> String {
    let ways: Vec<String> = SIGNATURES.iter().filter(|signature| signature.name == name).map(written).collect();
    if ways.is_empty() {
        return match name {
            "has" => "`has(x.member)`".to_owned(),
            _ => format!("`list.{name}(element, …)`"),
        };
    }
    ways.join(" or ")
}

fn written(signature: &Signature) -> String {
    let args: Vec<&str> = signature
        .args
        .iter()
        .map(|arg| match arg {
            Arg::TextLiteral => "\"…\"",
            Arg::Text => "text",
            Arg::Time => "time",
            Arg::Sized | Arg::Scalar => "x",
        })
        .collect();
    let call = format!("{}({})", signature.name, args.join(", "));
    match signature.receiver {
        Some(Arg::Time) => format!("`time.{call}`"),
        Some(Arg::Sized) => format!("`x.{call}`"),
        Some(_) => format!("`text.{call}`"),
        None => format!("`{call}`"),
    }
}
