//! Reading typed values out of a document, with every mistake reported at its place.
//!
//! A key is known, known but not supported by this version, or unknown; the last two are errors. Nothing is skipped.

use crate::diagnostic::{Code, Report, echo, nearest};
use crate::yaml::{Key, Kind, Mark, Node};

/// Characters of an id, class or name that other parts of a policy refer to.
const NAME_CHARS_MAX: usize = 64;
/// Bytes of a text for people (reason, owner, name).
const TEXT_BYTES_MAX: usize = 1024;

/// What a map of the document may contain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) known: &'static [&'static str],
    /// Part of the policy language, but not enforced by this version.
    pub(crate) unsupported: &'static [&'static str],
}

/// The entries of one map, checked against its keys.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    pub(crate) at: Mark,
    pub(crate) path: String,
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// The map at `node`; reports what is no map, and keys that do not belong there.
    pub(crate) fn open(node: &'n Node, path: &str, keys: Keys, report: &mut Report<'_>) -> Option<Self> {
        let fields = Self::open_any(node, path, report)?;
        for (key, _) in fields.entries {
            let name = key.name.as_str();
            if keys.known.contains(&name) {
                continue;
            }
            let path = fields.path_of(&echo(name));
            if keys.unsupported.contains(&name) {
                report.add(Code::Unsupported, key.at, &path, unsupported(name));
                continue;
            }
            let shown = echo(name);
            let message = match nearest(name, keys.known.iter().copied()) {
                Some(near) => format!("unknown key `{shown}`; did you mean `{near}`?"),
                None => format!("unknown key `{shown}`; what may stand here: {}", keys.known.join(", ")),
            };
            report.add(Code::UnknownKey, key.at, &path, message);
        }
        Some(fields)
    }

    /// The map at `node`, whose keys are names chosen by the author.
    pub(crate) fn open_any(node: &'n Node, path: &str, report: &mut Report<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            wrong_type(node, path, "a map", report);
            return None;
        };
        Some(Self { at: node.at, path: path.to_owned(), entries })
    }

    pub(crate) fn entries(&self) -> &'n [(Key, Node)] {
        self.entries
    }

    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The value under a key, with its path.
    pub(crate) fn get(&self, name: &str) -> Option<Value<'n>> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| Value { node, path: self.path_of(name) })
    }

    /// The value under a key that must be there.
    pub(crate) fn required(&self, name: &str, report: &mut Report<'_>) -> Option<Value<'n>> {
        let value = self.get(name);
        if value.is_none() {
            report.add(Code::MissingKey, self.at, &self.path, format!("`{name}` is missing here"));
        }
        value
    }
}

/// One value of the document and the way to it.
#[derive(Debug)]
pub(crate) struct Value<'n> {
    pub(crate) node: &'n Node,
    pub(crate) path: String,
}

impl<'n> Value<'n> {
    pub(crate) fn report(&self, code: Code, message: impl Into<String>, report: &mut Report<'_>) {
        report.add(code, self.node.at, &self.path, message);
    }

    pub(crate) fn text(&self, report: &mut Report<'_>) -> Option<&'n str> {
        match &self.node.kind {
            Kind::Text(text) => Some(text),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => {
                let message = format!("text is expected, not {}; put it in quotes", self.node.describe());
                self.report(Code::WrongType, message, report);
                None
            }
            _ => {
                wrong_type(self.node, &self.path, "text", report);
                None
            }
        }
    }

    /// A text for people: not empty, one line, of bounded length.
    pub(crate) fn words(&self, report: &mut Report<'_>) -> Option<String> {
        let text = self.text(report)?;
        let refusal = if text.trim().is_empty() {
            Some("the text is empty".to_owned())
        } else if text.len() > TEXT_BYTES_MAX {
            Some(format!("the text is over {TEXT_BYTES_MAX} bytes"))
        } else if text.chars().any(char::is_control) {
            Some("the text has line breaks or control characters; write one line".to_owned())
        } else {
            None
        };
        if let Some(message) = refusal {
            self.report(Code::InvalidValue, message, report);
            return None;
        }
        Some(text.trim().to_owned())
    }

    /// An id, class or name.
    pub(crate) fn name(&self, report: &mut Report<'_>) -> Option<String> {
        let text = self.text(report)?;
        if !is_name(text) {
            self.report(Code::InvalidValue, name_rule(text), report);
            return None;
        }
        Some(text.to_owned())
    }

    pub(crate) fn boolean(&self, report: &mut Report<'_>) -> Option<bool> {
        if let Kind::Bool(value) = self.node.kind {
            return Some(value);
        }
        wrong_type(self.node, &self.path, "true or false", report);
        None
    }

    pub(crate) fn integer(&self, range: std::ops::RangeInclusive<i64>, report: &mut Report<'_>) -> Option<i64> {
        let Kind::Int(value) = self.node.kind else {
            wrong_type(self.node, &self.path, "a whole number", report);
            return None;
        };
        if !range.contains(&value) {
            let message = format!("{value} is out of range; it must be from {} to {}", range.start(), range.end());
            self.report(Code::InvalidValue, message, report);
            return None;
        }
        Some(value)
    }

    /// A number from 0 to 1 with at most six decimals, in millionths.
    pub(crate) fn ppm(&self, report: &mut Report<'_>) -> Option<u32> {
        let number = match self.node.kind {
            #[expect(clippy::cast_precision_loss, reason = "out of range either way")]
            Kind::Int(value) => value as f64,
            Kind::Float(value) => value,
            _ => {
                wrong_type(self.node, &self.path, "a number from 0 to 1", report);
                return None;
            }
        };
        if !(0.0..=1.0).contains(&number) {
            self.report(Code::InvalidValue, "the number must be from 0 to 1", report);
            return None;
        }
        let scaled = number * 1_000_000.0;
        let rounded = scaled.round();
        // A threshold that is silently another one than written would be a lie in the evidence.
        if (scaled - rounded).abs() > 1e-6 {
            self.report(Code::InvalidValue, "the number has more than six decimals", report);
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0 to 1,000,000, checked above"
        )]
        Some(rounded as u32)
    }

