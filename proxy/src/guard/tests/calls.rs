//! Calls of streams that number them in their own way, or not at all.

use super::*;

fn judged(surface: &str, stream: &[u8]) -> Run {
    let surface = SURFACES.iter().find(|one| one.id == surface).unwrap();
    run(&TOOLS, surface, &[], stream, &WHOLE)
}

/// One call after the other, in the lines of Ollama.
fn ollama(calls: impl IntoIterator<Item = (&'static str, String)>) -> Run {
    let line = |(name, note): (&str, String)| {
        let call = json!({"function": {"name": name, "arguments": {"note": note}}});
        json!({"model": "m", "message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": false})
    };
    let end = json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true});
    let stream: String = calls.into_iter().map(line).chain([end]).map(|line| format!("{line}\n")).collect();
    judged("ollama.chat", stream.as_bytes())
}

#[test]
fn each_call_is_judged_with_its_own_arguments() {
    let call = |name, note: &str| (name, note.to_owned());
    assert_eq!(ollama([call("shell", "ls"), call("note", "rm")]).end, Ok(()), "the arguments of another call");
    assert!(ollama([call("note", "ls"), call("shell", "rm")]).end.is_err());
}

#[test]
fn many_calls_one_by_one_are_followed() {
    let all = ollama((0..40).map(|number| ("note", number.to_string())));
    assert_eq!(all.end, Ok(()));
    assert!(!all.report.contains("Oversize"), "{}", all.report);
}
