//! Reads what the strict machine has let through: the `csv` crate says what the text of a field is.
//!
//! The machine decides where a field ends and whether it may stand there; what it means is the library's word. What the two
//! do not agree on is no field.

use std::io::{self, Read};

use csv::{ReaderBuilder, StringRecord};

use super::contract::CsvContract;

/// What the library reads ahead, in bytes. Fields are handed to it one by one, so more would only be moved about; most fields
/// are far shorter.
const AHEAD_BYTES: usize = 512;

/// Reads fields, each as a record of its own.
#[derive(Debug)]
pub(super) struct FieldReader {
    reader: csv::Reader<Feed>,
    record: StringRecord,
}

/// The field that is to be read next, and the end of its record.
#[derive(Debug, Default)]
struct Feed {
    bytes: Vec<u8>,
    read: usize,
    /// More was asked for than there is.
    short: bool,
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let count = rest.len().min(into.len());
        if let (Some(into), Some(rest)) = (into.get_mut(..count), rest.get(..count)) {
            into.copy_from_slice(rest);
        }
        self.read += count;
        self.short |= count == 0;
        Ok(count)
    }
}

impl FieldReader {
    pub(super) fn new(contract: &CsvContract) -> Self {
        let reader = ReaderBuilder::new()
            .delimiter(contract.delimiter)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(AHEAD_BYTES)
            .from_reader(Feed::default());
        let mut fields = Self { reader, record: StringRecord::new() };
        // The library passes over a byte order mark before the first thing that it reads. Here that is not the text's.
        let _ = fields.read("begin");
        fields
    }

    /// The text of the field that stands in the text as `raw`; `None` if the library reads anything but one field.
    pub(super) fn read(&mut self, raw: &str) -> Option<&str> {
        // To the library an empty line is no record.
        if raw.is_empty() {
            return Some("");
        }
        let begins = self.reader.position().byte();
        let feed = self.reader.get_mut();
        feed.bytes.clear();
        feed.bytes.extend_from_slice(raw.as_bytes());
        feed.bytes.push(b'\n');
        feed.read = 0;
        let read = self.reader.read_record(&mut self.record).ok()?;
        // A quote that does not close takes the record's end for text, and looks for more.
        let whole =
            read && !self.reader.get_ref().short && self.reader.position().byte() - begins == raw.len() as u64 + 1;
        self.record.get(0).filter(|_| whole && self.record.len() == 1)
    }

    /// Lets go of what was read.
    pub(super) fn forget(&mut self) {
        self.reader.get_mut().bytes = Vec::new();
        self.record = StringRecord::new();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reader(delimiter: &str) -> FieldReader {
        let contract = json!({"columns": [{"name": "a", "type": "string"}], "delimiter": delimiter});
        FieldReader::new(&CsvContract::compile(&contract).unwrap())
    }

    #[test]
    fn fields_are_read_one_by_one() {
        let mut reader = reader(",");
        let long = "x".repeat(9 * AHEAD_BYTES);
        for (raw, text) in [
            ("a", "a"),
            ("", ""),
            ("\"\"", ""),
            ("\"a\"\"b\"", "a\"b"),
            ("\"\"\"\"", "\""),
            ("\"a,\r\n\"", "a,\r\n"),
            ("\"\n\"", "\n"),
            (" a ", " a "),
            ("\u{feff}a", "\u{feff}a"),
            ("#\u{1f989}", "#\u{1f989}"),
            (&long, &long),
            (&format!("\"{long}\n{long}\""), &format!("{long}\n{long}")),
            ("a;b", "a;b"),
        ] {
            assert_eq!(reader.read(raw), Some(text), "{raw:?}");
        }
        reader.forget();
        assert_eq!(reader.read("b"), Some("b"));
        assert_eq!(self::reader(";").read("a,b"), Some("a,b"));
    }

    #[test]
    fn what_is_not_one_field_is_none() {
        for raw in ["a,b", "a\nb", "\"a", "\n", "a\n"] {
            assert_eq!(reader(",").read(raw), None, "{raw:?}");
        }
    }
}
