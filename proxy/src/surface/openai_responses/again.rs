//! How a model is asked once more for a response.

use serde_json::{Map, Value as Json, json};

use crate::surface::again::{Again, Question, Streamed, same_address};

pub(super) const AGAIN: Again = Again { ask, address: same_address, stream };

fn ask(members: &mut Map<String, Json>, question: &Question<'_>) -> Option<()> {
    // A conversation that the provider keeps has the first answer in it, and would get the request twice.
    if members.get("conversation").is_some_and(|kept| !kept.is_null()) {
        return None;
    }
    let input = members.get_mut("input")?;
    if input.is_string() {
        *input = json!([message("user", "input_text", input.as_str().unwrap_or_default())]);
    }
    let items = input.as_array_mut()?;
    items.extend(question.invalid.map(|invalid| message("assistant", "output_text", invalid)));
    items.push(message("user", "input_text", question.words));
    members.insert("stream".into(), false.into());
    for name in ["stream_options", "background"] {
        members.remove(name);
    }
    // Models that reason take no temperature: only one that was asked for may be set.
    if let Some(temperature) = members.get_mut("temperature") {
        *temperature = 0.into();
    }
    Some(())
}

fn message(role: &str, kind: &str, text: &str) -> Json {
    json!({"type": "message", "role": role, "content": [{"type": kind, "text": text}]})
}

/// One message of one text; reasoning may stand beside it.
fn stream(body: Json, _: Streamed) -> Option<Vec<String>> {
    let last = match body.get("status")?.as_str()? {
        "completed" => "response.completed",
        "incomplete" => "response.incomplete",
        _ => return None,
    };
    let mut begun = body.clone();
    let members = begun.as_object_mut()?;
    members.remove("completed_at");
    members.insert("status".into(), "in_progress".into());
    members.insert("output".into(), json!([]));
    for name in ["incomplete_details", "usage"] {
        members.insert(name.into(), Json::Null);
    }
    let mut events = Events::default();
    for kind in ["response.created", "response.in_progress"] {
        events.push(kind, [("response", begun.clone())]);
    }
    let mut messages = 0;
    for (index, item) in body.get("output")?.as_array()?.iter().enumerate() {
        let parts = match item.get("type")?.as_str()? {
            "message" => {
                messages += 1;
                &MESSAGE
            }
            "reasoning" if item.get("content").is_none_or(is_empty) => &REASONING,
            _ => return None,
        };
        parts.tell(index, item, &mut events)?;
    }
    if messages != 1 {
        return None;
    }
    events.push(last, [("response", body)]);
    Some(events.0)
}

fn is_empty(value: &Json) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// How the parts of an item are told.
struct Parts {
    list: &'static str,
    /// The only kind of part that is understood.
    kind: &'static str,
    index: &'static str,
    part: &'static str,
    text: &'static str,
    /// Exactly one.
    single: bool,
    /// Its events have a place for tokens.
    tokens: bool,
}

const MESSAGE: Parts = Parts {
    list: "content",
    kind: "output_text",
    index: "content_index",
    part: "response.content_part",
    text: "response.output_text",
    single: true,
    tokens: true,
};

const REASONING: Parts = Parts {
    list: "summary",
    kind: "summary_text",
    index: "summary_index",
    part: "response.reasoning_summary_part",
    text: "response.reasoning_summary_text",
    single: false,
    tokens: false,
};

