//! Advice about a policy that loads: what has no effect, soon will have none, or can never happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::expr::{Program, Subject, eval};
use crate::facts::{Facts, RequestFacts};
use crate::model::{Action, Mode, SchemaSource, StreamMode};
use crate::policy::{Place, Policy, Rule};

/// How long before its end an exception is mentioned.
const EXPIRY_NOTICE_S: i64 = 14 * 24 * 60 * 60;

/// What a piece of advice is about. The names are part of the command line's JSON output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AdviceCode {
    /// The policy enforces, and has neither rules nor schemas.
    NoRules,
    /// The condition is false or fails whatever the exchange is.
    NeverFires,
    /// The condition is true whatever the exchange is.
    AlwaysFires,
    /// A rule of action allow; it changes no decision.
    AllowChangesNothing,
    /// Another rule of the phase has the same condition and action.
    DuplicateRule,
    /// Another rule of the phase has the same condition, or none, and is stricter.
    ShadowedRule,
    /// A rule asks for a class that nothing known makes.
    UnknownClass,
    /// No rule looks at the findings of this pattern.
    UnusedPattern,
    /// Something under `repair` of a schema that can never, or hardly ever, be done.
    UnusedRepair,
    /// An exception to a rule that does not exist.
    UnknownRule,
    /// An exception that has ended.
    ExpiredException,
    /// An exception that ends within 14 days.
    ExpiringException,
}

impl AdviceCode {
    /// The stable name, as in JSON output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRules => "no_rules",
            Self::NeverFires => "never_fires",
            Self::AlwaysFires => "always_fires",
            Self::AllowChangesNothing => "allow_changes_nothing",
            Self::DuplicateRule => "duplicate_rule",
            Self::ShadowedRule => "shadowed_rule",
            Self::UnknownClass => "unknown_class",
            Self::UnusedPattern => "unused_pattern",
            Self::UnusedRepair => "unused_repair",
            Self::UnknownRule => "unknown_rule",
            Self::ExpiredException => "expired_exception",
            Self::ExpiringException => "expiring_exception",
        }
    }
}

/// Something about a valid policy that its author may not have meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    pub code: AdviceCode,
    /// What it is and what to do, one sentence.
    pub message: String,
    /// Path of the entry inside the document, like `rules[2]`; empty for the document itself.
    pub path: String,
    pub file: String,
    /// Counted from 1; 0 for the document itself.
    pub line: u32,
    /// In characters, counted from 1; 0 for the document itself.
    pub column: u32,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {} [{}]", self.message, self.code.as_str())
    }
}

impl Policy {
    /// Advice in file order. `now_unix_s` (seconds since 1970-01-01 UTC) is what exceptions are judged by.
    pub fn lint(&self, now_unix_s: i64) -> Vec<Advice> {
        let mut lint = Lint { policy: self, advice: Vec::new() };
        lint.rules();
        lint.patterns();
        lint.schemas();
        lint.exceptions(now_unix_s);
        let document = &self.document;
        let decides_nothing = document.rules.is_empty() && document.schemas.is_empty();
        if document.mode == Mode::Enforce && decides_nothing {
            lint.add(
                AdviceCode::NoRules,
                &Place::default(),
                "the policy enforces, but has no rules and no schemas: everything that can be read passes".to_owned(),
            );
        }
        lint.advice.sort_by_key(|advice| (advice.line, advice.column));
        lint.advice
    }
}

struct Lint<'p> {
    policy: &'p Policy,
    advice: Vec<Advice>,
}

