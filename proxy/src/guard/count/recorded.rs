//! Streams of real providers that were asked for the count, as a client is shown them that did not ask.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::guard::StreamGuard;
use crate::guard::tests::{TEXT, judge};
use crate::surface::SURFACES;

/// What the client would have been sent, by another way: line by line, as text. `None` where the count was not asked for.
fn without_count(stream: &str) -> Option<String> {
    let (mut out, mut nulls, mut counts, mut dropped) = (String::new(), 0, 0, false);
    for line in stream.split_inclusive('\n') {
        let chunk: Value =
            line.strip_prefix("data:").and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
        if chunk["usage"].is_object() && chunk["choices"] == serde_json::json!([]) {
            (counts, dropped) = (counts + 1, true);
            continue;
        }
        // The blank line behind it.
        if std::mem::take(&mut dropped) && line.trim().is_empty() {
            continue;
        }
        let mut line = line.to_owned();
        if chunk.get("usage").is_some_and(Value::is_null) {
            nulls += 1;
            for written in [",\"usage\":null", ", \"usage\": null", "\"usage\":null,"] {
                line = line.replacen(written, "", usize::from(line.contains(written)));
            }
        }
        out.push_str(&line);
    }
    (nulls > 0 && counts == 1).then_some(out)
}

#[test]
fn recorded_streams_are_shown_as_without() {
    let root = std::env::var("CLYRA_SHARED_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data").into());
    let Ok(index) = std::fs::read_to_string(format!("{root}/recorded/INDEX.ndjson")) else {
        assert!(std::env::var_os("CI").is_none(), "CI must not skip: no shared data at {root}");
        println!("skipped: recorded exchanges are not at {root}");
        return;
    };
    let mut streams = 0;
    for line in index.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        if entry["api"] != "openai.chat" || entry["stream"] != true {
            continue;
        }
        let stream = std::fs::read_to_string(format!("{root}/recorded/{}", entry["file"].as_str().unwrap())).unwrap();
        let Some(expected) = without_count(&stream) else { continue };
        for piece in [1, 100, stream.len()] {
            let mut guard = StreamGuard::new(SURFACES[0], Arc::clone(&TEXT.engine), judge(&TEXT), Vec::new());
            guard.hide_count();
            let mut out = Vec::new();
            for bytes in stream.as_bytes().chunks(piece) {
                guard.feed(bytes, Duration::ZERO, &mut out).unwrap();
            }
            out.extend(guard.finish(Duration::ZERO).unwrap().tail);
            let shown: Vec<u8> = out.iter().flat_map(|part| part.bytes().to_vec()).collect();
            assert_eq!(String::from_utf8(shown).unwrap(), expected, "{entry}");
            assert!(guard.facts.usage.input.is_some() && guard.facts.usage.output.is_some(), "{entry}");
        }
        streams += 1;
    }
    assert!(streams >= 30, "{streams} streams");
}
