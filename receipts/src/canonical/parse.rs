//! The strict reader: accepts exactly the subset and says where and why it stopped.
//!
//! Written by hand because the reason must be told apart (a repeated name, a number out of range, bad UTF-8 and plain bad
//! syntax have different codes) and because no feature of a shared JSON library may change what evidence means.

use std::collections::BTreeMap;

use super::{DEPTH_MAX, INTEGER_MAX, Value};

/// Bounds on one document.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest document in bytes.
    pub bytes_max: usize,
    /// Deepest nesting of arrays and objects.
    pub depth_max: usize,
    /// Most values (of any kind) in the document: bounds the memory of the tree, which is some 30 times its text.
    pub values_max: usize,
}

impl Limits {
    /// For a receipt or its envelope.
    pub const RECEIPT: Self = Self { bytes_max: 64 * 1024, depth_max: DEPTH_MAX, values_max: 32 * 1024 };
    /// For a manifest or a trust file: some thousand entries of some hundred bytes.
    pub const MANIFEST: Self = Self { bytes_max: 8 * 1024 * 1024, depth_max: DEPTH_MAX, values_max: 256 * 1024 };
}

/// What is wrong, as the verification codes tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonFault {
    /// Not JSON (E201).
    Syntax,
    /// A member name stands twice in one object (E202).
    RepeatedName,
    /// A number with fraction, exponent, minus zero, or beyond ±(2^53 − 1) (E204).
    Number,
    /// Bytes that are not UTF-8, an unpaired surrogate, or a member name that is not ASCII (E205).
    Text,
    /// Too long, too deep or too many values (E106).
    Limit,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {what}")]
pub struct ParseError {
    pub fault: JsonFault,
    /// Offset into the document in bytes.
    pub offset: usize,
    pub what: &'static str,
}

/// Reads one document, nothing before or after it but JSON white space.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Value, ParseError> {
    if bytes.len() > limits.bytes_max {
        return Err(ParseError { fault: JsonFault::Limit, offset: limits.bytes_max, what: "the document is too long" });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| ParseError {
        fault: JsonFault::Text,
        offset: error.valid_up_to(),
        what: "not UTF-8",
    })?;
    let mut reader =
        Reader { bytes: text.as_bytes(), text, at: 0, values_left: limits.values_max, depth_max: limits.depth_max };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at < reader.bytes.len() {
        return Err(reader.syntax("bytes after the end of the document"));
    }
    Ok(value)
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    values_left: usize,
    depth_max: usize,
}

impl Reader<'_> {
    fn fail(&self, fault: JsonFault, what: &'static str) -> ParseError {
        ParseError { fault, offset: self.at, what }
    }

    fn syntax(&self, what: &'static str) -> ParseError {
        self.fail(JsonFault::Syntax, what)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, word: &'static str, value: Value) -> Result<Value, ParseError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.syntax("expected a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.values_left =
            self.values_left.checked_sub(1).ok_or_else(|| self.fail(JsonFault::Limit, "too many values"))?;
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b't') => self.expect("true", Value::Bool(true)),
            Some(b'f') => self.expect("false", Value::Bool(false)),
            Some(b'n') => self.expect("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.syntax("expected a value")),
            None => Err(self.syntax("the document ends where a value was expected")),
        }
    }

    fn open(&mut self, depth: usize) -> Result<(), ParseError> {
        if depth >= self.depth_max {
            return Err(self.fail(JsonFault::Limit, "values nested too deeply"));
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.open(depth)?;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.skip_space();
                }
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return Err(self.syntax("expected ',' or ']'")),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.open(depth)?;
        let mut members = BTreeMap::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            let name_at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.syntax("expected a member name"));
            }
            let name = self.string()?;
            if !name.is_ascii() {
                return Err(ParseError {
                    fault: JsonFault::Text,
                    offset: name_at,
                    what: "a member name that is not ASCII",
                });
            }
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.syntax("expected ':'"));
            }
            self.at += 1;
            self.skip_space();
            let value = self.value(depth + 1)?;
            if members.insert(name, value).is_some() {
                return Err(ParseError {
                    fault: JsonFault::RepeatedName,
                    offset: name_at,
                    what: "a member name is repeated",
                });
            }
            self.skip_space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.skip_space();
                }
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(members));
                }
                _ => return Err(self.syntax("expected ',' or '}'")),
            }
        }
    }

    fn number(&mut self) -> Result<Value, ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let digits_at = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = self.text.get(digits_at..self.at).unwrap_or_default();
        if digits.is_empty() {
            return Err(self.syntax("expected a digit"));
        }
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(self.syntax("a number with a leading zero"));
        }
        let number_fault = |what| ParseError { fault: JsonFault::Number, offset: start, what };
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return Err(number_fault("a number that is not a plain integer"));
        }
        let spelled = self.text.get(start..self.at).unwrap_or_default();
        if spelled == "-0" {
            return Err(number_fault("minus zero"));
        }
        match spelled.parse::<i64>() {
            Ok(number) if number.unsigned_abs() <= INTEGER_MAX.unsigned_abs() => Ok(Value::Integer(number)),
            _ => Err(number_fault("an integer beyond ±(2^53 − 1)")),
        }
    }

    /// Reads a string; the cursor stands on its opening quote.
    fn string(&mut self) -> Result<String, ParseError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let run_start = self.at;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.at += 1;
            }
            // The run ends before an ASCII byte, so both cuts are character boundaries.
            out.push_str(self.text.get(run_start..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    let escaped = self.escape()?;
                    out.push(escaped);
                }
                Some(_) => return Err(self.syntax("a control character in a string")),
                None => return Err(self.syntax("the document ends inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        self.at += 1;
        let letter = self.peek().ok_or_else(|| self.syntax("the document ends inside a string"))?;
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.syntax("an unknown escape")),
        })
    }

    fn unicode_escape(&mut self) -> Result<char, ParseError> {
        let first = self.hex4()?;
        let unpaired = self.fail(JsonFault::Text, "an unpaired surrogate");
        let code = match first {
            0xD800..=0xDBFF => {
                let rest = self.bytes.get(self.at..).unwrap_or_default();
                if !rest.starts_with(b"\\u") {
                    return Err(unpaired);
                }
                self.at += 2;
                let second = self.hex4()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(unpaired);
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            other => other,
        };
        char::from_u32(code).ok_or(unpaired)
    }

    fn hex4(&mut self) -> Result<u32, ParseError> {
        let digits = self
            .bytes
            .get(self.at..self.at.saturating_add(4))
            .ok_or_else(|| self.syntax("the document ends inside an escape"))?;
        let mut code = 0;
        for digit in digits {
            let value =
                char::from(*digit).to_digit(16).ok_or_else(|| self.syntax("expected four hexadecimal digits"))?;
            code = code * 16 + value;
        }
        self.at += 4;
        Ok(code)
    }
}
