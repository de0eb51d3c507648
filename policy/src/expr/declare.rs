//! The variables that expressions may name, with their types, and where each has a value.

use crate::model::Phase;

/// Type of a subexpression, as far as it can be known before there is traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ty {
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Null,
    Time,
    List(Box<Ty>),
    Record(&'static Record),
    /// Known only when it is evaluated: values inside `tool.args`.
    Dyn,
    /// The elements of `[]`.
    Nothing,
}

impl Ty {
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// The name for people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Bool => "bool".to_owned(),
            Self::Int => "int".to_owned(),
            Self::Uint => "uint".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Text => "string".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Time => "timestamp".to_owned(),
            Self::List(element) => format!("list({})", element.name()),
            Self::Record(record) => record.name.to_owned(),
            Self::Dyn => "dyn".to_owned(),
            Self::Nothing => "nothing".to_owned(),
        }
    }
}

/// A value with named members.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: &'static str,
    pub(super) fields: &'static [(&'static str, Field)],
}

impl Record {
    pub(super) fn field(&self, name: &str) -> Option<Ty> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, field)| field.ty())
    }
}

/// Type of a record's member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Bool,
    Int,
    Double,
    Text,
    TextList,
    Dyn,
}

impl Field {
    pub(super) fn ty(self) -> Ty {
        match self {
            Self::Bool => Ty::Bool,
            Self::Int => Ty::Int,
            Self::Double => Ty::Double,
            Self::Text => Ty::Text,
            Self::TextList => Ty::List(Box::new(Ty::Text)),
            Self::Dyn => Ty::Dyn,
        }
    }
}

pub(super) static CALLER: Record = Record { name: "caller", fields: &[("id", Field::Text), ("tenant", Field::Text)] };

pub(super) static REQUEST: Record = Record {
    name: "request",
    fields: &[
        ("surface", Field::Text),
        ("route", Field::Text),
        ("model", Field::Text),
        ("stream", Field::Bool),
        ("tools", Field::TextList),
        ("app", Field::Text),
        ("run_id", Field::Text),
        ("bytes", Field::Int),
    ],
};

pub(super) static MESSAGE: Record = Record { name: "message", fields: &[("role", Field::Text)] };

pub(super) static TOOL: Record = Record { name: "tool", fields: &[("name", Field::Text), ("args", Field::Dyn)] };

pub(super) static RESPONSE: Record = Record {
    name: "response",
    fields: &[("model", Field::Text), ("finish_reason", Field::Text), ("status", Field::Int)],
};

pub(super) static FINDING: Record = Record {
    name: "finding",
    fields: &[
        ("detector", Field::Text),
        ("class", Field::Text),
        ("score", Field::Double),
        ("channel", Field::Text),
        ("place", Field::Text),
        ("owasp", Field::Text),
        ("atlas", Field::Text),
    ],
};

pub(super) static SCHEMA: Record = Record { name: "schema", fields: &[("id", Field::Text), ("verdict", Field::Text)] };

/// Where an expression stands, which decides what it can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// `when` of a rule, or `match` of an exception to it.
    Rule(Phase),
    /// `match` of a schema, asked when the request comes in.
    SchemaMatch,
}

impl Scope {
    pub(super) fn describe(self) -> String {
        match self {
            Self::Rule(phase) => format!("in phase `{}`", phase.as_str()),
            Self::SchemaMatch => "in the `match` of a schema".to_owned(),
        }
    }
}

/// A variable and the scopes in which it has a value.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    kind: VariableKind,
    phases: &'static [Phase],
    in_schema_match: bool,
}

#[derive(Debug)]
enum VariableKind {
    Record(&'static Record),
    Findings,
    Now,
}

impl Variable {
    pub(super) fn ty(&self) -> Ty {
        match self.kind {
            VariableKind::Record(record) => Ty::Record(record),
            VariableKind::Findings => Ty::List(Box::new(Ty::Record(&FINDING))),
            VariableKind::Now => Ty::Time,
        }
    }

    pub(super) fn is_visible(&self, scope: Scope) -> bool {
        match scope {
            Scope::Rule(phase) => self.phases.contains(&phase),
            Scope::SchemaMatch => self.in_schema_match,
        }
    }

    /// The phases that see it, for messages.
    pub(super) fn phases_in_words(&self) -> String {
        let names: Vec<&str> = self.phases.iter().map(|phase| phase.as_str()).collect();
        names.join(", ")
    }
}

pub(super) static VARIABLES: [Variable; 8] = [
    Variable { name: "caller", kind: VariableKind::Record(&CALLER), phases: &Phase::ALL, in_schema_match: true },
    Variable { name: "request", kind: VariableKind::Record(&REQUEST), phases: &Phase::ALL, in_schema_match: true },
    Variable { name: "message", kind: VariableKind::Record(&MESSAGE), phases: &Phase::ALL, in_schema_match: false },
    Variable {
        name: "tool",
        kind: VariableKind::Record(&TOOL),
        phases: &[Phase::ToolCall, Phase::ToolResult],
        in_schema_match: false,
    },
    Variable {
        name: "response",
        kind: VariableKind::Record(&RESPONSE),
        phases: &[Phase::ToolCall, Phase::Response],
        in_schema_match: false,
    },
    Variable { name: "findings", kind: VariableKind::Findings, phases: &Phase::ALL, in_schema_match: false },
    Variable {
        name: "schema",
        kind: VariableKind::Record(&SCHEMA),
        phases: &[Phase::Response],
        in_schema_match: false,
    },
    Variable { name: "now", kind: VariableKind::Now, phases: &Phase::ALL, in_schema_match: true },
];

/// Variables of the policy language that this version has no values for.
pub(super) const UNSUPPORTED_VARIABLES: [&str; 2] = ["budget", "session"];

pub(super) fn variable(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}
