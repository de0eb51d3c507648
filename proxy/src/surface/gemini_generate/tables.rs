//! The tables of Gemini's content generation: what of a request, an answer and a piece of one is text.

use std::sync::LazyLock;

use crate::surface::Channel;
use crate::surface::table::{Join, Rule, Table, Tokens, When, by_role, json, media, part, stored, text};

pub(super) static REQUEST: LazyLock<Table> = LazyLock::new(request);

pub(in crate::surface) fn request() -> Table {
    use Channel::{Metadata, System, ToolDefinition, User};
    let content = |text_rule| {
        let role = Table::build(&[("role", text(Metadata))], &[]);
        role.with("parts", asked_part(text_rule).or_array(asked_part(text_rule)))
    };
    let declaration = || {
        Table::build(
            &[
                ("name", text(ToolDefinition)),
                ("description", text(ToolDefinition)),
                ("parameters", json(ToolDefinition)),
                ("parametersJsonSchema", json(ToolDefinition)),
                ("parameters_json_schema", json(ToolDefinition)),
                ("response", json(ToolDefinition)),
                ("responseJsonSchema", json(ToolDefinition)),
                ("response_json_schema", json(ToolDefinition)),
            ],
            &[],
        )
    };
    let tool = || {
        let declarations = || declaration().or_array(declaration());
        Table::default().with("functionDeclarations", declarations()).with("function_declarations", declarations())
    };
    Table::build(
        &[
            ("model", text(Metadata)),
            ("contents", text(User)),
            ("cachedContent", stored()),
            ("cached_content", stored()),
            ("systemInstruction", text(System)),
            ("system_instruction", text(System)),
        ],
        &[],
    )
    .with("contents", content(by_role()).or_array(content(by_role())))
    .with("systemInstruction", content(text(System)))
    .with("system_instruction", content(text(System)))
    .with("tools", tool().or_array(tool()))
}

pub(super) static RESPONSE: LazyLock<Table> = LazyLock::new(|| answer((0, 1)).or_array(answer((1, 2))));

/// An answer that stands in this many arrays.
pub(in crate::surface) fn response(depth: usize) -> Table {
    answer((0, depth + 1))
}

pub(super) static EVENT: LazyLock<Table> = LazyLock::new(|| answer((0, 1)));

/// An answer or a piece of one. These of the indices, the first and the one behind the last, tell candidates apart.
fn answer(indices: (usize, usize)) -> Table {
    use Channel::{Logprobs, Metadata};
    Table::build(
        &[
            ("modelVersion", text(Metadata)),
            ("responseId", text(Metadata)),
            ("createTime", text(Metadata)),
            ("usageMetadata", json(Metadata)),
            ("promptFeedback", json(Metadata)),
            ("candidates.*.index", text(Metadata)),
            ("candidates.*.finishReason", text(Metadata)),
            ("candidates.*.finishMessage", text(Metadata)),
            ("candidates.*.avgLogprobs", text(Metadata)),
            ("candidates.*.tokenCount", text(Metadata)),
            ("candidates.*.safetyRatings", json(Metadata)),
            ("candidates.*.citationMetadata", json(Metadata)),
            ("candidates.*.groundingMetadata", json(Metadata)),
            ("candidates.*.urlContextMetadata", json(Metadata)),
            (
                "candidates.*.logprobsResult.chosenCandidates.+.token",
                text(Logprobs).streamed("chosen").only_indices(indices.0, indices.1).repeats(Tokens::Holder),
            ),
            ("candidates.*.content.role", text(Metadata)),
        ],
        &[],
    )
    .with("candidates.*.content.parts.*", shown_part(indices))
}

fn asked_part(text_rule: Rule) -> Table {
    parts(text_rule, Channel::User, false)
}

/// A part of an answer. Clients put the texts of a candidate together, whatever event and part they came in.
fn shown_part((from, to): (usize, usize)) -> Table {
    parts(part().streamed("text").only_indices(from, to), Channel::Content, true).streaming_unknown()
}

fn parts(text_rule: Rule, media_channel: Channel, streams: bool) -> Table {
    use Channel::{Metadata, ToolArguments, ToolName, ToolResult};
    let mut table = Table::build(
        &[
            ("text", text_rule),
            ("thought", text(Metadata)),
            // Opaque, and given back by the client as it came.
            ("thoughtSignature", text(Metadata)),
            ("thought_signature", text(Metadata)),
        ],
        &[],
    );
    let data = || {
        Table::build(
            &[
                ("data", media(When::Always).of(media_channel)),
                ("mimeType", text(Metadata)),
                ("mime_type", text(Metadata)),
            ],
            &[],
        )
    };
    let call = || {
        let pieces = text(ToolArguments).joined(if streams { Join::Stream } else { Join::Whole }, "partial");
        Table::build(
            &[
                ("id", text(Metadata)),
                ("name", text(ToolName)),
                ("args", json(ToolArguments)),
                ("willContinue", text(Metadata)),
                ("partialArgs.+.stringValue", pieces),
                ("partialArgs.+.jsonPath", text(Metadata)),
            ],
            &[],
        )
    };
    let kept = || {
        Table::build(
            &[
                ("fileUri", stored()),
                ("file_uri", stored()),
                ("mimeType", text(Metadata)),
                ("mime_type", text(Metadata)),
            ],
            &[],
        )
    };
    let result = || {
        Table::build(
            &[
                ("id", text(Metadata)),
                ("name", text(Metadata)),
                ("response", json(ToolResult)),
                ("parts.*.inlineData.data", media(When::Always).of(ToolResult)),
                ("parts.*.inline_data.data", media(When::Always).of(ToolResult)),
            ],
            &[],
        )
    };
    let code =
        || Table::build(&[("id", text(Metadata)), ("code", text(ToolArguments)), ("language", text(Metadata))], &[]);
    let ran =
        || Table::build(&[("id", text(Metadata)), ("output", text(ToolResult)), ("outcome", text(Metadata))], &[]);
    let made: [(&[&'static str], &dyn Fn() -> Table); 8] = [
        (&["fileData", "file_data"], &kept),
        (&["inlineData", "inline_data"], &data),
        (&["functionCall", "function_call"], &call),
        (&["toolCall", "tool_call"], &call),
        (&["functionResponse", "function_response"], &result),
        (&["toolResponse", "tool_response"], &result),
        (&["executableCode", "executable_code"], &code),
        (&["codeExecutionResult", "code_execution_result"], &ran),
    ];
    for (names, member) in made {
        for name in names {
            table = table.with(name, member());
        }
    }
    table
}
