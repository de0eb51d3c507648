//! Tool calls in the making: names and arguments come apart and belong together by their indices.
//!
//! A call is judged once it is complete, also one without arguments, or with arguments that came as a value. Where a call
//! can be read in two ways, every reading is judged.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{Found, ToolCall};
use crate::surface::{Channel, Join, Segment};

/// Most tool calls of one answer that are followed; the recorded maximum is far below.
const CALLS_MAX: usize = 256;

/// Most names and values of arguments at one place: providers send one of each.
const PARTS_MAX: usize = 16;

/// More calls, or more parts of one, than are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// Collects calls by their place.
#[derive(Debug, Default)]
pub(super) struct Calls {
    by_place: BTreeMap<String, Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    names: Vec<String>,
    /// Arguments that did not stream.
    values: Vec<String>,
    judged: bool,
}

impl Calls {
    /// Notes that a call stands at `place`. One that comes where another was complete is a call of its own.
    pub(super) fn note(&mut self, place: &str) -> Result<(), TooMany> {
        self.at(place, false).map(drop)
    }

    /// Notes what a text that stands alone says of a call.
    pub(super) fn note_part(&mut self, segment: &Segment, text: &str) -> Result<(), TooMany> {
        if !segment.channel.is_tool_call() {
            return Ok(());
        }
        let parts = self.at(&segment.path_index, segment.join == Join::Again)?;
        let list = if segment.channel == Channel::ToolName { &mut parts.names } else { &mut parts.values };
        if list.len() >= PARTS_MAX {
            return Err(TooMany);
        }
        list.extend(Some(text.to_owned()).filter(|t| !t.is_empty()));
        Ok(())
    }

    /// `again`: what is noted repeats a complete call and does not agree with it, so the same call is judged once more.
    fn at(&mut self, place: &str, again: bool) -> Result<&mut Parts, TooMany> {
        if !self.by_place.contains_key(place) && self.by_place.len() >= CALLS_MAX {
            return Err(TooMany);
        }
        let parts = self.by_place.entry(place.to_owned()).or_default();
        if parts.judged {
            let names = std::mem::take(&mut parts.names);
            *parts = Parts { names: if again { names } else { Vec::new() }, ..Parts::default() };
        }
        Ok(parts)
    }

    /// Says which tool the findings of a call's text belong to.
    pub(super) fn name(&self, place: &str, found: &mut [Found]) {
        for found in found.iter_mut().filter(|f| f.channel.is_tool_call()) {
            found.tool = self.by_place.get(place).filter(|p| !p.names.is_empty()).map(|p| p.names.concat());
        }
    }

    /// The tool that is called at `place`, as far as its name has come: what its parts make together, or the one name that
    /// all of them repeat.
    pub(super) fn called(&self, place: &str) -> Option<String> {
        let names = &self.by_place.get(place)?.names;
        let first = names.first()?;
        Some(if names.iter().all(|name| name == first) { first.clone() } else { names.concat() })
    }

    /// Every call with its tool, where that is known; those at the places of `but` left out.
    pub(super) fn called_all(&self, but: &BTreeSet<String>) -> BTreeMap<String, Option<String>> {
        let places = self.by_place.keys().filter(|place| !but.contains(*place));
        places.map(|place| (place.clone(), self.called(place))).collect()
    }

    /// Places of calls that have not been judged.
    pub(super) fn pending(&self) -> Vec<String> {
        self.by_place.iter().filter(|(_, parts)| !parts.judged).map(|(place, _)| place.clone()).collect()
    }

    pub(super) fn is_pending(&self, place: &str) -> bool {
        self.by_place.get(place).is_some_and(|parts| !parts.judged)
    }

