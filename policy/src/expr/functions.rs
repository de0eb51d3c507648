//! The functions that expressions may call beyond operators, and the evaluator's environment that has them.
//!
//! Two are replaced and some are added, because the crate's own compile a regular expression on every call (`matches`) or bring
//! a time zone database along (`timestamp`).

use std::any::Any;
use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use cel::common::traits::Comparer;
use cel::common::types::{CelBool, CelInt, CelString, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use regex::Regex;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::declare::Ty;

/// Type of a function's argument or receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arg {
    Text,
    Time,
    /// A text that is written out in the expression.
    TextLiteral,
    /// A text, a list, or a value inside `tool.args`.
    Sized,
    /// A bool, a number or a text.
    Scalar,
}

/// One function that expressions may call.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    /// What stands before the dot, for functions that are called that way.
    pub(super) receiver: Option<Arg>,
    pub(super) args: &'static [Arg],
    pub(super) result: ResultTy,
}

/// Type of what a function returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultTy {
    Bool,
    Int,
    Double,
    Text,
    Time,
}

impl ResultTy {
    pub(super) fn ty(self) -> Ty {
        match self {
            Self::Bool => Ty::Bool,
            Self::Int => Ty::Int,
            Self::Double => Ty::Double,
            Self::Text => Ty::Text,
            Self::Time => Ty::Time,
        }
    }
}

const fn text_method(name: &'static str, args: &'static [Arg], result: ResultTy) -> Signature {
    Signature { name, receiver: Some(Arg::Text), args, result }
}

const fn time_method(name: &'static str) -> Signature {
    Signature { name, receiver: Some(Arg::Time), args: &[], result: ResultTy::Int }
}

const fn global(name: &'static str, arg: &'static [Arg], result: ResultTy) -> Signature {
    Signature { name, receiver: None, args: arg, result }
}

pub(super) static SIGNATURES: [Signature; 19] = [
    text_method("contains", &[Arg::Text], ResultTy::Bool),
    text_method("startsWith", &[Arg::Text], ResultTy::Bool),
    text_method("endsWith", &[Arg::Text], ResultTy::Bool),
    text_method("matches", &[Arg::TextLiteral], ResultTy::Bool),
    text_method("lowerAscii", &[], ResultTy::Text),
    Signature { name: "size", receiver: Some(Arg::Sized), args: &[], result: ResultTy::Int },
    global("size", &[Arg::Sized], ResultTy::Int),
    global("string", &[Arg::Scalar], ResultTy::Text),
    global("int", &[Arg::Scalar], ResultTy::Int),
    global("double", &[Arg::Scalar], ResultTy::Double),
    global("timestamp", &[Arg::TextLiteral], ResultTy::Time),
    time_method("getFullYear"),
    time_method("getMonth"),
    time_method("getDate"),
    time_method("getDayOfMonth"),
    time_method("getDayOfWeek"),
    time_method("getDayOfYear"),
    time_method("getHours"),
    time_method("getMinutes"),
];

/// Names that may follow a dot as macros over lists.
pub(super) const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];

/// A moment, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(OffsetDateTime);

static MOMENT_TYPE: Type = Type::new_unspecified_type("google.protobuf.Timestamp");

impl Moment {
    /// Times outside the calendar's range become its nearer end.
    pub(super) fn from_unix_s(seconds: i64) -> Self {
        Self(OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(if seconds < 0 {
            OffsetDateTime::UNIX_EPOCH
        } else {
            time::PrimitiveDateTime::MAX.assume_utc()
        }))
    }

    /// RFC 3339, any offset.
    pub(super) fn parse(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(|moment| Self(moment.to_offset(time::UtcOffset::UTC)))
    }
}

impl Val for Moment {
    fn get_type(&self) -> &Type {
        &MOMENT_TYPE
    }

