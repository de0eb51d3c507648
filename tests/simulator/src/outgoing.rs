//! Turns an answer into a response: status, headers and the steps of its body.

use std::collections::VecDeque;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use serde_json::Value;

use crate::directive::Directive;
use crate::provider_error::{self, Surface};
use crate::sse::{self, Event};
use crate::transmission::Step;
use crate::{event_stream, json};

/// The most events of one stream; they are made before the first is sent, at some 300 bytes each.
const EVENTS_MAX: usize = 200_000;

/// How the events of a stream are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As server-sent events.
    Events,
    /// As server-sent events whose lines end in CR LF.
    CrLfEvents,
    /// As the elements of one JSON array.
    Array,
    /// As JSON Lines.
    Lines,
    /// As binary messages of an AWS event stream.
    EventStream,
}

/// A response before it goes out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) first_delay: Duration,
    pub(crate) steps: VecDeque<Step>,
    /// The length of the body, when it is announced.
    pub(crate) announced_bytes: Option<u64>,
    pub(crate) write_bytes: Option<NonZeroUsize>,
}

/// What answers carry besides their content.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// Counts requests, so that identifiers are unique and the same in every run.
    pub(crate) number: u64,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The request body.
    pub(crate) body: &'a [u8],
}

impl Call<'_> {
    pub(crate) fn request_id(&self) -> String {
        format!("req_simulated{:06}", self.number)
    }

    /// A rough count: nothing depends on it but that it grows with the request.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.body.len().div_ceil(4)
    }
}

impl Outgoing {
    /// A plain JSON answer.
    pub(crate) fn plain(body: &Value, directive: &Directive) -> Self {
        let mut text = json::to_string(body, directive);
        if directive.malformed_event == Some(0) {
            text = sse::first_half(&text).to_owned();
        }
        let mut bytes = text.into_bytes();
        if directive.gzip {
            bytes = gzip(&bytes);
        }
        let announced_bytes = Some(bytes.len() as u64);
        let unfinished = if directive.cut_after == Some(0) {
            Some(Step::Cut)
        } else {
            (directive.stall_after == Some(0)).then_some(Step::Stall)
        };
        if unfinished.is_some() {
            bytes.truncate(bytes.len() / 2);
        }
        let steps = std::iter::once(Step::Write(bytes.into())).chain(unfinished).collect();
        Self::with(StatusCode::OK, "application/json", steps, announced_bytes, directive)
    }

    /// A streamed answer, or what to say to the client when there would be too many events.
    pub(crate) fn stream(events: &[Event], directive: &Directive, framing: Framing) -> Result<Self, String> {
        if events.len() > EVENTS_MAX {
            return Err(format!(
                "The answer would have {} events, more than {EVENTS_MAX}: ask for larger pieces with split.",
                events.len()
            ));
        }
        let mut steps = VecDeque::with_capacity(events.len());
        let mut unfinished = None;
        for (index, event) in events.iter().enumerate() {
            unfinished = broken_off(index, directive);
            if unfinished.is_some() {
                break;
            }
            if index > 0 && directive.delay_ms > 0 {
                steps.push_back(Step::Wait(Duration::from_millis(directive.delay_ms)));
            }
            let malformed = directive.malformed_event == Some(index);
            let data = if malformed { sse::first_half(&event.data) } else { &event.data };
            let bytes = match framing {
                Framing::Array => format!("{}{data}", if index == 0 { "[" } else { ",\r\n" }).into_bytes(),
                Framing::Lines => format!("{data}\n").into_bytes(),
                Framing::EventStream => event_stream::message(event.name.as_deref().unwrap_or_default(), data),
                Framing::Events | Framing::CrLfEvents => {
                    let crlf = directive.crlf || framing == Framing::CrLfEvents;
                    if directive.comments {
                        steps.push_back(Step::Write(Bytes::from_static(sse::comment(crlf))));
                    }
                    event.to_bytes(crlf, malformed)
                }
            };
            steps.push_back(Step::Write(bytes.into()));
        }
        let unfinished = unfinished.or_else(|| broken_off(events.len(), directive));
        if framing == Framing::Array && unfinished.is_none() {
            steps.push_back(Step::Write(Bytes::from_static(if events.is_empty() { b"[]" } else { b"]" })));
        }
        if directive.gzip {
            steps = gzip_each(steps, unfinished.is_none());
        }
        steps.extend(unfinished);
        let kind = match framing {
            Framing::Events => "text/event-stream; charset=utf-8",
            Framing::CrLfEvents => "text/event-stream",
            Framing::Array => "application/json; charset=UTF-8",
            Framing::Lines => "application/x-ndjson",
            Framing::EventStream => "application/vnd.amazon.eventstream",
        };
        Ok(Self::with(StatusCode::OK, kind, steps, None, directive))
    }

