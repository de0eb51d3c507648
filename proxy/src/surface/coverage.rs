//! What is inspected, said by the tables that inspect it: for people, for programs, and for the test that tries each place.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::table::{Holds, Place};
use super::{Channel, Join, SURFACES, Surface, Table};

/// Where in an exchange a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Request,
    Answer,
    Stream,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Request, Part::Answer, Part::Stream];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Stream => "stream",
        }
    }
}

/// One place that a surface's table names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    pub part: Part,
    /// Members on the way, with `*` for an element of an array.
    pub path: String,
    /// The channels that a text there may belong to.
    pub channels: &'static [Channel],
    /// JSON that belongs to one text rather than text itself.
    pub json: bool,
    /// Media: declared, not inspected.
    pub media: bool,
    /// The text may come in pieces over the events of a stream.
    pub pieces: bool,
    /// A document of the shape that an event has which holds this.
    pub event: String,
}

const BY_ROLE: &[Channel] = &[Channel::System, Channel::User, Channel::Assistant, Channel::ToolResult];
const BY_PART: &[Channel] = &[Channel::Content, Channel::Reasoning];

impl Surface {
    /// Every place that its tables name. What they do not name is inspected as metadata.
    pub fn spots(&self) -> Vec<Spot> {
        let mut spots = Vec::new();
        walk((self.request)(), &mut String::new(), &mut |path, table| {
            spots.extend(spot(Part::Request, path, table, "{}"))
        });
        walk((self.response)(), &mut String::new(), &mut |path, table| {
            spots.extend(spot(Part::Answer, path, table, "{}"))
        });
        for (event, table) in (self.events)() {
            walk(table, &mut String::new(), &mut |path, table| spots.extend(spot(Part::Stream, path, table, &event)));
        }
        spots
    }

    /// What of each channel is seen in each part: the best that is true of any place.
    pub fn seen(&self) -> BTreeMap<Channel, BTreeMap<Part, Seen>> {
        let mut seen: BTreeMap<Channel, BTreeMap<Part, Seen>> = BTreeMap::new();
        for spot in self.spots() {
            let how = if spot.media { Seen::Declared } else { Seen::Inspected };
            for channel in spot.channels {
                let cell = seen.entry(*channel).or_default().entry(spot.part).or_insert(how);
                *cell = (*cell).max(how);
            }
        }
        // Whatever the tables do not name.
        let metadata = seen.entry(Channel::Metadata).or_default();
        for part in Part::ALL {
            if part != Part::Stream || self.streams() {
                metadata.insert(part, Seen::Inspected);
            }
        }
        seen
    }
}

/// How a channel is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// Media that no text detector reads: a gap that each receipt declares.
    Declared,
    /// Every text is inspected.
    Inspected,
}

impl Seen {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Inspected => "inspected",
        }
    }
}

fn walk(table: &'static Table, path: &mut String, visit: &mut dyn FnMut(&str, &'static Table)) {
    visit(path, table);
    let mut below = |name: &str, table: &'static Table| {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(name);
        walk(table, path, visit);
        path.truncate(length);
    };
    for (name, table) in &table.members {
        below(name, table);
    }
    if let Some(elements) = &table.elements {
        below("*", elements);
    }
}

fn spot(part: Part, path: &str, table: &Table, event: &str) -> Option<Spot> {
    let rule = table.rule?;
    Some(Spot {
        part,
        path: path.to_owned(),
        channels: match rule.place {
            Place::Role => BY_ROLE,
            Place::Part => BY_PART,
            Place::Fixed(channel) => one(channel),
        },
        json: rule.holds == Holds::Json,
        media: matches!(rule.holds, Holds::Media(_)),
        pieces: rule.join == Join::Stream,
        event: event.to_owned(),
    })
}

/// The channel as a list that lives as long as the program.
fn one(channel: Channel) -> &'static [Channel] {
    let at = Channel::ALL.iter().position(|other| *other == channel).unwrap_or_default();
    Channel::ALL.get(at..at + 1).unwrap_or_default()
}

/// The map as JSON: `surfaces[].channels.<channel>.<part>` is `inspected` or `declared`; what is not there does not exist.
pub fn map(unknown_surface: &str) -> Json {
    let surfaces: Vec<Json> = SURFACES
        .iter()
        .map(|surface| {
            let channels: serde_json::Map<String, Json> = surface
                .seen()
                .into_iter()
                .map(|(channel, parts)| {
                    let parts: serde_json::Map<String, Json> = parts
                        .into_iter()
                        .map(|(part, seen)| (part.as_str().to_owned(), seen.as_str().into()))
                        .collect();
                    (channel.as_str().to_owned(), parts.into())
                })
                .collect();
            json!({
                "surface": surface.id, "routes": surface.routes, "request": true, "response": true,
                "stream": surface.streams(), "channels": channels,
            })
        })
        .collect();
    json!({"surfaces": surfaces, "unknown_surface": unknown_surface})
}

/// The map as a page (`docs/coverage.md`).
pub fn page() -> String {
    let mut out = String::from(PREFACE);
    for surface in SURFACES {
        let _ = write!(out, "\n## {}\n", surface.id);
        for route in surface.routes {
            let _ = writeln!(out, "- `{route}`");
        }
        out.push_str("\n| channel | request | answer | stream |\n| --- | --- | --- | --- |\n");
        for (channel, parts) in surface.seen() {
            let cell = |part| parts.get(&part).map_or("–", |seen| seen.as_str());
            let _ = writeln!(
                out,
                "| {channel} | {} | {} | {} |",
                cell(Part::Request),
                cell(Part::Answer),
                cell(Part::Stream)
            );
        }
    }
    out
}

const PREFACE: &str = "# What is inspected

Made by `clyra coverage --page` from the tables that Clyra inspects with; a test holds this page to them, and another puts a
forbidden text into each place that they name and looks for it at the client (`make leak-matrix`).

- **inspected**: every text of the channel is looked at, in the clear or escaped, in one piece or in many.
- **declared**: media (pictures, sound, encrypted reasoning, vectors in base64) that no text detector reads. It passes, and each
  receipt says so (`coverage.reasons: media`).
- **metadata** is also everything that no table names, names of members included: nothing of a document is left out.
- An endpoint that is not on this page is refused, or passes as a recorded bypass where the policy says
  `unknown_surface: bypass`.

Paths are matched without regard to case, doubled slashes, percent escapes and base paths such as `/openai/v1`.
";

#[cfg(test)]
mod tests {
    use super::*;

    /// `CLYRA_WRITE_COVERAGE=1` writes the page anew.
    #[test]
    fn the_page_is_what_the_tables_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/coverage.md");
        if std::env::var_os("CLYRA_WRITE_COVERAGE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert!(written == page(), "docs/coverage.md is old: run `clyra coverage --page > docs/coverage.md`");
    }

    #[test]
    fn the_map_knows_channels_and_parts() {
        let map = map("block");
        let chat = &map["surfaces"][0];
        assert_eq!((&chat["surface"], &chat["stream"]), (&json!("openai.chat"), &json!(true)));
        assert_eq!(
            chat["channels"]["tool_arguments"],
            json!({"request": "inspected", "answer": "inspected", "stream": "inspected"})
        );
        let images = map["surfaces"].as_array().unwrap().iter().find(|s| s["surface"] == "openai.images").unwrap();
        assert_eq!(images["channels"]["content"]["stream"], "declared");
    }
}
