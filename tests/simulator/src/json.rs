//! Writes JSON with the escapes that a directive asks for, which a general serializer would not produce.

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use crate::directive::Directive;

/// Half surrogate pairs cannot stand in a `str`. They travel as private-use characters of plane 16, whose low
/// 16 bits are the surrogate, and are written as its escape.
const LONE_SURROGATES: std::ops::RangeInclusive<u32> = 0x10_D800..=0x10_DFFF;

/// The stand-in for half a surrogate pair.
pub(crate) fn lone_surrogate(unit: u16) -> char {
    char::from_u32(0x10_0000 + u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Compact JSON, escaped as the directive says.
pub(crate) fn to_string(value: &Value, directive: &Directive) -> String {
    let mut written = Vec::with_capacity(256);
    let escaping =
        Escaping { ascii: directive.ascii, all: directive.escape_all, lone: directive.split_surrogates, in_key: false };
    // Writing a `Value` into memory has no way to fail, and escapes are ASCII.
    let mut serializer = Serializer::with_formatter(&mut written, escaping);
    let _ = value.serialize(&mut serializer);
    String::from_utf8(written).unwrap_or_default()
}

struct Escaping {
    ascii: bool,
    all: bool,
    lone: bool,
    in_key: bool,
}

impl Escaping {
    fn must_escape(&self, character: char) -> bool {
        (self.all && !self.in_key)
            || (self.ascii && !character.is_ascii())
            || (self.lone && LONE_SURROGATES.contains(&u32::from(character)))
    }

    fn write_escape<W: ?Sized + io::Write>(&self, writer: &mut W, character: char) -> io::Result<()> {
        let code = u32::from(character);
        if self.lone && LONE_SURROGATES.contains(&code) {
            return write!(writer, "\\u{:04x}", code & 0xFFFF);
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(writer, "\\u{unit:04x}")?;
        }
        Ok(())
    }
}

impl Formatter for Escaping {
    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.in_key = true;
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.in_key = false;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for character in fragment.chars() {
            if self.must_escape(character) {
                self.write_escape(writer, character)?;
            } else {
                write!(writer, "{character}")?;
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        let written: &[u8] = match escape {
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"\\/",
            CharEscape::Backspace => b"\\b",
            CharEscape::FormFeed => b"\\f",
            CharEscape::LineFeed => b"\\n",
            CharEscape::CarriageReturn => b"\\r",
            CharEscape::Tab => b"\\t",
            CharEscape::AsciiControl(byte) => return write!(writer, "\\u{byte:04x}"),
        };
        writer.write_all(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(value: &Value, directive: Value) -> String {
        to_string(value, &serde_json::from_value(directive).unwrap())
    }

    #[test]
    fn escapes_are_those_that_were_asked_for() {
        let value = json!({"ü": "ü🦊\"\n\u{1}z"});
        assert_eq!(written(&value, json!({})), "{\"ü\":\"ü🦊\\\"\\n\\u0001z\"}");
        assert_eq!(written(&value, json!({"ascii": true})), "{\"\\u00fc\":\"\\u00fc\\ud83e\\udd8a\\\"\\n\\u0001z\"}");
        assert_eq!(
            written(&value, json!({"escape_all": true})),
            "{\"ü\":\"\\u00fc\\ud83e\\udd8a\\\"\\n\\u0001\\u007a\"}"
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let value = json!({"a": ["x", {"b": "Ω 🦊 \\ \t"}, null, 1.5, true]});
        for directive in [json!({}), json!({"ascii": true}), json!({"escape_all": true})] {
            let back: Value = serde_json::from_str(&written(&value, directive)).unwrap();
            assert_eq!(back, value);
        }
    }
}