    /// All readings of the call at `place`, which is complete now; `streamed` is what came of its arguments in pieces.
    pub(super) fn readings(&mut self, place: &str, streamed: Vec<String>) -> Vec<ToolCall> {
        let Some(parts) = self.by_place.get_mut(place) else { return Vec::new() };
        parts.judged = true;
        let mut arguments: Vec<String> = streamed.into_iter().filter(|text| !text.is_empty()).collect();
        // What a block begins with is an empty object where pieces follow, and those count then.
        let only = arguments.is_empty();
        arguments.extend(parts.values.iter().filter(|value| only || value.as_str() != "{}").cloned());
        if arguments.is_empty() {
            arguments.push(String::new());
        }
        // A name may come in fragments; or two calls stand at one place, because the provider does not number them.
        let mut names = vec![parts.names.concat()];
        if parts.names.len() > 1 {
            names.extend(parts.names.iter().cloned());
        }
        let call = |name: &String, arguments: &String| ToolCall { name: name.clone(), arguments: arguments.clone() };
        names.iter().flat_map(|name| arguments.iter().map(move |arguments| call(name, arguments))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::Form;

    fn part(channel: Channel, place: &str) -> Segment {
        Segment { channel, path_index: place.to_owned(), ..Segment::loose(Form::Text) }
    }

    fn readings(calls: &mut Calls, streamed: &[&str]) -> Vec<String> {
        let streamed = streamed.iter().map(|&text| text.to_owned()).collect();
        calls.readings("0/0", streamed).into_iter().map(|call| format!("{}({})", call.name, call.arguments)).collect()
    }

    #[test]
    fn every_reading_of_a_call_is_judged_once() {
        let mut calls = Calls::default();
        calls.note_part(&part(Channel::ToolName, "0/0"), "shell").unwrap();
        assert_eq!(calls.pending(), ["0/0"]);
        assert_eq!(readings(&mut calls, &[""]), ["shell()"]);
        assert!(calls.pending().is_empty() && !calls.is_pending("0/0"));

        calls.note_part(&part(Channel::ToolName, "0/0"), "refund").unwrap();
        calls.note_part(&part(Channel::ToolArguments, "0/0"), "{}").unwrap();
        assert!(calls.is_pending("0/0"), "another call at the same place");
        assert_eq!(readings(&mut calls, &["{\"a\":1}"]), ["refund({\"a\":1})"]);

        calls.note_part(&part(Channel::ToolName, "0/0"), "re").unwrap();
        calls.note_part(&part(Channel::ToolName, "0/0"), "fund").unwrap();
        calls.note_part(&part(Channel::ToolArguments, "0/0"), "{\"a\":1}").unwrap();
        assert_eq!(readings(&mut calls, &[]), ["refund({\"a\":1})", "re({\"a\":1})", "fund({\"a\":1})"]);
        assert_eq!(Calls::default().readings("0/0", Vec::new()), []);
    }

    #[test]
    fn a_call_that_is_said_again_differently_keeps_its_name() {
        let mut calls = Calls::default();
        calls.note_part(&part(Channel::ToolName, "0/0"), "shell").unwrap();
        assert_eq!(readings(&mut calls, &["{\"a\":1}"]), ["shell({\"a\":1})"]);
        let again = Segment { join: Join::Again, ..part(Channel::ToolArguments, "0/0") };
        calls.note_part(&again, "{\"a\":2}").unwrap();
        assert!(calls.is_pending("0/0"));
        assert_eq!(readings(&mut calls, &[]), ["shell({\"a\":2})"]);
    }

    #[test]
    fn calls_and_their_parts_are_bounded() {
        let mut calls = Calls::default();
        for number in 0..CALLS_MAX {
            calls.note(&number.to_string()).unwrap();
        }
        assert_eq!(calls.note("one more"), Err(TooMany));
        for _ in 0..PARTS_MAX {
            calls.note_part(&part(Channel::ToolName, "0"), "n").unwrap();
        }
        assert_eq!(calls.note_part(&part(Channel::ToolName, "0"), "n"), Err(TooMany));
        assert_eq!(calls.note_part(&part(Channel::Content, "one more"), "text"), Ok(()));
    }
}
