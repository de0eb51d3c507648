//! Texts to try repairs on: documents, documents in a loose way of writing, and pieces of them.

use proptest::prelude::*;
use serde_json::Value;

/// Any JSON value; names and strings have what repairs look at in them.
pub(super) fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-z]{0,6}", "[\"'`“”‘’\\\\,:{}\\[\\]/#*\n\t \u{a0}a-eTFN0-9.-]{0,8}", any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A value written compactly, indented, or with everything escaped that may be.
pub(super) fn document() -> impl Strategy<Value = (Value, String)> {
    (value(), 0..3_u8).prop_map(|(value, style)| {
        let text = match style {
            0 => value.to_string(),
            1 => serde_json::to_string_pretty(&value).unwrap(),
            _ => value.to_string().chars().map(|c| if c.is_ascii() { c.to_string() } else { escaped(c) }).collect(),
        };
        (value, text)
    })
}

fn escaped(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Pieces of which damaged documents are made.
pub(super) fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "'",
            "`",
            "“",
            "”",
            "‘",
            "’",
            "\\",
            "\\d",
            "\\n",
            "\\'",
            "\\\"",
            "\\u0041",
            "//",
            "/*",
            "*/",
            "#",
            "\n",
            " ",
            "\r\n",
            "\u{a0}",
            "\u{feff}",
            "\u{2028}",
            "\t",
            "\u{0}",
            "```",
            "```json\n",
            "true",
            "null",
            "True",
            "None",
            "False",
            "1",
            "-2.5e3",
            "0",
            "a",
            "b",
            "name",
            "two words",
            "Here is the result:\n",
            "That is all.",
            "\"a\"",
            "\"b\":",
            "'c'",
            "\"x\": 1",
            "{\"a\":1}",
            "[1,2]",
            "“d”",
            "$",
            "é",
            "結果",
        ])
        .prop_map(str::to_owned),
        "[ -~]{1,3}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A value without numbers, which a comma parts and joins, and without the characters in its strings that give a loose document its form.
pub(super) fn plain_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-z]{0,6}", "[a-z' /#*“”‘’`{}\\[\\]\n-]{0,8}", "[a-z]{1,3} '[a-z]{1,3}"];
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), text.clone().prop_map(Value::from)];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A value with single quotes and without quotes where a name does without, on lines of their own if `depth` is above zero.
pub(super) fn loose(value: &Value, depth: usize) -> String {
    let inner = if depth > 0 { depth + 1 } else { 0 };
    let line = |depth: usize| if depth > 0 { format!("\n{}", " ".repeat(depth)) } else { String::new() };
    match value {
        Value::String(text) => loose_text(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| line(inner) + &loose(item, inner)).collect();
            format!("[{}{}]", items.join(","), line(depth))
        }
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| {
                    let is_word = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase());
                    let name = if is_word { name.clone() } else { loose_text(name) };
                    format!("{}{name}: {}", line(inner), loose(value, inner))
                })
                .collect();
            format!("{{{}{}}}", members.join(","), line(depth))
        }
        other => other.to_string(),
    }
}

fn loose_text(text: &str) -> String {
    let strict = Value::from(text).to_string();
    format!("'{}'", strict[1..strict.len() - 1].replace('\'', "\\'"))
}
