//! What the demonstration shows: plain lines on stdout that a newcomer understands in a minute.

use std::net::SocketAddr;
use std::path::Path;

use clyra_receipts::bundle::Sealed;
use clyra_receipts::verify::Verdict;
use serde_json::Value;

use super::client::Answer;
use super::scenes::Scene;

pub(super) struct Picture;

impl Picture {
    pub(super) fn begin(address: SocketAddr, provider: &str, policy: &Path) -> Picture {
        println!("Clyra quickstart: nothing here needs a key, and nothing leaves this machine.\n");
        println!("  application ──▶ Clyra http://{address} ──▶ simulated provider {provider}");
        println!("  policy          {}\n", policy.display());
        Picture
    }

    /// Shows one exchange; `true` if the decision is the expected one.
    pub(super) fn exchange(&self, number: usize, scene: &Scene, answer: &Answer, provider_saw: Option<&str>) -> bool {
        let text = answer.text();
        let error = error_of(&text);
        let decision = match (&error, answer.header("x-clyra-decision")) {
            // The head of a stream leaves before its end is known: a block in the middle comes as an error event.
            (Some(_), "allow" | "redact") if answer.status.is_success() => "block",
            (_, decision) => decision,
        };
        let mark = if decision == scene.expect { "✓" } else { "✗" };
        println!("{number}. {} {mark} {}", scene.title, decision.to_uppercase());
        println!("   sent           {}", scene.sent);
        let saw = match provider_saw {
            None => "nothing: the request did not leave".to_owned(),
            Some(body) if body.contains("[REDACTED:") => format!("…{}…", around(body, "[REDACTED:")),
            Some(_) => "the request, byte for byte".to_owned(),
        };
        println!("   provider saw   {saw}");
        println!("   came back      {} {}", answer.status.as_u16(), shown(&text, answer));
        if let Some(error) = &error {
            println!("   why            {}", error.why);
        }
        println!("   receipt        {}\n", receipt(answer));
        decision == scene.expect
    }

    pub(super) fn bundle(&self, sealed: &Sealed, verdict: &Verdict, data_dir: &Path) {
        let word = if verdict.ok { "✓ verified" } else { "✗ NOT VERIFIED" };
        println!("Evidence: receipts {} to {} sealed into one bundle.", sealed.from, sealed.to.saturating_sub(1));
        println!("  bundle     {}", sealed.path.display());
        println!("  verdict    {word}: every receipt, signature, chain link and the Merkle root");
        for finding in &verdict.findings {
            println!("             {} {}: {}", finding.code.code(), finding.name(), finding.detail);
        }
        println!("  yourself   clyra verify {}", sealed.path.display());
        println!("  events     {}\n", data_dir.join("events/events.ndjson").display());
    }

    pub(super) fn point_an_sdk_at(&self, address: SocketAddr, once: bool) {
        println!("Point an SDK at it (with a real provider: clyra run --upstream openai=https://api.openai.com):");
        println!("  export OPENAI_BASE_URL=http://{address}/v1");
        println!("  export ANTHROPIC_BASE_URL=http://{address}");
        println!(
            "  python -c 'import openai; print(openai.OpenAI(api_key=\"none\").chat.completions.create(model=\"simulated-gpt\", messages=[dict(role=\"user\", content=\"Hello\")]).choices[0].message.content)'"
        );
        if !once {
            println!("\nServing until Ctrl-C.");
        }
    }
}

struct Blocked {
    why: String,
}

/// Clyra's error in a body or in the last event of a stream.
fn error_of(text: &str) -> Option<Blocked> {
    let candidates = text.lines().filter_map(|line| line.strip_prefix("data: ")).chain([text]);
    let value = candidates.filter_map(|c| serde_json::from_str::<Value>(c).ok()).find(|v| v.get("clyra").is_some())?;
    let clyra = value.get("clyra")?;
    let field = |name: &str| clyra.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    Some(Blocked { why: format!("rule {}: {}", field("rule"), field("reason")) })
}

/// The answer in a line: text of a plain answer, or what a streaming client had on its screen.
fn shown(text: &str, answer: &Answer) -> String {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        let screen: String = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str::<Value>(data).ok())
            .filter_map(|event| event.pointer("/choices/0/delta/content").and_then(Value::as_str).map(str::to_owned))
            .collect();
        return format!("stream in {} pieces, on the screen: “{screen}”, then an error event", answer.pieces.len());
    };
    let content = value.pointer("/choices/0/message/content").and_then(Value::as_str);
    let error = value.pointer("/error/code").and_then(Value::as_str);
    match (content, error) {
        (Some(content), _) => format!("“{content}”"),
        (_, Some(code)) => format!("error {code}; the SDK raises its ordinary exception, once"),
        _ => "an answer".into(),
    }
}

fn receipt(answer: &Answer) -> String {
    let token = answer.header("x-clyra-receipt");
    let id = answer.header("x-clyra-request-id");
    let seq = token.split(';').find_map(|part| part.strip_prefix("seq="));
    match seq {
        Some(seq) => format!("#{seq}, request {id}"),
        None => format!("request {id}"),
    }
}

/// Some characters around the first place of `needle`.
fn around(text: &str, needle: &str) -> String {
    let at = text.find(needle).unwrap_or(0);
    let before: Vec<char> = text.get(..at).unwrap_or_default().chars().rev().take(24).collect();
    let after: String = text.get(at..).unwrap_or_default().chars().take(24).collect();
    before.into_iter().rev().chain(after.chars()).collect()
}
