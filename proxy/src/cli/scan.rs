//! `clyra scan`: detectors and policy over recorded text, one line at a time. What it decides is what the sidecar would
//! decide about the same text, because the same engine and the same judge do it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clyra_detectors::{Engine, View};
use clyra_policy::{Policy, RequestFacts};
use serde_json::{Value, json};

use super::exit::Outcome;
use super::lines::{LineError, Lines};
use super::print;
use super::serve::policy_and_engine;
use crate::exchange::judge::{Context, Decided, Judged, PolicyJudge};
use crate::guard::{Cause, Found, Gap, Judge};
use crate::surface::{Channel, ResponseFacts};

/// Run detectors and policy over recorded text: JSON Lines {"id","text"} on stdin, {"id","findings","action"} on stdout.
///
/// Each text is judged by itself, in input order, as a text of the given channel: by the rules for requests, or by those
/// for answers if the channel belongs to an answer. `action` (allow, redact or block) is what the policy decides,
/// whether or not its mode applies it. A text that a detector could not read to its end has a member `gaps`. Ends with
/// status 2 at the first line that is not such an object.
///
/// Example: jq -c '{id, text: .prompt}' traffic.jsonl | clyra scan --policy policy.yaml
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Policy to decide by; without one everything is found and nothing is acted upon
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where the texts stand in a conversation
    #[arg(long, value_name = "CHANNEL", default_value = "user", value_parser = channels())]
    channel: String,
}

/// Channels of a request and, from `content` on, of an answer.
const CHANNELS: [Channel; 12] = [
    Channel::System,
    Channel::User,
    Channel::Assistant,
    Channel::ToolResult,
    Channel::ToolDefinition,
    Channel::Metadata,
    Channel::Content,
    Channel::Reasoning,
    Channel::Refusal,
    Channel::ToolName,
    Channel::ToolArguments,
    Channel::FunctionCall,
];

fn channels() -> clap::builder::PossibleValuesParser {
    CHANNELS.map(Channel::as_str).into()
}

pub(super) fn run(args: &Args) -> Outcome {
    let (policy, engine) = policy_and_engine(args.policy.as_deref())?;
    let channel = CHANNELS.into_iter().find(|channel| channel.as_str() == args.channel).unwrap_or(Channel::User);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let scanner = Scanner::new(policy, engine, channel, i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    match scanner.scan(io::stdin(), &mut print::stdout()) {
        Err(LineError::Write(error)) => print::written(Err(error))?,
        other => other?,
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug)]
struct Scanner {
    engine: Arc<Engine>,
    context: Arc<Context>,
    channel: Channel,
}

impl Scanner {
    fn new(policy: Policy, engine: Engine, channel: Channel, now_unix_s: i64) -> Scanner {
        let caller = policy.caller(None);
        let context = Context {
            policy: Arc::new(policy),
            caller,
            request: RequestFacts::default(),
            now_unix_s,
            calls: false,
            kept: None,
            pins: None,
        };
        Scanner { engine: Arc::new(engine), context: Arc::new(context), channel }
    }

    fn scan(&self, input: impl Read, out: &mut dyn Write) -> Result<(), LineError> {
        let mut lines = Lines::new(input);
        let done = loop {
            match self.line(&mut lines, out) {
                Ok(true) if lines.is_drained() => out.flush().map_err(LineError::Write)?,
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // What came before a bad line stands.
        out.flush().map_err(LineError::Write)?;
        done
    }

    /// Answers one line; `false` when there is none.
    fn line<R: Read>(&self, lines: &mut Lines<R>, out: &mut dyn Write) -> Result<bool, LineError> {
        let Some(line) = lines.next()? else { return Ok(false) };
        let text = line.text("text", "no member `text` that is a string; each line is {\"id\": …, \"text\": \"…\"}")?;
        let (decided, failed) = self.judge(&text);
        let findings: Value = decided.findings.iter().map(finding).collect();
        let mut write = || {
            out.write_all(b"{\"id\":")?;
            out.write_all(line.id())?;
            write!(out, ",\"findings\":{},\"action\":\"{}\"", findings, decided.action.as_str())?;
            if decided.findings_total > decided.findings.len() as u64 {
                write!(out, ",\"findings_total\":{}", decided.findings_total)?;
            }
            if failed {
                write!(out, ",\"gaps\":[\"{}\"]", Gap::DetectorError.as_str())?;
            }
            out.write_all(b"}\n")
        };
        write().map_err(LineError::Write)?;
        Ok(true)
    }

    fn judge(&self, text: &str) -> (Decided, bool) {
        let context = Arc::clone(&self.context);
        let mut judge = match self.channel {
            Channel::Content | Channel::Reasoning | Channel::Refusal => {
                PolicyJudge::response(context, 200, BTreeMap::new())
            }
            channel if channel.is_tool_call() => PolicyJudge::response(context, 200, BTreeMap::new()),
            _ => PolicyJudge::request(context),
        };
        // Arguments of a call are a JSON text of their own, in which a finding may be spelled with escapes.
        let view = match self.channel {
            Channel::ToolArguments | Channel::FunctionCall => View::Json,
            _ => View::Plain,
        };
        let (mut stream, mut new) = (self.engine.stream(view), Vec::new());
        stream.feed(text, &mut new);
        stream.finish(&mut new);
        let failed = stream.failed().is_some();
        let mut found: Vec<Found> = new
            .into_iter()
            .map(|finding| Found {
                detector: finding.detector,
                class: finding.class,
                score_ppm: finding.score_ppm,
                channel: self.channel,
                pointer: "/text".into(),
                start: finding.start,
                end: finding.end,
                contained: finding.contained,
                tool: None,
            })
            .collect();
        found.sort_by(|a, b| (a.start, a.end, &a.detector).cmp(&(b.start, b.end, &b.detector)));
        // Without findings too: a rule may look at nothing but the request.
        judge.findings(&found, &ResponseFacts::default());
        if failed {
            judge.gap(Gap::DetectorError, Cause::Unavailable);
        }
        (judge.decided, failed)
    }
}

fn finding(judged: &Judged) -> Value {
    let found = &judged.found;
    json!({
        "detector": &*found.detector,
        "class": &*found.class,
        "score": f64::from(found.score_ppm) / 1e6,
        "channel": found.channel.as_str(),
        "place": {"pointer": found.pointer, "offset": found.start, "length": found.end.saturating_sub(found.start)},
        "owasp": judged.threat.owasp,
        "atlas": judged.threat.atlas,
    })
}

#[cfg(test)]
mod tests;
