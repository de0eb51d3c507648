//! Surfaces: the endpoints whose text Clyra can read.
//!
//! One file per surface says which JSON members are text, which channel they belong to and how they stream; decoding,
//! redaction, block signals, usage and coverage all read that table. What a table does not name is inspected all the
//! same, as metadata: a member that nobody foresaw is never a gap.

pub mod again;
mod anthropic_batches;
mod anthropic_messages;
mod bedrock;
mod choices;
mod cohere;
mod common;
pub mod coverage;
mod ending;
mod facts;
mod gemini_batches;
mod gemini_caches;
mod gemini_count;
mod gemini_generate;
mod gemini_interactions;
mod mcp;
mod ollama;
mod openai_chat;
mod openai_completions;
mod openai_conversations;
mod openai_embeddings;
mod openai_media;
mod openai_realtime;
mod openai_responses;
mod openai_stored;
mod openai_vector_stores;
mod path;
mod segment;
mod table;

pub use choices::Choices;
pub use ending::{Dialect, Ending, Mark, Refusal, Shown, Soft, Stage};
pub use facts::{RequestFacts, ResponseFacts, TOOL_SCHEMAS_MAX, Usage};
pub use path::{Address, Found, find};
pub use segment::{Form, Replaced, Segment, segments};
pub use table::{Join, Table};

use std::fmt;

use http::HeaderMap;

use crate::json::Value;
use crate::wire::Framing;
use facts::{count, text_of};

/// Where a text stands in a conversation. The names appear in findings, receipts and policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    System,
    User,
    Assistant,
    ToolResult,
    ToolDefinition,
    Content,
    Reasoning,
    Refusal,
    ToolName,
    ToolArguments,
    FunctionCall,
    Logprobs,
    Metadata,
}

impl Channel {
    pub const ALL: [Channel; 13] = [
        Self::System,
        Self::User,
        Self::Assistant,
        Self::ToolResult,
        Self::ToolDefinition,
        Self::Content,
        Self::Reasoning,
        Self::Refusal,
        Self::ToolName,
        Self::ToolArguments,
        Self::FunctionCall,
        Self::Logprobs,
        Self::Metadata,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::ToolResult => "tool_result",
            Self::ToolDefinition => "tool_definition",
            Self::Content => "content",
            Self::Reasoning => "reasoning",
            Self::Refusal => "refusal",
            Self::ToolName => "tool_name",
            Self::ToolArguments => "tool_arguments",
            Self::FunctionCall => "function_call",
            Self::Logprobs => "logprobs",
            Self::Metadata => "metadata",
        }
    }

    /// Text of a call that the model asks for.
    pub fn is_tool_call(self) -> bool {
        matches!(self, Self::ToolName | Self::ToolArguments | Self::FunctionCall)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one stream event means beside its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// An ordinary event.
    None,
    /// Nothing more will come in the channels of this block, nor of what is in it.
    BlockEnd { index: String },
    /// Every tool call in this event is complete. `last`: it ends the answer, though more may follow before the stream ends.
    Whole { last: bool },
    /// The answer is complete for the client: its last event.
    Done,
}

/// In what form the request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// A JSON document.
    Json,
    /// A JSON document or nothing.
    Maybe,
    /// `multipart/form-data`, or JSON where the request says that.
    Form,
}

/// In what form an answer comes that was not asked to stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// One JSON document.
    Json,
    /// Documents one after the other, in the surface's framing: each is released when it was judged.
    Events,
    /// Media that no text detector reads, a declared gap; or JSON, or text.
    Media,
}

/// A tool as a server offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    pub name: String,
    pub pointer: String,
    /// All that the server says of it, as JSON.
    pub text: String,
}