    fn cel_type() -> &'static Type {
        &MOMENT_TYPE
    }

    fn as_comparer(&self) -> Option<&dyn Comparer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>() == Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(*self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Moment {}

impl Comparer for Moment {
    fn compare(&self, other: &dyn Val) -> Result<Ordering, ExecutionError> {
        other.downcast_ref::<Self>().map(|other| self.cmp(other)).ok_or_else(wrong_type)
    }
}

/// A regular expression of an expression, compiled when the policy was loaded.
#[derive(Debug, Clone)]
pub(super) struct RegexValue(pub(super) Arc<Regex>);

static REGEX_TYPE: Type = Type::new_unspecified_type("clyra.Regex");

impl Val for RegexValue {
    fn get_type(&self) -> &Type {
        &REGEX_TYPE
    }

    fn cel_type() -> &'static Type {
        &REGEX_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for RegexValue {}

/// The evaluator's functions. Built once: it is the same for every policy.
pub(super) static ENVIRONMENT: LazyLock<Result<Arc<Env>, DeclarationError>> =
    LazyLock::new(|| environment().map(Arc::new));

fn environment() -> Result<Env, DeclarationError> {
    let mut env = Env::stdlib().with_optional_support(false);
    let regex_type = || REGEX_TYPE.to_owned();
    let time_type = || MOMENT_TYPE.to_owned();
    env.add_member_overload("matches", "clyra_matches", STRING_TYPE, vec![regex_type()], matches)?;
    env.add_member_overload("lowerAscii", "clyra_lower_ascii", STRING_TYPE, Vec::new(), lower_ascii)?;
    env.add_overload("timestamp", "clyra_timestamp", vec![STRING_TYPE], timestamp)?;
    let parts: [(&str, &str, cel::common::functions::Function); 8] = [
        ("getFullYear", "clyra_get_full_year", |args| part(&args, |at| i64::from(at.year()))),
        ("getMonth", "clyra_get_month", |args| part(&args, |at| i64::from(u8::from(at.month())) - 1)),
        ("getDate", "clyra_get_date", |args| part(&args, |at| i64::from(at.day()))),
        ("getDayOfMonth", "clyra_get_day_of_month", |args| part(&args, |at| i64::from(at.day()) - 1)),
        ("getDayOfWeek", "clyra_get_day_of_week", |args| {
            part(&args, |at| i64::from(at.weekday().number_days_from_sunday()))
        }),
        ("getDayOfYear", "clyra_get_day_of_year", |args| part(&args, |at| i64::from(at.ordinal()) - 1)),
        ("getHours", "clyra_get_hours", |args| part(&args, |at| i64::from(at.hour()))),
        ("getMinutes", "clyra_get_minutes", |args| part(&args, |at| i64::from(at.minute()))),
    ];
    for (name, id, function) in parts {
        env.add_member_overload(name, id, time_type(), Vec::new(), function)?;
    }
    Ok(env)
}

/// Which operand was wrong is known from the rule; its value must not be repeated.
pub(super) fn wrong_type() -> ExecutionError {
    ExecutionError::UnexpectedType { got: String::new(), want: String::new() }
}

fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, regex] = args.as_slice() else {
        return Err(wrong_type());
    };
    let (Some(text), Some(regex)) = (text.downcast_ref::<CelString<'_>>(), regex.downcast_ref::<RegexValue>()) else {
        return Err(wrong_type());
    };
    Ok(CowVal::owned(CelBool::from(regex.0.is_match(text.inner()))))
}

fn lower_ascii<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = args.first().and_then(|arg| arg.downcast_ref::<CelString<'_>>()).ok_or_else(wrong_type)?;
    Ok(CowVal::owned(CelString::from(text.inner().to_ascii_lowercase())))
}

fn timestamp<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    args.first()
        .and_then(|arg| arg.downcast_ref::<CelString<'_>>())
        .and_then(|text| Moment::parse(text.inner()))
        .map(CowVal::owned)
        .ok_or_else(wrong_type)
}

fn part<'b, 'v>(args: &[CowVal<'b, 'v>], pick: fn(&OffsetDateTime) -> i64) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let moment = args.first().and_then(|arg| arg.downcast_ref::<Moment>()).ok_or_else(wrong_type)?;
    Ok(CowVal::owned(CelInt::from(pick(&moment.0))))
}
