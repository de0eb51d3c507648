//! JSON Lines from a stream, one line in memory at a time. Every line is strict JSON or an error that names its number.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use super::exit::Exit;
use crate::json::{Doc, JsonError, Limits, Value};

/// Longest line: two of the largest request bodies that the sidecar takes by default.
pub(super) const LINE_BYTES_MAX: usize = 64 << 20;

/// Why reading cannot go on. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("stdin, line {line}: cannot be read: {source}")]
    Read { line: u64, source: io::Error },
    #[error("stdin, line {line}: longer than {LINE_BYTES_MAX} bytes; split it")]
    TooLong { line: u64 },
    #[error("stdin, line {line}: {source}; each line must be one JSON object")]
    Json { line: u64, source: JsonError },
    #[error("stdin, line {line}: {what}")]
    Member { line: u64, what: &'static str },
    #[error("cannot write the result to stdout: {0}")]
    Write(io::Error),
}

impl From<LineError> for Exit {
    fn from(error: LineError) -> Exit {
        match error {
            LineError::Write(_) => Exit::internal(error),
            _ => Exit::usage(error),
        }
    }
}

/// Reads lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: BufReader<R>,
    line: u64,
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R) -> Lines<R> {
        Lines {
            input: BufReader::with_capacity(256 << 10, input),
            line: 0,
            bytes: Vec::new(),
            bytes_max: LINE_BYTES_MAX,
        }
    }

    /// The next line that is not blank.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, LineError> {
        loop {
            self.line += 1;
            let line = self.line;
            self.bytes.clear();
            // One more than allowed, so that a line of exactly the limit and one beyond it can be told apart.
            let limit = self.bytes_max as u64 + 1;
            let read = self.input.by_ref().take(limit).read_until(b'\n', &mut self.bytes);
            if read.map_err(|source| LineError::Read { line, source })? == 0 {
                return Ok(None);
            }
            let ended = self.bytes.last() == Some(&b'\n');
            if !ended && self.bytes.len() > self.bytes_max {
                return Err(LineError::TooLong { line });
            }
            if !self.bytes.trim_ascii().is_empty() {
                break;
            }
        }
        let line = self.line;
        let doc = Doc::parse(&self.bytes, Limits::default()).map_err(|source| LineError::Json { line, source })?;
        Ok(Some(Line { line, bytes: &self.bytes, doc }))
    }

    /// True if the next line may have to be waited for: the time to hand out what is there.
    pub(super) fn is_drained(&self) -> bool {
        self.input.buffer().is_empty()
    }
}

/// One line.
#[derive(Debug)]
pub(super) struct Line<'a> {
    line: u64,
    bytes: &'a [u8],
    doc: Doc,
}

impl Line<'_> {
    fn root(&self) -> Value<'_> {
        self.doc.root(self.bytes)
    }

    /// The line as it was read.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes
    }

    pub(super) fn get(&self, name: &str) -> Option<Value<'_>> {
        self.root().get(name)
    }

    /// The line's `id` as it stands there, of whatever type; `null` without one.
    pub(super) fn id(&self) -> &[u8] {
        self.get("id").map_or(b"null", |id| id.raw())
    }

    /// A member that must be a string.
    pub(super) fn text(&self, name: &str, what: &'static str) -> Result<Cow<'_, str>, LineError> {
        self.get(name).and_then(|value| value.as_str()).ok_or_else(|| self.fault(what))
    }

    pub(super) fn fault(&self, what: &'static str) -> LineError {
        LineError::Member { line: self.line, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(input: &[u8], bytes_max: usize) -> Result<Vec<String>, LineError> {
        let mut lines = Lines { bytes_max, ..Lines::new(input) };
        let mut texts = Vec::new();
        while let Some(line) = lines.next()? {
            texts.push(format!("{} {}", String::from_utf8_lossy(line.id()), line.text("text", "no text")?));
        }
        Ok(texts)
    }

    #[test]
    fn lines_come_one_by_one_with_their_ids_as_written() {
        let input = b"{\"id\":1.50,\"text\":\"a\"}\r\n\n  \n{\"text\":\"b\\n\",\"id\":{\"x\": 2}}\n{\"text\":\"c\"}";
        assert_eq!(texts(input, 100).unwrap(), ["1.50 a", "{\"x\": 2} b\n", "null c"]);
        assert_eq!(texts(b"", 100).unwrap(), [""; 0]);
    }

    #[test]
    fn a_bad_line_is_named() {
        let message = |input: &[u8], max| texts(input, max).unwrap_err().to_string();
        assert!(message(b"\n{\"text\":\"a\"}\n{oops}\n", 100).contains("line 3: unexpected character at byte 1"));
        assert!(message(b"{\"text\":\"a\",\"text\":\"b\"}", 100).contains("line 1: the same member name twice"));
        assert!(message(b"{\"text\":1}", 100).contains("line 1: no text"));
        assert!(message(b"[]", 100).contains("line 1: no text"));
        assert!(message(b"{\"text\":\"\xff\"}", 100).contains("not UTF-8"));
    }

    #[test]
    fn a_line_has_a_limit() {
        let line = b"{\"text\":\"12345\"}";
        assert!(texts(line, line.len()).is_ok());
        assert!(texts(&[line, &b"\n"[..]].concat(), line.len()).is_ok());
        assert!(matches!(texts(line, line.len() - 1), Err(LineError::TooLong { line: 1 })));
    }
}
