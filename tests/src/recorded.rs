//! The recorded exchanges of real providers, where they are at hand.

use std::path::PathBuf;

pub use clyra_campaigns::dice::Dice as Random;
use serde_json::Value;

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
