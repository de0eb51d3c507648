//! How a model of Gemini's is asked once more. Whether it streams is said by the path.

use serde_json::{Map, Value as Json, json};

use super::{PLAIN, STREAMED};
use crate::surface::Address;
use crate::surface::again::{Again, Question, Streamed};

pub(super) const AGAIN: Again = Again { ask, address, stream };

fn ask(members: &mut Map<String, Json>, question: &Question<'_>) -> Option<()> {
    let contents = members.get_mut("contents")?;
    if contents.is_object() {
        *contents = json!([contents.take()]);
    }
    let contents = contents.as_array_mut()?;
    let turn = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
    contents.extend(question.invalid.map(|invalid| turn("model", invalid)));
    contents.push(turn("user", question.words));
    let snake = members.contains_key("generation_config");
    let config = members.entry(if snake { "generation_config" } else { "generationConfig" });
    let config = config.or_insert_with(|| json!({})).as_object_mut()?;
    for name in ["candidateCount", "candidate_count"] {
        config.remove(name);
    }
    config.insert("temperature".into(), 0.into());
    Some(())
}

/// The method that answers whole. A method that is spelled with escapes is not looked for: then nothing is asked.
fn address(address: &str) -> Option<String> {
    let (path, query) = address.split_once('?').map_or((address, None), |(path, query)| (path, Some(query)));
    // Lower case in ASCII has the same length.
    let lower = path.to_ascii_lowercase();
    let streamed = STREAMED.trim_start_matches(':');
    let path = match lower.rfind(streamed) {
        Some(at) => {
            let (before, rest) = (path.get(..at)?, path.get(at + streamed.len()..)?);
            format!("{before}generateContent{rest}")
        }
        None if lower.contains(PLAIN.trim_start_matches(':')) => path.to_owned(),
        None => return None,
    };
    let asks_for_events = |pair: &&str| {
        let pair = Address { path: "", query: Some(pair) };
        pair.asks("alt", "sse") || pair.asks("$alt", "sse")
    };
    let rest: Vec<&str> =
        query.into_iter().flat_map(|query| query.split('&')).filter(|p| !asks_for_events(p)).collect();
    Some(if rest.is_empty() { path } else { format!("{path}?{}", rest.join("&")) })
}

/// One candidate of texts and thoughts. A whole answer is a piece of a stream like any other.
fn stream(body: Json, streamed: Streamed) -> Option<Vec<String>> {
    let [candidate] = body.get("candidates")?.as_array()?.as_slice() else { return None };
    let parts = candidate.pointer("/content/parts")?.as_array()?;
    if parts.is_empty() || !parts.iter().all(|part| part.get("text").is_some_and(Json::is_string)) {
        return None;
    }
    Some(vec![match streamed {
        // The provider's streams end their lines in CR LF.
        Streamed::Events => format!("data: {body}\r\n\r\n"),
        Streamed::Array => format!("[{body}]"),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::ending::tests::data;

    fn asked(request: Json, invalid: Option<&str>) -> Option<Json> {
        let mut request = request;
        ask(request.as_object_mut().unwrap(), &Question { invalid, words: "Again." })?;
        Some(request)
    }

    #[test]
    fn the_conversation_goes_on_in_the_spelling_it_has() {
        let user = |text: &str| json!({"role": "user", "parts": [{"text": text}]});
        let model = json!({"role": "model", "parts": [{"text": "{"}]});
        let question =
            asked(json!({"contents": [user("U")], "generationConfig": {"candidateCount": 1, "topK": 2}}), Some("{"));
        let config = json!({"topK": 2, "temperature": 0});
        let whole = json!({"contents": [user("U"), model, user("Again.")], "generationConfig": config});
        assert_eq!(question.unwrap(), whole);
        let snake = asked(json!({"contents": user("U"), "generation_config": {"candidate_count": 1}}), None).unwrap();
        assert_eq!(snake, json!({"contents": [user("U"), user("Again.")], "generation_config": {"temperature": 0}}));
        assert_eq!(asked(json!({"contents": []}), None).unwrap()["generationConfig"], json!({"temperature": 0}));
        for request in [json!({}), json!({"contents": 1}), json!({"contents": [], "generationConfig": 1})] {
            assert_eq!(asked(request, None), None);
        }
    }

    #[test]
    fn the_path_asks_for_a_whole_answer() {
        let of = |path: &str| address(path).unwrap_or_default();
        let plain = "/v1beta/models/m:generateContent";
        for path in [
            plain,
            "/v1beta/models/m:streamGenerateContent",
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            "/v1beta/models/m:STREAMGENERATECONTENT?%24alt=SSE",
        ] {
            assert_eq!(of(path), plain, "{path}");
        }
        assert_eq!(of("/m/x%3AstreamGenerateContent/?key=k&alt=sse&x=alt"), "/m/x%3AgenerateContent/?key=k&x=alt");
        assert_eq!(address("/v1beta/models/m:stream%47enerateContent"), None);
        assert_eq!(address("/v1beta/models/m:generate%43ontent"), None);
    }

    #[test]
    fn an_answer_of_one_candidate_is_a_piece_of_a_stream() {
        let answer = |parts: Json| json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}]});
        let whole = answer(json!([{"text": "Hm.", "thought": true}, {"text": "{}"}]));
        assert_eq!(
            data(&stream(whole.clone(), Streamed::Events).unwrap().concat(), "\r\n"),
            std::slice::from_ref(&whole)
        );
        let array: Json = serde_json::from_str(&stream(whole.clone(), Streamed::Array).unwrap().concat()).unwrap();
        assert_eq!(array, json!([whole]));
        let candidate = whole["candidates"][0].clone();
        for other in [
            answer(json!([])),
            answer(json!([{"text": "{}"}, {"functionCall": {"name": "f"}}])),
            json!({"candidates": [candidate, candidate]}),
            json!({"candidates": []}),
            json!({"promptFeedback": {"blockReason": "SAFETY"}}),
        ] {
            assert_eq!(stream(other.clone(), Streamed::Events), None, "{other}");
        }
    }
}
