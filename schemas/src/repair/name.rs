//! Words without quotes: member names, and the literals of Python.

use super::RepairClass;
use super::between::Before;
use super::mender::{Expect, Mender, State, Unmended};

/// Longest name without quotes. Longer ones are text.
const NAME_BYTES_MAX: u64 = 256;

/// Most digits of a number that is a name. More are not written back digit for digit by every reader that knows such names.
const NAME_DIGITS_MAX: usize = 15;

/// Python's literals and JSON's.
const LITERALS: [(&str, &str); 3] = [("True", "true"), ("False", "false"), ("None", "null")];

#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) start: u64,
    /// Behind the last character, once there is white space.
    end: Option<u64>,
    before: Before,
}

impl Name {
    pub(super) fn begin(at: u64, before: Before) -> Self {
        Self { start: at, end: None, before }
    }
}

pub(super) fn is_name_start(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

fn is_name_part(c: char) -> bool {
    is_name_start(c) || c == '-'
}

/// What a word is in JSON, if it is a literal of Python.
pub(super) fn literal(word: &str) -> Option<&'static str> {
    LITERALS.into_iter().find(|(python, _)| *python == word).map(|(_, json)| json)
}

/// Whether a word is a literal of JSON.
pub(super) fn is_json_literal(word: &str) -> bool {
    LITERALS.into_iter().any(|(_, json)| json == word)
}

/// Whether a name without quotes can only be meant as it is written.
fn is_plain_name(name: &str) -> bool {
    if name.starts_with(|c: char| c.is_numeric()) {
        return name.len() <= NAME_DIGITS_MAX
            && name.bytes().all(|byte| byte.is_ascii_digit())
            && (name == "0" || !name.starts_with('0'));
    }
    // As a name, `True` is "True" to some and "true" to others.
    literal(name).is_none()
}

impl Mender {
    pub(super) fn in_name(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        let State::Name(name) = &mut self.state else { return Err(Unmended) };
        if name.end.is_none() {
            if is_name_part(c) {
                return if at - name.start < NAME_BYTES_MAX { Ok(()) } else { Err(Unmended) };
            }
            name.end = Some(at);
        }
        let Name { start, end: Some(end), before } = *name else { return Err(Unmended) };
        match c {
            ' ' | '\t' | '\n' | '\r' => Ok(()),
            ':' if is_plain_name(self.held.text(start..end)) => {
                // One quote is written with the first character and one with what follows the last: that way a name of one
                // character behind a missing comma has an edit for each repair, too.
                let (quote, class) = before.opens();
                let first: String = self.held.text(start..end).chars().take(1).collect();
                let next: String = self.held.text(end..at + 1).chars().take(1).collect();
                let class = class.unwrap_or(RepairClass::UnquotedNames);
                self.held.edit(start..start + first.len() as u64, format!("{quote}{first}"), class);
                self.held.edit(end..end + next.len() as u64, format!("\"{next}"), RepairClass::UnquotedNames);
                self.expect = Expect::Value;
                self.state = State::Between;
                Ok(())
            }
            _ => Err(Unmended),
        }
    }

    pub(super) fn begin_literal(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        self.allows(RepairClass::PythonLiterals)?;
        let found = LITERALS.into_iter().find_map(|(python, json)| Some((python.strip_prefix(c)?, json)));
        let (rest, json) = found.ok_or(Unmended)?;
        self.state = State::Literal { start: at, rest, json };
        Ok(())
    }

    pub(super) fn in_literal(&mut self, c: char, at: u64) -> Result<(), Unmended> {
        let State::Literal { start, rest, json } = self.state else { return Err(Unmended) };
        if let Some(rest) = rest.strip_prefix(c) {
            self.state = State::Literal { start, rest, json };
            return Ok(());
        }
        if !rest.is_empty() || is_name_part(c) {
            return Err(Unmended);
        }
        self.held.edit(start..at, json, RepairClass::PythonLiterals);
        self.state = State::Between;
        self.between(c, at)
    }

    /// The text ends in a literal.
    pub(super) fn end_literal(&mut self) -> Result<(), Unmended> {
        let State::Literal { start, rest: "", json } = self.state else { return Err(Unmended) };
        self.held.edit(start..self.held.end(), json, RepairClass::PythonLiterals);
        self.state = State::Between;
        Ok(())
    }
}
