//! Cuts text into the deltas of a stream: the pieces, put together, are the text.

use std::num::NonZeroUsize;

use crate::directive::Directive;
use crate::json::lone_surrogate;

/// Longer texts are cut into about this many pieces where no directive says otherwise, so that echoing a
/// megabyte does not become a quarter of a million events.
const DEFAULT_PIECES_MAX: usize = 4096;

/// Fragments of arguments as they come from the providers: a few characters each.
const ARGUMENTS_PIECE_BYTES: usize = 5;

/// What is cut, which decides how it looks when no directive says where.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Cut before each space, as tokens are.
    Prose,
    /// Cut every few characters, as tool arguments are.
    Arguments,
}

/// The pieces of `text`, none of them empty; no pieces at all for an empty text.
pub(crate) fn pieces(text: &str, kind: Kind, directive: &Directive) -> Vec<String> {
    let mut pieces = if let Some(bytes) = directive.split {
        every(text, bytes.get())
    } else if let Some(offsets) = &directive.split_at {
        at(text, offsets)
    } else {
        let least = text.len().div_ceil(DEFAULT_PIECES_MAX);
        match kind {
            Kind::Prose if least <= 4 => words(text),
            Kind::Prose => every(text, least),
            Kind::Arguments => every(text, least.max(ARGUMENTS_PIECE_BYTES)),
        }
    };
    if directive.split_surrogates {
        pieces = split_surrogates(&pieces);
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// At most `bytes` per piece, but never less than a character.
fn every(text: &str, bytes: usize) -> Vec<String> {
    let mut pieces = Vec::with_capacity(text.len() / NonZeroUsize::new(bytes).map_or(1, NonZeroUsize::get) + 1);
    let mut piece = String::new();
    for character in text.chars() {
        if !piece.is_empty() && piece.len() + character.len_utf8() > bytes {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push(character);
    }
    pieces.push(piece);
    pieces
}

fn at(text: &str, offsets: &[usize]) -> Vec<String> {
    let offsets: std::collections::BTreeSet<usize> = offsets.iter().copied().collect();
    cut_where(text, |index, _| offsets.contains(&index))
}

fn words(text: &str) -> Vec<String> {
    cut_where(text, |_, character| character == ' ')
}

fn cut_where(text: &str, cut_before: impl Fn(usize, char) -> bool) -> Vec<String> {
    let mut pieces = vec![];
    let mut piece = String::new();
    for (index, character) in text.chars().enumerate() {
        if cut_before(index, character) {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push(character);
    }
    pieces.push(piece);
    pieces
}

fn split_surrogates(pieces: &[String]) -> Vec<String> {
    let mut split = vec![];
    for piece in pieces {
        let mut current = String::new();
        for character in piece.chars() {
            let mut units = [0; 2];
            if let [high, low] = *character.encode_utf16(&mut units) {
                current.push(lone_surrogate(high));
                split.push(std::mem::take(&mut current));
                current.push(lone_surrogate(low));
            } else {
                current.push(character);
            }
        }
        split.push(current);
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "Ein Übel 🦊 kommt selten allein.";

    fn with(directive: serde_json::Value) -> Directive {
        serde_json::from_value(directive).unwrap()
    }

    #[test]
    fn pieces_put_together_are_the_text() {
        for kind in [Kind::Prose, Kind::Arguments] {
            for bytes in 1..=TEXT.len() + 1 {
                let cut = pieces(TEXT, kind, &with(json!({"split": bytes})));
                assert_eq!(cut.concat(), TEXT);
                assert!(cut.iter().all(|piece| piece.len() <= bytes.max(4)));
            }
            for offset in 0..=TEXT.chars().count() + 1 {
                let cut = pieces(TEXT, kind, &with(json!({"split_at": [offset]})));
                assert_eq!(cut.concat(), TEXT);
                let inside = (1..TEXT.chars().count()).contains(&offset);
                assert_eq!(cut.len(), if inside { 2 } else { 1 }, "offset {offset}");
            }
            assert_eq!(pieces(TEXT, kind, &Directive::default()).concat(), TEXT);
        }
    }

    #[test]
    fn one_byte_is_one_character() {
        let cut = pieces("aÜ🦊", Kind::Prose, &with(json!({"split": 1})));
        assert_eq!(cut, ["a", "Ü", "🦊"]);
    }

    #[test]
    fn no_offsets_leave_it_whole() {
        assert_eq!(pieces(TEXT, Kind::Prose, &with(json!({"split_at": []}))), [TEXT]);
    }

    #[test]
    fn an_empty_text_has_no_pieces() {
        assert!(pieces("", Kind::Prose, &Directive::default()).is_empty());
    }

    #[test]
    fn a_long_text_has_a_bounded_number_of_pieces() {
        let long = "a b ".repeat(300_000);
        let cut = pieces(&long, Kind::Prose, &Directive::default());
        assert_eq!(cut.concat(), long);
        assert!(cut.len() <= DEFAULT_PIECES_MAX);
    }

    #[test]
    fn a_pair_is_split_between_two_pieces() {
        let directive = with(json!({"split_at": [], "split_surrogates": true}));
        let cut = pieces("a🦊b", Kind::Prose, &directive);
        assert_eq!(cut.len(), 2);
        assert_eq!(crate::json::to_string(&json!(cut), &directive), r#"["a\ud83e","\udd8ab"]"#);
    }
}
