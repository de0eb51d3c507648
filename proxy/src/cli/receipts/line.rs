//! One receipt as one line.

use std::io::{self, Write};

use clyra_receipts::StoredReceipt;
use clyra_receipts::canonical::Value;

use super::super::print::plain;
use super::filter::{at, rules};

/// For people: number, time, kind, and what matters of it. As JSON: the receipt's body, byte for byte.
pub(super) fn write(receipt: &StoredReceipt, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        out.write_all(receipt.body())?;
        return writeln!(out);
    }
    let value = receipt.value();
    let text = |path: &[&str]| at(value, path).and_then(Value::as_str).map(plain);
    let (ts, kind) = (text(&["ts"]).unwrap_or_default(), text(&["kind"]).unwrap_or_default());
    write!(out, "{:>8} {ts} {kind:<13}", receipt.seq())?;
    if let Some(verdict) = text(&["verdict"]) {
        write!(out, " {verdict}")?;
    }
    let named: [(&str, &[&str]); 6] = [
        ("id", &["id"]),
        ("caller", &["caller", "identity", "id"]),
        ("app", &["caller", "app"]),
        ("run", &["run", "id"]),
        ("route", &["request", "route"]),
        ("model", &["request", "model"]),
    ];
    for (name, path) in named {
        if let Some(value) = text(path) {
            write!(out, " {name}={value}")?;
        }
    }
    if rules(value).next().is_some() {
        write!(out, " rules={}", plain(&rules(value).collect::<Vec<_>>().join(",")))?;
    }
    for (name, member) in value.get("event").and_then(Value::as_object).into_iter().flatten() {
        match member {
            Value::String(text) => write!(out, " {name}={}", plain(text))?,
            Value::Integer(number) => write!(out, " {name}={number}")?,
            Value::Bool(flag) => write!(out, " {name}={flag}")?,
            _ => {}
        }
    }
    writeln!(out)
}