impl Lint<'_> {
    fn add(&mut self, code: AdviceCode, place: &Place, message: String) {
        self.advice.push(Advice {
            code,
            message,
            path: place.path.clone(),
            file: self.policy.document.file.clone(),
            line: place.at.line,
            column: place.at.column,
        });
    }

    fn rules(&mut self) {
        let document = &self.policy.document;
        let rules = &document.rules;
        // A class in the policy's own threat map is known to its author, whoever makes it.
        let known: BTreeSet<&str> = document
            .threats
            .keys()
            .chain(document.patterns.iter().map(|pattern| &pattern.class))
            .map(String::as_str)
            .collect();
        for (index, rule) in rules.iter().enumerate() {
            self.constant(rule);
            if rule.action == Action::Allow {
                self.add(
                    AdviceCode::AllowChangesNothing,
                    &rule.place,
                    format!(
                        "rule `{}` allows, which no rule needs: the strictest wins; to spare something from a rule, write an exception",
                        rule.id
                    ),
                );
            } else {
                self.shadow(index, rule);
            }
            for class in rule.when.iter().flat_map(Program::classes) {
                if !known.contains(class.as_str()) {
                    let hint = crate::diagnostic::nearest(class, known.iter().copied())
                        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                    self.add(
                        AdviceCode::UnknownClass,
                        &rule.place,
                        format!(
                            "rule `{}` asks for class `{class}`, which no built-in detector and no pattern of this policy makes{hint}",
                            rule.id
                        ),
                    );
                }
            }
        }
    }

    fn constant(&mut self, rule: &Rule) {
        let Some(program) = rule.when.as_ref().filter(|program| program.is_constant()) else {
            return;
        };
        let caller = self.policy.caller(None);
        let request = RequestFacts::default();
        let facts = Facts::new(&caller, &request, 0);
        let (code, message) = match eval(program, &facts, Subject::All) {
            Ok(true) => (
                AdviceCode::AlwaysFires,
                format!("rule `{}` fires on everything; leave `when` out if that is meant", rule.id),
            ),
            Ok(false) => {
                (AdviceCode::NeverFires, format!("rule `{}` can never fire: its condition is always false", rule.id))
            }
            Err(failure) => {
                (AdviceCode::NeverFires, format!("the condition of rule `{}` always fails: {failure}", rule.id))
            }
        };
        self.add(code, &rule.place, message);
    }

    /// Another rule that makes this one pointless.
    fn shadow(&mut self, index: usize, rule: &Rule) {
        let rules = self.policy.document.rules.iter().enumerate();
        let others = rules.filter(|(other, _)| *other != index);
        for (other_index, other) in others {
            if other.phase != rule.phase || self.has_exception(other) {
                continue;
            }
            let is_same = condition(other) == condition(rule);
            if is_same && other.action == rule.action && other_index < index {
                self.add(
                    AdviceCode::DuplicateRule,
                    &rule.place,
                    format!("rule `{}` says the same as rule `{}`", rule.id, other.id),
                );
                return;
            }
            if other.action > rule.action && (is_same || other.when.is_none()) {
                self.add(
                    AdviceCode::ShadowedRule,
                    &rule.place,
                    format!(
                        "rule `{}` has no effect: whenever it fires, rule `{}` does too and is stricter",
                        rule.id, other.id
                    ),
                );
                return;
            }
        }
    }

    fn has_exception(&self, rule: &Rule) -> bool {
        let mut exceptions = self.policy.document.exceptions.iter();
        exceptions.any(|exception| exception.rule == rule.id)
    }

    fn patterns(&mut self) {
        let document = &self.policy.document;
        // A rule that looks at findings without naming classes may be about any of them.
        let is_general = |rule: &Rule| match &rule.when {
            None => true,
            Some(program) => program.uses_findings() && (!program.reads_class() || program.classes().is_empty()),
        };
        if document.rules.iter().any(is_general) {
            return;
        }
        let asked: BTreeSet<&str> = document
            .rules
            .iter()
            .filter_map(|rule| rule.when.as_ref())
            .flat_map(Program::classes)
            .map(String::as_str)
            .collect();
        let unused: BTreeMap<&str, (&str, &Place)> = document
            .patterns
            .iter()
            .zip(&document.pattern_places)
            .filter(|(pattern, _)| !asked.contains(pattern.class.as_str()))
            .map(|(pattern, place)| (pattern.id.as_str(), (pattern.class.as_str(), place)))
            .collect();
        for (id, (class, place)) in unused {
            self.add(
                AdviceCode::UnusedPattern,
                place,
                format!("no rule asks for class `{class}` of pattern `{id}`: it is looked for and recorded, and changes no decision"),
            );
        }
    }

    fn schemas(&mut self) {
        for schema in &self.policy.document.schemas {
            let rule = &schema.rule;
            let (id, stream) = (&rule.id, rule.stream.as_str());
            if rule.stream == StreamMode::Observe {
                if !rule.repair.is_none() {
                    let message =
                        format!("schema `{id}` has a `repair`, and with `stream: observe` nothing is touched");
                    self.add(AdviceCode::UnusedRepair, &schema.place, message);
                }
                continue;
            }
            if rule.repair.ask_again > 0 && rule.stream != StreamMode::Buffer {
                let message = format!(
                    "schema `{id}` asks again only while nothing has left, and with `stream: {stream}` the first value soon has; \
                     write `stream: buffer`"
                );
                self.add(AdviceCode::UnusedRepair, &schema.place, message);
            }
            let closes = rule.repair.local.iter().any(|class| class == "close_brackets");
            if closes && rule.source == SchemaSource::ToolParameters {
                let message = format!(
                    "schema `{id}` lists `close_brackets`, which is never done to the arguments of a tool: a call that was cut off \
                     would be run"
                );
                self.add(AdviceCode::UnusedRepair, &schema.place, message);
            }
        }
    }

    fn exceptions(&mut self, now_unix_s: i64) {
        let document = &self.policy.document;
        for exception in &document.exceptions {
            let rule = &exception.rule;
            if !document.rules.iter().any(|known| known.id == *rule) {
                let ids = document.rules.iter().map(|rule| rule.id.as_str());
                let hint = crate::diagnostic::nearest(rule, ids)
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                self.add(
                    AdviceCode::UnknownRule,
                    &exception.place,
                    format!("there is no rule `{rule}` to make an exception to{hint}"),
                );
            }
            let left = exception.expires_unix_s.saturating_sub(now_unix_s);
            let owner = &exception.owner;
            let expires = &exception.expires;
            if left <= 0 {
                self.add(
                    AdviceCode::ExpiredException,
                    &exception.place,
                    format!("the exception to `{rule}` ended on {expires} and has no effect; remove it or ask {owner} to renew it"),
                );
            } else if left <= EXPIRY_NOTICE_S {
                self.add(
                    AdviceCode::ExpiringException,
                    &exception.place,
                    format!("the exception to `{rule}` ends on {expires}; ask {owner} whether it is still needed"),
                );
            }
        }
    }
}

fn condition(rule: &Rule) -> Option<&str> {
    rule.when.as_ref().map(Program::text)
}

#[cfg(test)]
mod tests;