impl Parts {
    fn tell(&self, output_index: usize, item: &Json, events: &mut Events) -> Option<()> {
        let parts = item.get(self.list)?.as_array()?;
        if self.single && parts.len() != 1 {
            return None;
        }
        let mut begun = item.clone();
        let members = begun.as_object_mut()?;
        members.insert(self.list.into(), json!([]));
        members.entry("status").and_modify(|status| *status = "in_progress".into());
        events.push("response.output_item.added", [("output_index", output_index.into()), ("item", begun)]);
        for (index, part) in parts.iter().enumerate() {
            let text = part.get("text").filter(|_| part.get("type").is_some_and(|kind| kind == self.kind))?;
            let of = |more: &[(&'static str, Json)]| {
                let place = [
                    ("item_id", item.get("id").cloned().unwrap_or_default()),
                    ("output_index", output_index.into()),
                    (self.index, index.into()),
                ];
                place.into_iter().chain(more.iter().cloned()).collect::<Vec<_>>()
            };
            let mut empty = part.clone();
            let members = empty.as_object_mut()?;
            members.insert("text".into(), "".into());
            for name in ["annotations", "logprobs"] {
                members.entry(name).and_modify(|list| *list = json!([]));
            }
            let tokens = |list: Json| self.tokens.then_some(("logprobs", list));
            let said = part.get("logprobs").cloned().unwrap_or_else(|| json!([]));
            events.push(&format!("{}.added", self.part), of(&[("part", empty)]));
            let piece: Vec<_> = [("delta", text.clone())].into_iter().chain(tokens(said.clone())).collect();
            events.push(&format!("{}.delta", self.text), of(&piece));
            let whole: Vec<_> = [("text", text.clone())].into_iter().chain(tokens(said)).collect();
            events.push(&format!("{}.done", self.text), of(&whole));
            events.push(&format!("{}.done", self.part), of(&[("part", part.clone())]));
        }
        events.push("response.output_item.done", [("output_index", output_index.into()), ("item", item.clone())]);
        Some(())
    }
}

#[derive(Default)]
struct Events(Vec<String>);

impl Events {
    fn push(&mut self, kind: &str, members: impl IntoIterator<Item = (&'static str, Json)>) {
        let mut data = Map::new();
        data.insert("type".into(), kind.into());
        data.insert("sequence_number".into(), self.0.len().into());
        data.extend(members.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self.0.push(format!("event: {kind}\ndata: {}\n\n", Json::Object(data)));
    }
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
    fn the_conversation_goes_on_whatever_form_it_has() {
        let request = json!({"model": "m", "input": "U", "stream": true, "stream_options": {}, "background": true,
            "temperature": 1});
        let question = json!({"model": "m", "stream": false, "temperature": 0, "input": [
            message("user", "input_text", "U"), message("assistant", "output_text", "{"), message("user", "input_text", "Again.")]});
        assert_eq!(asked(request, Some("{")).unwrap(), question);
        let list = asked(json!({"input": [{"role": "user", "content": "U"}], "conversation": null}), None).unwrap();
        assert_eq!((list["input"].as_array().unwrap().len(), list.get("temperature")), (2, None));
        assert_eq!(list["input"][1], message("user", "input_text", "Again."));
        for request in [json!({}), json!({"input": 1}), json!({"input": "U", "conversation": "conv_1"})] {
            assert_eq!(asked(request, None), None);
        }
    }

    fn response(output: Json) -> Json {
        json!({"id": "resp_1", "object": "response", "status": "completed", "completed_at": 2, "model": "m",
            "output": output, "usage": {"output_tokens": 3}})
    }

    #[test]
    fn an_answer_of_one_text_is_told_as_the_provider_would() {
        let text = json!({"type": "output_text", "text": "{}", "annotations": [{"type": "a"}]});
        let message =
            json!({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [text]});
        let reasoning =
            json!({"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]});
        let whole = response(json!([reasoning, message]));
        let events = stream(whole.clone(), Streamed::Events).unwrap().concat();
        let read = data(&events, "\n");
        let kinds: Vec<&str> = read.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.completed",
            ]
        );
        for (number, (event, kind)) in read.iter().zip(&kinds).enumerate() {
            assert_eq!(event["sequence_number"], number);
            assert!(events.contains(&format!("event: {kind}\ndata: {event}\n\n")), "{event}");
        }
        assert_eq!(read[14]["response"], whole);
        let begun = &read[0]["response"];
        assert_eq!(
            (&begun["status"], &begun["output"], &begun["usage"]),
            (&json!("in_progress"), &json!([]), &Json::Null)
        );
        assert_eq!((&read[8]["item"]["status"], &read[8]["item"]["content"]), (&json!("in_progress"), &json!([])));
        assert_eq!((&read[9]["part"]["text"], &read[9]["part"]["annotations"]), (&json!(""), &json!([])));
        assert_eq!(
            (&read[10]["delta"], &read[10]["item_id"], &read[10]["output_index"]),
            (&json!("{}"), &json!("msg_1"), &json!(1))
        );
        assert_eq!((&read[13]["item"], &read[7]["item"]), (&message, &reasoning));

        let mut cut = whole;
        cut["status"] = json!("incomplete");
        assert!(stream(cut, Streamed::Events).unwrap().last().unwrap().starts_with("event: response.incomplete\n"));
    }

    #[test]
    fn what_is_more_than_one_text_is_not_told() {
        let message = |parts: Json| json!({"type": "message", "content": parts});
        let text = json!({"type": "output_text", "text": "{}"});
        for output in [
            json!([]),
            json!([message(json!([]))]),
            json!([message(json!([text, text]))]),
            json!([message(json!([text])), message(json!([text]))]),
            json!([message(json!([{"type": "refusal", "refusal": "No."}]))]),
            json!([message(json!([text])), {"type": "function_call", "arguments": "{}"}]),
            json!([{"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "x"}]}, message(json!([text]))]),
        ] {
            assert_eq!(stream(response(output.clone()), Streamed::Events), None, "{output}");
        }
        let mut failed = response(json!([message(json!([text]))]));
        failed["status"] = json!("failed");
        assert_eq!(stream(failed, Streamed::Events), None);
    }
}