    /// One of a few words; `unsupported` ones belong to the language but not to this version.
    pub(crate) fn choice<T: Copy>(
        &self,
        choices: &[(&'static str, T)],
        unsupported_choices: &[&str],
        report: &mut Report<'_>,
    ) -> Option<T> {
        let text = self.text(report)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let shown = echo(text);
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        if unsupported_choices.contains(&text) {
            let message = format!("`{text}` is not supported by this version; write {}", alternatives(&names));
            self.report(Code::Unsupported, message, report);
        } else {
            let message = format!("unknown value `{shown}`; write {}", alternatives(&names));
            self.report(Code::InvalidValue, message, report);
        }
        None
    }

    /// A list of names out of a few, each at most once; the result has the order of `all`.
    pub(crate) fn subset<T: Copy + PartialEq>(
        &self,
        all: &[T],
        name_of: impl Fn(T) -> &'static str,
        report: &mut Report<'_>,
    ) -> Option<Vec<T>> {
        let Kind::List(items) = &self.node.kind else {
            wrong_type(self.node, &self.path, "a list", report);
            return None;
        };
        let mut chosen = Vec::new();
        let mut is_clean = true;
        for (index, node) in items.iter().enumerate() {
            let item = Value { node, path: format!("{}[{index}]", self.path) };
            let Some(name) = item.text(report) else {
                is_clean = false;
                continue;
            };
            let problem = match all.iter().find(|known| name_of(**known) == name) {
                Some(known) if chosen.contains(known) => Some((Code::Duplicate, format!("`{name}` stands here twice"))),
                Some(known) => {
                    chosen.push(*known);
                    None
                }
                None => {
                    let names: Vec<&str> = all.iter().map(|known| name_of(*known)).collect();
                    let shown = echo(name);
                    let message = match nearest(name, names.iter().copied()) {
                        Some(near) => format!("unknown name `{shown}`; did you mean `{near}`?"),
                        None => format!("unknown name `{shown}`; what may stand here: {}", names.join(", ")),
                    };
                    Some((Code::InvalidValue, message))
                }
            };
            if let Some((code, message)) = problem {
                item.report(code, message, report);
                is_clean = false;
            }
        }
        is_clean.then(|| all.iter().copied().filter(|known| chosen.contains(known)).collect())
    }

    /// A time like `250ms`, `30s` or `5m`, in milliseconds.
    pub(crate) fn duration_ms(&self, range: std::ops::RangeInclusive<u64>, report: &mut Report<'_>) -> Option<u64> {
        let Kind::Text(text) = &self.node.kind else {
            wrong_type(self.node, &self.path, "a time like `30s`", report);
            return None;
        };
        let Some(ms) = milliseconds(text) else {
            let message = format!("`{}` is not a time; write one like `250ms`, `30s` or `5m`", echo(text));
            self.report(Code::InvalidValue, message, report);
            return None;
        };
        if !range.contains(&ms) {
            let (least, most) = (range.start(), range.end());
            let message = format!("`{text}` is out of range; it must be from {least} to {most} milliseconds");
            self.report(Code::InvalidValue, message, report);
            return None;
        }
        Some(ms)
    }

    /// Whether this is that text; says nothing if not.
    pub(crate) fn is_text(&self, text: &str) -> bool {
        matches!(&self.node.kind, Kind::Text(own) if own == text)
    }

    /// The elements of a list of at most `items_max`.
    pub(crate) fn list(&self, items_max: usize, report: &mut Report<'_>) -> Vec<Value<'n>> {
        let Kind::List(items) = &self.node.kind else {
            if matches!(self.node.kind, Kind::Null) {
                self.report(
                    Code::WrongType,
                    "a list is expected and there is nothing; write [] or remove the key",
                    report,
                );
            } else {
                wrong_type(self.node, &self.path, "a list", report);
            }
            return Vec::new();
        };
        if items.len() > items_max {
            let message = format!("the list has over {items_max} entries");
            self.report(Code::TooLarge, message, report);
            return Vec::new();
        }
        items.iter().enumerate().map(|(index, node)| Value { node, path: format!("{}[{index}]", self.path) }).collect()
    }
}

pub(crate) fn unsupported(name: &str) -> String {
    format!("`{name}` is not supported by this version; remove it")
}

pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'))
}

pub(crate) fn name_rule(text: &str) -> String {
    let shown = echo(text);
    format!("`{shown}` is not a valid name; use 1 to {NAME_CHARS_MAX} of a-z, 0-9, `_`, `.` and `-`")
}

fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit: u64 = match text.get(digits.len()..)? {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    // `parse` takes a sign, too.
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse::<u64>().ok())?.and_then(|number| number.checked_mul(unit))
}

fn alternatives(names: &[&str]) -> String {
    let mut quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.pop() {
        Some(last) if !quoted.is_empty() => format!("{} or {last}", quoted.join(", ")),
        Some(only) => only,
        None => String::new(),
    }
}

fn wrong_type(node: &Node, path: &str, expected: &str, report: &mut Report<'_>) {
    report.add(Code::WrongType, node.at, path, format!("{expected} is expected, not {}", node.describe()));
}
