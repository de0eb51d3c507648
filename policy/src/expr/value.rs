//! The facts of an exchange as values of the expression language: borrowed, and charging for what is looked at.

use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::traits::{Indexer, Iterable, Iterator as Elements, Sizer};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelString, CelUInt, LIST_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::{ExecutionError, context::VariableResolver};
use serde_json::Value as Json;

use super::functions::{Moment, RegexValue, wrong_type};
use super::json::json;
use crate::facts::{Facts, FindingFacts};

/// Units that one evaluation may spend: some tens of milliseconds of work at worst, however the content is made.
pub(super) const COST_MAX: u64 = 1_000_000;
/// Units for one element of a list.
pub(super) const ELEMENT_COST: u64 = 32;
/// Units for one member of a record or object.
pub(super) const MEMBER_COST: u64 = 8;
/// Bytes of text per unit.
const TEXT_BYTES_PER_UNIT: u64 = 64;

/// What one evaluation has spent. Atomic only because the evaluator wants values that can be shared between threads.
#[derive(Debug, Default)]
pub(super) struct Cost(AtomicU64);

impl Cost {
    pub(super) fn charge(&self, units: u64) -> Result<(), ExecutionError> {
        // The sum cannot wrap: a single charge is at most the length of a body.
        self.0.fetch_add(units, Ordering::Relaxed);
        if self.is_exhausted() {
            return Err(ExecutionError::InternalError(String::new()));
        }
        Ok(())
    }

    pub(super) fn charge_text(&self, text: &str) -> Result<(), ExecutionError> {
        self.charge(text_cost(text))
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.0.load(Ordering::Relaxed) > COST_MAX
    }
}

pub(super) fn text_cost(text: &str) -> u64 {
    text.len() as u64 / TEXT_BYTES_PER_UNIT
}

/// The variables of one evaluation.
#[derive(Debug)]
pub(super) struct Variables<'v> {
    pub(super) facts: &'v Facts<'v>,
    pub(super) findings: &'v [FindingValue<'v>],
    pub(super) regexes: &'v [RegexValue],
    pub(super) cost: &'v Cost,
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let record = match name {
            "findings" => {
                return Some(CowVal::owned(FindingList { items: self.findings, cost: self.cost }));
            }
            "now" => {
                return Some(CowVal::owned(Moment::from_unix_s(self.facts.now_unix_s)));
            }
            "caller" => RecordKind::Caller,
            "request" => RecordKind::Request,
            "message" => RecordKind::Message,
            "tool" => RecordKind::Tool,
            "response" => RecordKind::Response,
            "schema" => RecordKind::Schema,
            _ => {
                let index: usize = name.strip_prefix(super::check::REGEX_PREFIX)?.parse().ok()?;
                return self.regexes.get(index).map(|regex| CowVal::Borrowed(regex as _));
            }
        };
        Some(CowVal::owned(RecordValue { kind: record, facts: self.facts, cost: self.cost }))
    }
}

static RECORD_TYPE: Type = Type::new_unspecified_type("clyra.Record");

#[derive(Debug, Clone, Copy)]
enum RecordKind {
    Caller,
    Request,
    Message,
    Tool,
    Response,
    Schema,
}

/// One of the variables that have members.
#[derive(Debug, Clone, Copy)]
struct RecordValue<'v> {
    kind: RecordKind,
    facts: &'v Facts<'v>,
    cost: &'v Cost,
}

pub(super) fn field_name(key: &dyn Val) -> Result<&str, ExecutionError> {
    key.downcast_ref::<CelString<'_>>().map(|key| key.inner()).ok_or_else(wrong_type)
}

pub(super) fn missing() -> ExecutionError {
    ExecutionError::no_such_key("")
}

fn text<'b, 'v>(text: &'v str, cost: &Cost) -> Result<CowVal<'b, 'v>, ExecutionError> {
    cost.charge_text(text)?;
    Ok(CowVal::owned(CelString::from(text)))
}

fn int<'b, 'v>(value: u64) -> CowVal<'b, 'v> {
    CowVal::owned(CelInt::from(i64::try_from(value).unwrap_or(i64::MAX)))
}

