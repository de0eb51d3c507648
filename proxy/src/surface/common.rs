//! What most providers call the same, for surfaces that have nothing of their own there.

use super::{Address, RequestFacts, ResponseFacts, Usage};
use crate::json::{Kind, Value};

pub(super) fn string(value: Value<'_>, name: &str) -> Option<String> {
    Some(value.get(name)?.as_str()?.into_owned()).filter(|text| !text.is_empty())
}

pub(super) fn request_facts(root: Value<'_>, _: Address<'_>) -> RequestFacts {
    RequestFacts { model: string(root, "model").unwrap_or_default(), ..RequestFacts::default() }
}

pub(super) fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    facts.model = string(root, "model").or(facts.model.take());
    facts.id = string(root, "id").or(facts.id.take());
    if let Some(usage) = root.get("usage").filter(|usage| usage.kind() == Kind::Object) {
        note_usage(usage, &mut facts.usage);
    }
}

/// Counts under the names of OpenAI's two families of endpoints.
pub(super) fn note_usage(usage: Value<'_>, total: &mut Usage) {
    Usage::note(&mut total.input, usage.get("prompt_tokens").or_else(|| usage.get("input_tokens")));
    Usage::note(&mut total.output, usage.get("completion_tokens").or_else(|| usage.get("output_tokens")));
    let details = usage.get("prompt_tokens_details").or_else(|| usage.get("input_tokens_details"));
    Usage::note(&mut total.cached, details.and_then(|details| details.get("cached_tokens")));
    let details = usage.get("completion_tokens_details").or_else(|| usage.get("output_tokens_details"));
    Usage::note(&mut total.reasoning, details.and_then(|details| details.get("reasoning_tokens")));
}