    /// The error that a directive asks for.
    pub(crate) fn directed_error(surface: Surface, status: StatusCode, call: &Call<'_>, directive: &Directive) -> Self {
        let body = provider_error::body(surface, status, directive.content.as_deref(), &call.request_id());
        let mut outgoing = Self::plain(&body, directive);
        outgoing.status = status;
        outgoing.headers.extend(provider_error::header(surface, status));
        if status == StatusCode::TOO_MANY_REQUESTS {
            outgoing.headers.push(("retry-after", "1".into()));
        }
        outgoing
    }

    /// An error of the simulator about the request itself.
    pub(crate) fn refusal(surface: Surface, status: StatusCode, message: &str, request_id: &str) -> Self {
        let body = provider_error::body(surface, status, Some(message), request_id);
        let mut outgoing = Self::plain(&body, &Directive::default());
        outgoing.status = status;
        outgoing.headers.extend(provider_error::header(surface, status));
        outgoing
    }

    fn with(
        status: StatusCode,
        content_type: &'static str,
        steps: VecDeque<Step>,
        announced_bytes: Option<u64>,
        directive: &Directive,
    ) -> Self {
        let mut headers = vec![("content-type", content_type.to_owned())];
        if directive.gzip {
            headers.push(("content-encoding", "gzip".into()));
        }
        Self {
            status,
            headers,
            first_delay: Duration::from_millis(directive.first_delay_ms),
            steps,
            announced_bytes,
            write_bytes: directive.write_bytes,
        }
    }
}

fn broken_off(sent: usize, directive: &Directive) -> Option<Step> {
    if directive.cut_after == Some(sent) {
        return Some(Step::Cut);
    }
    (directive.stall_after == Some(sent)).then_some(Step::Stall)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    // Compressing into memory has no way to fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// Compresses all writes as one stream that can be read after each of them.
fn gzip_each(steps: VecDeque<Step>, finished: bool) -> VecDeque<Step> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    let mut compressed: VecDeque<Step> = steps
        .into_iter()
        .map(|step| match step {
            Step::Write(bytes) => {
                let _ = encoder.write_all(&bytes);
                let _ = encoder.flush();
                Step::Write(std::mem::take(encoder.get_mut()).into())
            }
            other => other,
        })
        .collect();
    if finished {
        compressed.push_back(Step::Write(encoder.finish().unwrap_or_default().into()));
    }
    compressed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn directive(value: Value) -> Directive {
        serde_json::from_value(value).unwrap()
    }

    fn events(count: usize) -> Vec<Event> {
        (0..count).map(|index| Event { name: None, data: index.to_string() }).collect()
    }

    fn steps(count: usize, value: Value) -> Vec<Step> {
        Outgoing::stream(&events(count), &directive(value), Framing::Events).unwrap().steps.into()
    }

    fn write(text: &str) -> Step {
        Step::Write(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn events_are_paced_and_broken_off_as_directed() {
        assert_eq!(steps(2, json!({})), [write("data: 0\n\n"), write("data: 1\n\n")]);
        assert_eq!(
            steps(2, json!({"delay_ms": 7})),
            [write("data: 0\n\n"), Step::Wait(Duration::from_millis(7)), write("data: 1\n\n")]
        );
        assert_eq!(steps(2, json!({"cut_after": 1})), [write("data: 0\n\n"), Step::Cut]);
        assert_eq!(steps(1, json!({"stall_after": 1})), [write("data: 0\n\n"), Step::Stall]);
        assert_eq!(steps(1, json!({"stall_after": 0})), [Step::Stall]);
        assert_eq!(
            steps(1, json!({"comments": true, "crlf": true})),
            [write(": keep-alive\r\n\r\n"), write("data: 0\r\n\r\n")]
        );
    }

    #[test]
    fn an_array_is_written_element_by_element() {
        let array = |count, value: Value| -> Vec<Step> {
            Outgoing::stream(&events(count), &directive(value), Framing::Array).unwrap().steps.into()
        };
        assert_eq!(array(2, json!({})), [write("[0"), write(",\r\n1"), write("]")]);
        assert_eq!(array(2, json!({"cut_after": 1})), [write("[0"), Step::Cut]);
        assert_eq!(array(0, json!({})), [write("[]")]);
    }

    #[test]
    fn a_plain_answer_can_be_broken_off_in_its_middle() {
        let outgoing = Outgoing::plain(&json!({"a": 1}), &directive(json!({"cut_after": 0})));
        assert_eq!(outgoing.steps, [write("{\"a"), Step::Cut]);
        assert_eq!(outgoing.announced_bytes, Some(7));
    }

    #[test]
    fn too_many_events_are_refused() {
        let message = Outgoing::stream(&events(EVENTS_MAX + 1), &Directive::default(), Framing::Events).unwrap_err();
        assert!(message.contains("split"), "{message}");
    }
}
