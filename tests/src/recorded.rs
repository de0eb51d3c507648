//! The recorded exchanges of real providers, where they are at hand.

use std::path::PathBuf;

pub use clyra_campaigns::dice::Dice as Random;
use clyra_simulator::Scripted;
use serde_json::{Value, json};

/// One recorded exchange.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub id: String,
    pub api: String,
    pub path: String,
    pub query: String,
    pub status: u16,
    pub content_type: String,
    pub stream: bool,
    pub request: Option<Vec<u8>>,
    pub response: Vec<u8>,
}

impl Recorded {
    /// The request as recorded, or the least that asks for the same kind of answer.
    pub fn request_body(&self) -> Vec<u8> {
        let (stream, any) = (self.stream, "any");
        let least = || match self.api.as_str() {
            "openai.responses" | "openai.responses-compact" => json!({"model": "m", "stream": stream, "input": any}),
            "openai.chat" | "anthropic.messages" => {
                json!({"model": "m", "max_tokens": 10, "stream": stream, "messages": []})
            }
            api if api.starts_with("gemini.") => json!({"contents": [{"parts": [{"text": any}]}]}),
            _ => json!({"model": "m", "stream": stream}),
        };
        let least = || least().to_string().into_bytes();
        let read = |body: &Vec<u8>| serde_json::from_slice::<Value>(body).ok();
        let Some((body, mut recorded)) = self.request.clone().and_then(|body| Some((read(&body)?, body))) else {
            return least();
        };
        // One recording shows a stream that its request does not ask for.
        if self.api == "openai.completions" && stream && body.get("stream").is_none() {
            recorded.truncate(recorded.len() - 1);
            recorded.extend_from_slice(b",\"stream\":true}");
        }
        recorded
    }

    /// The path as recorded, unless the recording has a placeholder there.
    pub fn usual_path(&self) -> String {
        let usual = || match self.api.as_str() {
            "openai.chat" => "/v1/chat/completions",
            "openai.responses" => "/v1/responses",
            "anthropic.messages" => "/v1/messages",
            "gemini.generateContent" => "/v1beta/models/m:generateContent",
            "gemini.streamGenerateContent" => "/v1beta/models/m:streamGenerateContent",
            api => panic!("no usual path of {api}: {}", self.path),
        };
        let path = if self.path.starts_with('/') { self.path.as_str() } else { usual() };
        of_address(path)
    }

    /// Path and query.
    pub fn address(&self) -> String {
        match self.query.as_str() {
            "" => self.usual_path(),
            query => format!("{}?{}", self.usual_path(), of_address(query)),
        }
    }

    /// The answer as a script of the simulated provider, cut at random into pieces of at most one of these sizes.
    pub fn scripted(&self, random: &mut Random, sizes: &[usize]) -> Scripted {
        let most = sizes[random.below(sizes.len())];
        Scripted {
            status: self.status,
            headers: vec![("content-type".into(), self.content_type.clone())],
            chunks: random.cut(&self.response, most),
            ..Scripted::default()
        }
    }
}

/// Redactions of the recording are no part of an address.
fn of_address(text: &str) -> String {
    text.replace(['<', '>', '[', ']'], "")
}

/// Root of the shared data, or `None`, said in so many words; CI does not accept that.
pub fn shared_data() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let root = PathBuf::from(std::env::var("CLYRA_SHARED_DATA").unwrap_or_else(|_| beside.into()));
    if root.join("recorded/INDEX.ndjson").exists() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none(), "CI must not skip: no shared data at {}", root.display());
    println!("skipped: the recorded exchanges are not at {}", root.display());
    None
}

/// Every usable recorded exchange of the given APIs, or of all.
pub fn recorded(apis: &[&str]) -> Option<Vec<Recorded>> {
    let root = shared_data()?.join("recorded");
    let index = std::fs::read_to_string(root.join("INDEX.ndjson")).unwrap();
    let mut out = Vec::new();
    for line in index.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        if entry["usable"] != true || !(apis.is_empty() || apis.contains(&text("api").as_str())) {
            continue;
        }
        let file = root.join(text("file"));
        let request = file.to_string_lossy().split(".response.").next().map(|stem| format!("{stem}.request.json"));
        out.push(Recorded {
            id: text("id"),
            api: text("api"),
            path: text("path"),
            query: text("query"),
            status: entry["status"].as_u64().unwrap() as u16,
            content_type: text("content_type"),
            stream: entry["stream"] == true,
            request: request.and_then(|path| std::fs::read(path).ok()),
            response: std::fs::read(&file).unwrap(),
        });
    }
    Some(out)
}
