//! How an answer of Gemini's ends where Clyra ends it.

use serde_json::{Value as Json, json};

use super::each;
use crate::json::Value;
use crate::surface::ending::own_id;
use crate::surface::{Choices, Dialect, Ending, Mark, Refusal, Shown, Soft};

pub(super) const ENDING: Ending = Ending {
    error: |refusal, shown| error_event(refusal, shown).into(),
    in_ok: None,
    soft: Some(Soft { events: |refusal, shown| refusal_events(refusal, shown).into(), document: refusal_document }),
};

pub(super) const CHOICES: Choices = Choices {
    list: "candidates",
    usage: "usageMetadata",
    in_stream: |index, _, reason| candidate(index, reason),
    whole: candidate,
};

/// A candidate that ends as one that the provider would not show.
fn candidate(index: u64, message: &str) -> Json {
    json!({"finishReason": "PROHIBITED_CONTENT", "finishMessage": message, "index": index})
}

pub(super) fn mark(root: Value<'_>) -> Mark {
    let mut mark = Mark { names: root.get("candidates").is_some(), ..Mark::default() };
    for (position, candidate) in each(root.get("candidates")).enumerate() {
        let index = candidate.get("index").and_then(|i| i.as_u64()).unwrap_or(position as u64);
        let over = candidate.get("finishReason").is_some_and(|reason| !reason.is_null());
        if over { mark.closes.push(index) } else { mark.opens.push(index) }
    }
    mark
}

/// The provider's streams end their lines in CR LF.
fn error_event(refusal: &Refusal<'_>, _: &Shown) -> String {
    format!("data: {}\r\n\r\n", Dialect::Gemini.error_body(refusal))
}

fn refusal_events(refusal: &Refusal<'_>, shown: &Shown) -> String {
    format!("data: {}\r\n\r\n", refusal_document(refusal, shown))
}

/// Each candidate that is open ends as one that the provider would not show.
fn refusal_document(refusal: &Refusal<'_>, shown: &Shown) -> Json {
    let mut open = shown.open();
    if open.is_empty() {
        open.push(0);
    }
    let candidates = open.iter().map(|index| candidate(*index, refusal.message));
    let head = shown.head();
    let known = |name: &str, otherwise: Json| head.get(name).cloned().unwrap_or(otherwise);
    json!({
        "candidates": candidates.collect::<Vec<_>>(),
        "modelVersion": known("modelVersion", shown.asked_model.as_str().into()),
        "responseId": known("responseId", own_id("", refusal).into()),
        "clyra": refusal.clyra(),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::surface::ending::tests::{asked, data, refusal};

    #[test]
    fn endings_are_events_of_the_providers_kind() {
        let refusal = Refusal { kind: "INVALID_ARGUMENT", ..refusal() };
        let mut shown = asked("g");
        let error = error_event(&refusal, &shown);
        assert!(error.starts_with(r#"data: {"error":{"code":400,"#), "{error}");
        assert_eq!(data(&error, "\r\n").len(), 1);
        let early = data(&refusal_events(&refusal, &shown), "\r\n");
        assert_eq!((&early[0]["candidates"][0]["index"], &early[0]["modelVersion"]), (&json!(0), &json!("g")));
        let head = Bytes::from_static(br#"{"candidates":[],"responseId":"r","modelVersion":"own"}"#);
        shown.note(&Mark { names: true, opens: vec![0, 1], closes: vec![0], ..Mark::default() }, Some(&head));
        let late = data(&refusal_events(&refusal, &shown), "\r\n");
        assert_eq!(late[0]["candidates"].as_array().unwrap().len(), 1);
        assert_eq!((&late[0]["candidates"][0]["index"], &late[0]["responseId"]), (&json!(1), &json!("r")));
        assert_eq!(late[0]["candidates"][0]["finishReason"], "PROHIBITED_CONTENT");
    }
}