impl Indexer for RecordValue<'_> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let facts = self.facts;
        let cost = self.cost;
        cost.charge(MEMBER_COST)?;
        match (self.kind, field_name(key)?) {
            (RecordKind::Caller, "id") => text(&facts.caller.id, cost),
            (RecordKind::Caller, "tenant") => text(&facts.caller.tenant, cost),
            (RecordKind::Request, "surface") => text(&facts.request.surface, cost),
            (RecordKind::Request, "route") => text(&facts.request.route, cost),
            (RecordKind::Request, "model") => text(&facts.request.model, cost),
            (RecordKind::Request, "app") => text(&facts.request.app, cost),
            (RecordKind::Request, "run_id") => text(&facts.request.run_id, cost),
            (RecordKind::Request, "stream") => Ok(CowVal::owned(CelBool::from(facts.request.stream))),
            (RecordKind::Request, "bytes") => Ok(int(facts.request.bytes)),
            (RecordKind::Request, "tools") => {
                let mut names: Vec<Box<dyn Val + 'v>> = Vec::new();
                for name in &facts.request.tools {
                    cost.charge(ELEMENT_COST + text_cost(name))?;
                    names.push(Box::new(CelString::from(name.as_str())));
                }
                Ok(CowVal::owned(CelList::from(names)))
            }
            (RecordKind::Message, "role") => text(facts.message.map_or("", |m| m.role), cost),
            (RecordKind::Tool, "name") => text(facts.tool.map_or("", |tool| tool.name), cost),
            (RecordKind::Tool, "args") => {
                json(facts.tool.map_or(&Json::Null, |tool| tool.args), cost).map(CowVal::Owned)
            }
            (RecordKind::Response, "model") => text(facts.response.map_or("", |r| r.model), cost),
            (RecordKind::Response, "finish_reason") => text(facts.response.map_or("", |r| r.finish_reason), cost),
            (RecordKind::Response, "status") => Ok(int(u64::from(facts.response.map_or(0, |r| r.status)))),
            (RecordKind::Schema, "id") => text(facts.schema.map_or("", |s| s.id), cost),
            (RecordKind::Schema, "verdict") => text(facts.schema.map_or("", |s| s.verdict), cost),
            _ => Err(missing()),
        }
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Val for RecordValue<'_> {
    fn get_type(&self) -> &Type {
        &RECORD_TYPE
    }

    fn cel_type() -> &'static Type {
        &RECORD_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

/// One element of `findings`.
#[derive(Debug, Clone, Copy)]
pub(super) struct FindingValue<'v> {
    pub(super) facts: &'v FindingFacts<'v>,
    pub(super) cost: &'v Cost,
}

impl Indexer for FindingValue<'_> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let facts = self.facts;
        let cost = self.cost;
        cost.charge(MEMBER_COST)?;
        match field_name(key)? {
            "detector" => text(&facts.detector, cost),
            "class" => text(&facts.class, cost),
            // Both sides of `f.score >= 0.8` are the double nearest to the decimal number, so that equal is equal.
            "score" => Ok(CowVal::owned(CelDouble::from(f64::from(facts.score_ppm) / 1_000_000.0))),
            "channel" => text(&facts.channel, cost),
            "place" => text(&facts.place, cost),
            "owasp" => text(facts.owasp.as_deref().unwrap_or_default(), cost),
            "atlas" => text(facts.atlas.as_deref().unwrap_or_default(), cost),
            _ => Err(missing()),
        }
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Val for FindingValue<'_> {
    fn get_type(&self) -> &Type {
        &RECORD_TYPE
    }

    fn cel_type() -> &'static Type {
        &RECORD_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

/// The variable `findings`.
#[derive(Debug, Clone, Copy)]
struct FindingList<'v> {
    items: &'v [FindingValue<'v>],
    cost: &'v Cost,
}

impl Val for FindingList<'_> {
    fn get_type(&self) -> &Type {
        &LIST_TYPE
    }

    fn cel_type() -> &'static Type {
        &LIST_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Sizer for FindingList<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.items.len()).unwrap_or(i64::MAX))
    }
}

impl Indexer for FindingList<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let item = position(index).and_then(|index| self.items.get(index));
        item.map(|item| CowVal::owned(*item)).ok_or_else(out_of_bounds)
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Iterable for FindingList<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn Elements<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(FindingElements { items: self.items.iter(), cost: self.cost })
    }
}

struct FindingElements<'i, 'r> {
    items: std::slice::Iter<'i, FindingValue<'r>>,
    cost: &'i Cost,
}

impl<'b, 'v, 'i: 'b, 'r: 'v> Elements<'b, 'v> for FindingElements<'i, 'r>
where
    'r: 'b,
{
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        // Ending early would be a wrong answer; whoever asked looks at the cost afterwards and discards it.
        self.cost.charge(ELEMENT_COST).ok()?;
        self.items.next().map(|item| item as &(dyn Val + 'v))
    }
}

pub(super) fn position(index: &dyn Val) -> Option<usize> {
    if let Some(index) = index.downcast_ref::<CelInt>() {
        return usize::try_from(*index.inner()).ok();
    }
    index.downcast_ref::<CelUInt>().and_then(|index| usize::try_from(*index.inner()).ok())
}

pub(super) fn out_of_bounds() -> ExecutionError {
    ExecutionError::IndexOutOfBounds(cel::Value::Null)
}
