//! The canonical writer: RFC 8785 bytes for every value of the subset.

use serde::Serialize;

use super::Value;

/// Canonical bytes of a value.
pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out);
    out
}

/// Appends the canonical bytes of a value.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write(member, out);
            }
            out.push(b'}');
        }
    }
}

/// True when the bytes are the canonical spelling of the value that was read from them.
pub fn is_canonical(bytes: &[u8], value: &Value) -> bool {
    let mut out = Vec::with_capacity(bytes.len());
    write(value, &mut out);
    out == bytes
}

/// Appends a JSON string with the escapes of RFC 8785 §3.2.2.2: short ones where they exist, otherwise `\u00xx` in
/// lower case, and nothing else escaped.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut run_start = 0;
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x00..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(bytes.get(run_start..index).unwrap_or_default());
        run_start = index + 1;
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(format!("{byte:04x}").as_bytes());
        }
    }
    out.extend_from_slice(bytes.get(run_start..).unwrap_or_default());
    out.push(b'"');
}

/// Appends a typed record. It is canonical because every record in this crate declares its fields in the order of their
/// names, holds no floating-point number, and keeps integers in range; the tests hold each type to that.
pub(crate) fn write_record<T: Serialize>(record: &T, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, record).is_err() {
        // Unreachable for our types (no map with other than string keys, no failing Serialize, a Vec cannot fail to
        // be written to); were it not, the member is null rather than half written.
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}