/// Compares headers with the body; the error says which header lies.
pub type HeadersFit = fn(&HeaderMap, Value<'_>) -> Result<(), String>;

/// One endpoint that Clyra inspects in both directions.
#[derive(Debug)]
pub struct Surface {
    /// Name in receipts, events and policies.
    pub id: &'static str,
    pub dialect: Dialect,
    methods: &'static [&'static str],
    /// Whether a normalised path is this surface's, whatever base path stands before it.
    serves: fn(&str) -> bool,
    /// Its endpoints, each as method and path; what stands in braces is the caller's.
    pub routes: &'static [&'static str],
    pub asks: Asks,
    pub answers: Answers,
    /// How its streams are cut into events.
    pub framing: Framing,
    pub request: fn() -> &'static Table,
    pub response: fn() -> &'static Table,
    /// The table of one stream event.
    pub event: fn(Value<'_>) -> &'static Table,
    /// All tables of stream events, with a document that has the shape of such an event; none where nothing streams.
    pub events: fn() -> Vec<(String, &'static Table)>,
    /// Streams say their texts again, whole ([`Join::Again`]).
    pub repeats: bool,
    pub request_facts: fn(Value<'_>, Address<'_>) -> RequestFacts,
    /// Adds what a whole answer or one stream event tells.
    pub note_response: fn(Value<'_>, &mut ResponseFacts),
    pub signal: fn(Value<'_>) -> Signal,
    /// Everything here is about what the provider keeps; the id of it stands in the path.
    pub kept: bool,
    /// Whether the headers say what the body says, where a protocol wants that.
    pub headers: Option<HeadersFit>,
    /// Requests call tools, and are judged like calls of a model.
    pub calls: bool,
    /// Tools that an answer or an event offers, to be pinned.
    pub definitions: fn(Value<'_>) -> Vec<Definition>,
    /// What a client that was shown this event will expect of the end.
    pub mark: fn(Value<'_>) -> Mark,
    pub ending: Ending,
    /// How a model is asked once more for an answer that broke its schema; absent where it never is.
    pub again: Option<again::Again>,
    /// Absent where an answer is one choice.
    pub choices: Option<Choices>,
    /// Present where it is a session over a WebSocket.
    pub live: Option<Live>,
}

/// A session: events in both directions, several answers in one.
#[derive(Debug)]
pub struct Live {
    /// The thread that an event of the provider belongs to; absent where an event stands alone.
    pub thread: fn(Value<'_>) -> Option<Thread>,
    /// The item that an event of either side tells of.
    pub item: fn(Value<'_>) -> Option<Item>,
    /// What an event of the client says of the tools that answers may call.
    pub offer: fn(Value<'_>) -> Offer,
    /// The event that makes the provider stop.
    pub cancel: &'static str,
}

/// An item of the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub id: Option<String>,
    /// What it says that an answer may say (a call, words of the assistant), as far as it is there.
    pub says: Option<String>,
    /// It is all there.
    pub complete: bool,
}

/// Which answers may call the tools that an event of the client names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It says nothing of tools, and asks for no answer.
    Nothing,
    /// All that have no tools of their own.
    Session,
    /// The one that it asks for, if it names some; it has those of the session otherwise.
    Answer { own: bool },
}

/// Events whose texts continue each other, and end together: an answer, or a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    pub name: String,
    /// Nothing waits for it but itself.
    pub aside: bool,
    /// Once it has ended, nothing more is said under its name.
    pub once: bool,
}

impl Surface {
    /// A surface that does not stream and says nothing of itself: JSON in, JSON out. The others differ from it.
    const fn plain(id: &'static str, dialect: Dialect, routes: &'static [&'static str]) -> Surface {
        Surface {
            id,
            dialect,
            methods: &["POST"],
            serves: |_| false,
            routes,
            asks: Asks::Json,
            answers: Answers::Json,
            framing: Framing::Sse,
            request: Table::none,
            response: Table::none,
            event: |_| Table::none(),
            events: Vec::new,
            repeats: false,
            request_facts: common::request_facts,
            note_response: common::note_response,
            signal: |_| Signal::None,
            kept: false,
            headers: None,
            calls: false,
            definitions: |_| Vec::new(),
            mark: |_| Mark::default(),
            ending: Ending::PLAIN,
            again: None,
            choices: None,
            live: None,
        }
    }

    /// One of its endpoints as it stands in the map: nothing in the path is the caller's.
    pub fn is_plain_route(&self, method: &str, path: &str) -> bool {
        self.routes.iter().any(|route| route.split_once(' ') == Some((method, path)) && !route.contains('{'))
    }

    /// Whether its answers can stream.
    pub fn streams(&self) -> bool {
        !(self.events)().is_empty()
    }
}

/// The surfaces of this version.
pub const SURFACES: [&Surface; 36] = [
    &openai_chat::SURFACE,
    &openai_responses::SURFACE,
    &openai_completions::SURFACE,
    &openai_embeddings::EMBEDDINGS,
    &openai_embeddings::MODERATIONS,
    &openai_media::IMAGES,
    &openai_media::SPEECH,
    &openai_media::TRANSCRIPTIONS,
    &openai_realtime::SURFACE,
    &openai_conversations::SURFACE,
    // Before the files that stand by themselves.
    &openai_vector_stores::SURFACE,
    &openai_stored::RESPONSES,
    &openai_stored::FILES,
    &openai_stored::CONTENT,
    // Before the batches of others.
    &gemini_batches::SURFACE,
    &openai_stored::BATCHES,
    &openai_stored::MODELS,
    &anthropic_messages::SURFACE,
    &anthropic_batches::COUNT_TOKENS,
    &anthropic_batches::BATCHES,
    &anthropic_batches::RESULTS,
    &gemini_generate::SURFACE,
    &gemini_count::COUNT_TOKENS,
    &gemini_count::EMBEDDINGS,
    &gemini_caches::SURFACE,
    &gemini_interactions::SURFACE,
    &bedrock::CONVERSE,
    &bedrock::INVOKE,
    &ollama::CHAT,
    &ollama::GENERATE,
    &ollama::EMBED,
    &ollama::INFO,
    &cohere::CHAT,
    &cohere::EMBED,
    &cohere::RERANK,
    &mcp::SURFACE,
];
