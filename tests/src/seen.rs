//! What Clyra sees of an answer: its texts, put together from its own framing, tables and decoder in the way of its guard, and
//! its tool calls, as the guard itself gives them to a policy.
//!
//! The guard shows nobody the texts. That these are the same is told by their bytes: [`Seen::bytes`] counts what is here, and
//! must be what the guard reported of the same answer, in each channel.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clyra::exchange::gateway::Gateway;
use clyra::guard::{Block, Cause, Found, Gap, Judge, Report, Ruling, SchemaBreach, StreamGuard, ToolCall, answer};
use clyra::json::{Doc, Limits, TextDecoder};
use clyra::surface::{Channel, Definition, Form, Join, ResponseFacts, Segment, Signal, Surface, segments};
use serde_json::{Value, json};

/// One text.
#[derive(Debug)]
struct Text {
    channel: Channel,
    /// Where in the document, or in the event that began it.
    pointer: String,
    /// All indices on the way, as Clyra counts.
    place: String,
    text: String,
    decoder: TextDecoder,
    ended: bool,
}

/// What Clyra sees of one answer.
#[derive(Debug)]
pub struct Seen {
    texts: Vec<Text>,
    calls: Vec<ToolCall>,
    /// Bytes that the guard counted.
    pub inspected: BTreeMap<Channel, u64>,
    facts: ResponseFacts,
}

impl Seen {
    /// `streams`: the answer was inspected event by event.
    pub fn of(surface: &'static Surface, streams: bool, body: &[u8], gateway: &Gateway) -> Seen {
        let mut reader = Reader { surface, texts: Vec::new(), by_key: HashMap::new(), said: HashSet::new() };
        let (calls, report, facts) = if streams {
            reader.stream(body);
            stream(surface, body, gateway)
        } else {
            reader.document(body);
            whole(surface, body, gateway)
        };
        (0..reader.texts.len()).for_each(|index| reader.end(index));
        Seen { texts: reader.texts, calls, inspected: report.bytes, facts }
    }

    /// Bytes of the texts, by channel.
    pub fn bytes(&self) -> BTreeMap<Channel, u64> {
        let mut bytes = BTreeMap::new();
        for text in &self.texts {
            *bytes.entry(text.channel).or_default() += text.text.len() as u64;
        }
        bytes
    }

    pub fn to_json(&self) -> Value {
        let texts = self.texts.iter().filter(|text| !text.text.is_empty());
        let text = |text: &Text| {
            let channel = text.channel.as_str();
            json!({"channel": channel, "pointer": text.pointer, "place": text.place, "text": text.text})
        };
        let call = |call: &ToolCall| json!({"name": call.name, "arguments": call.arguments});
        json!({
            "texts": texts.map(text).collect::<Vec<_>>(),
            "calls": self.calls.iter().map(call).collect::<Vec<_>>(),
            "finish_reasons": self.facts.finish_reasons,
        })
    }
}

/// Puts the pieces of texts together.
struct Reader {
    surface: &'static Surface,
    texts: Vec<Text>,
    by_key: HashMap<String, usize>,
    /// Texts that were complete, and what call they belong to: said again, they are not inspected again.
    said: HashSet<(Channel, Option<String>, String)>,
}

impl Reader {
    fn stream(&mut self, body: &[u8]) {
        let mut framer = self.surface.framing.framer();
        let mut frames = Vec::new();
        framer.feed(body, &mut frames).unwrap();
        frames.extend(framer.finish().unwrap());
        for frame in frames {
            self.loose(Form::Text, &frame.fields);
            let Some(data) = frame.data.filter(|data| data.trim_ascii() != b"[DONE]") else { continue };
            let Ok(doc) = Doc::parse(&data, Limits::default()) else {
                self.loose(Form::JsonValue, &String::from_utf8_lossy(&data));
                continue;
            };
            let root = doc.root(&data);
            for segment in segments((self.surface.event)(root), root) {
                self.segment(&segment, &data[segment.range.clone()]);
            }
            if let Signal::BlockEnd { index } = (self.surface.signal)(root) {
                let inside = |place: &str| place == index || place.starts_with(&format!("{index}/"));
                let ended: Vec<usize> = (0..self.texts.len()).filter(|at| inside(&self.texts[*at].place)).collect();
                ended.into_iter().for_each(|at| self.end(at));
            }
        }
    }

    fn document(&mut self, body: &[u8]) {
        let Ok(doc) = Doc::parse(body, Limits::default()) else {
            return self.loose(Form::JsonValue, &String::from_utf8_lossy(body));
        };
        for segment in segments((self.surface.response)(), doc.root(body)) {
            // What is said again is known in streams only.
            let join = if segment.join == Join::Again { Join::Whole } else { segment.join };
            let raw = &body[segment.range.clone()];
            self.segment(&Segment { join, ..segment }, raw);
        }
    }

