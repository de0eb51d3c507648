//! What goes on record of mended answers: kinds, numbers, and one digest that commits to every edit without showing any.

use serde::Serialize;

use super::schema::Repairs;
use super::splice::Span;
use crate::surface::Channel;

/// One edit, as the digest sees it. The members stand in the order of RFC 8785, and hold nothing that it would escape.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// First byte that was replaced, in the text as it came.
    at: u64,
    channel: &'static str,
    class: &'static str,
    /// Bytes that were replaced.
    length: u64,
    /// Indices of the text: of the choice, the block, the call.
    place: String,
    /// BLAKE3 of the replacement.
    with: String,
    with_length: u64,
}

impl Line {
    pub(super) fn of(channel: Channel, place: &str, edit: &Span, class: &'static str) -> Line {
        Line {
            at: edit.start,
            channel: channel.as_str(),
            class,
            length: edit.end - edit.start,
            place: place.to_owned(),
            with: blake3::hash(edit.with.as_bytes()).to_hex().to_string(),
            with_length: edit.with.len() as u64,
        }
    }
}

/// The edits of an answer in the order of its texts, and the lock that made them.
pub(super) fn summary(lines: Vec<Line>, by: Option<(String, String)>) -> Repairs {
    let mut repairs = Repairs::default();
    for line in &lines {
        *repairs.by_class.entry(line.class).or_default() += 1;
    }
    if !lines.is_empty() {
        repairs.digest = Some(digest_of(&lines));
        repairs.by = by;
    }
    repairs
}

pub(super) fn digest_of(lines: &[Line]) -> String {
    // Plain strings and numbers: writing them cannot fail.
    let list = serde_json::to_vec(lines).unwrap_or_default();
    blake3::hash(&list).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_commits_to_every_member() {
        let edit = |start: u64, with: &str| Span { start, end: start + 1, with: with.to_owned(), written: true };
        let of = |place: &str, edit: &Span, class| summary(vec![Line::of(Channel::Content, place, edit, class)], None);
        let first = of("0", &edit(3, "\""), "quotes");
        // The bytes that the specification names, written out.
        let quote = blake3::hash(b"\"").to_hex();
        let list = format!(
            r#"[{{"at":3,"channel":"content","class":"quotes","length":1,"place":"0","with":"{quote}","with_length":1}}]"#
        );
        assert_eq!(first.digest, Some(blake3::hash(list.as_bytes()).to_hex().to_string()));
        assert_eq!(first.by_class, [("quotes", 1)].into());
        for other in [
            of("1", &edit(3, "\""), "quotes"),
            of("0", &edit(4, "\""), "quotes"),
            of("0", &edit(3, "'"), "quotes"),
            of("0", &edit(3, "\""), "commas"),
        ] {
            assert_ne!(first.digest, other.digest);
        }
        assert!(!summary(Vec::new(), None).any());
    }
}
