//! A simulated provider: the wire formats of OpenAI, Anthropic, Gemini, Ollama, Bedrock and Cohere, and no model behind
//! them.
//!
//! It is for tests and for trying Clyra without a key, and says so wherever it shows: every response carries
//! `x-simulated-provider: clyra-simulator`, its models are called `simulated-…`, and its default answer says
//! what it is. No key is checked, and nothing leaves the machine.
//!
//! What it answers is told to it in the prompt. A line of the last user message that starts with `!sim ` and a
//! JSON object, or with `!sim64 ` and the same object in base64 (so that a phrase does not stand in the request
//! in clear), is a [directive](Directive): the text, tool calls or error to answer with, how to cut it into
//! events and writes, and what to break. Without one the answer is a harmless sentence.
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use clyra_simulator::{Options, Simulator, directive_line};
//!
//! let simulator = Simulator::start(Options::default()).await?;
//! let prompt = directive_line(&serde_json::json!({"content": "four", "split": 1, "delay_ms": 5}));
//! // POST {simulator.url()}/v1/chat/completions with `prompt` as the last user message ...
//! assert_eq!(simulator.requests().len(), 0);
//! simulator.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! A test that needs exact bytes on the wire scripts them instead, with [`Simulator::script`] or, where
//! requests run concurrently, [`Simulator::script_for`].

mod bedrock;
mod chat;
mod cohere;
mod completions;
mod directive;
mod embeddings;
mod event_stream;
mod gemini;
mod json;
mod messages;
mod moderations;
mod ollama;
mod outgoing;
mod pieces;
mod prompt;
mod provider_error;
mod record;
mod responses;
mod script;
mod server;
mod sse;
mod transmission;

pub use directive::{Directive, FunctionCall, ReasoningField, Reply, ToolCall, directive_line};
pub use record::SeenRequest;
pub use script::{SCRIPT_HEADER, ScriptEnd, Scripted};
pub use server::{Options, Simulator};

/// The header that every response carries, so that nobody takes this for a provider.
pub const SIMULATED_HEADER: &str = "x-simulated-provider";

/// What [`SIMULATED_HEADER`] says.
pub const SIMULATED_BY: &str = "clyra-simulator";

/// The model name in every chat answer and every response.
pub const CHAT_MODEL: &str = "simulated-gpt";

/// The model name in every messages answer.
pub const MESSAGES_MODEL: &str = "simulated-claude";

/// The model name in every Gemini answer.
pub const GEMINI_MODEL: &str = "simulated-gemini";

/// The model name in every answer of Ollama.
pub const OLLAMA_MODEL: &str = "simulated-llama";

/// The model name in every embeddings answer.
pub const EMBEDDING_MODEL: &str = "simulated-embedding";

/// The model name in every moderations answer.
pub const MODERATION_MODEL: &str = "simulated-moderation";

/// What is answered without a directive.
pub const CANNED_ANSWER: &str = "This is a simulated answer: no model was asked.";