    fn loose(&mut self, form: Form, text: &str) {
        if !text.is_empty() {
            self.new_text(&Segment::loose(form), text.to_owned());
        }
    }

    fn segment(&mut self, segment: &Segment, raw: &[u8]) {
        if segment.form == Form::Media {
            return;
        }
        let known = self.by_key.get(&segment.key).copied();
        if segment.join == Join::Stream {
            let open = known.filter(|at| !self.texts[*at].ended);
            let at = open.unwrap_or_else(|| self.new_text(segment, String::new()));
            self.by_key.insert(segment.key.clone(), at);
            let text = &mut self.texts[at];
            return text.decoder.feed(raw, &mut text.text);
        }
        let mut text = String::new();
        if segment.form == Form::JsonValue {
            text.push_str(&String::from_utf8_lossy(raw));
        } else {
            let mut decoder = TextDecoder::default();
            decoder.feed(raw, &mut text);
            decoder.finish(&mut text);
        }
        if segment.join == Join::Again {
            known.into_iter().for_each(|at| self.end(at));
            if !self.said.insert(said(segment.channel, &segment.path_index, &text)) {
                return;
            }
        }
        self.new_text(segment, text);
    }

    fn new_text(&mut self, segment: &Segment, text: String) -> usize {
        self.texts.push(Text {
            channel: segment.channel,
            pointer: segment.pointer.clone(),
            place: segment.path_index.clone(),
            text,
            decoder: TextDecoder::default(),
            ended: segment.join != Join::Stream,
        });
        self.texts.len() - 1
    }

    /// Nothing more comes of this text.
    fn end(&mut self, at: usize) {
        let text = &mut self.texts[at];
        if !std::mem::replace(&mut text.ended, true) {
            std::mem::take(&mut text.decoder).finish(&mut text.text);
            self.said.insert(said(text.channel, &text.place, &text.text));
        }
    }
}

/// A text as it is known again: calls with the same arguments are two calls.
fn said(channel: Channel, place: &str, text: &str) -> (Channel, Option<String>, String) {
    (channel, channel.is_tool_call().then(|| place.to_owned()), text.to_owned())
}

fn stream(surface: &'static Surface, body: &[u8], gateway: &Gateway) -> (Vec<ToolCall>, Report, ResponseFacts) {
    let mut guard = StreamGuard::new(surface, Arc::clone(&gateway.engine), Recorder::default(), Vec::new());
    guard.feed(body, Duration::ZERO, &mut Vec::new()).unwrap();
    guard.finish(Duration::ZERO).unwrap();
    (guard.judge.calls, guard.report, guard.facts)
}

fn whole(surface: &'static Surface, body: &[u8], gateway: &Gateway) -> (Vec<ToolCall>, Report, ResponseFacts) {
    let (mut recorder, mut report, mut facts) = (Recorder::default(), Report::default(), ResponseFacts::default());
    let body = Bytes::copy_from_slice(body);
    answer(surface, &gateway.engine, body, Vec::new(), &mut recorder, (&mut report, &mut facts)).unwrap();
    (recorder.calls, report, facts)
}

/// A judge that lets everything pass and remembers the calls.
#[derive(Debug, Default)]
struct Recorder {
    calls: Vec<ToolCall>,
}

impl Judge for Recorder {
    fn request(&mut self, _: &[Found], _: bool) -> Ruling {
        Ruling::default()
    }

    fn findings(&mut self, _: &[Found], _: &ResponseFacts) -> Ruling {
        Ruling::default()
    }

    fn answer(&mut self, _: &ResponseFacts, _: bool) -> Option<Block> {
        None
    }

    fn enforces(&self) -> bool {
        true
    }

    fn wants_tool_calls(&self) -> bool {
        true
    }

    fn tool_call(&mut self, call: &ToolCall, _: &ResponseFacts) -> Option<Block> {
        self.calls.push(call.clone());
        None
    }

    fn gap(&mut self, _: Gap, _: Cause) -> Option<Block> {
        None
    }

    fn schema(&mut self, _: &SchemaBreach) -> Option<Block> {
        None
    }

    fn share(&mut self, _: &Self) {}

    fn stored(&mut self, _: &[String]) -> Result<bool, Block> {
        Ok(true)
    }

    fn definitions(&mut self, _: &[Definition]) -> Vec<Found> {
        Vec::new()
    }
}
