//! The place of a violation as a person sees it: its line, cut to the width of a terminal, with a mark under it.
//!
//! The line is the document's own text, so this is for the terminal of whoever has the document and for nothing else. Characters
//! that could repaint the terminal, or that nobody sees, are escaped.

use std::ops::Range;

use unicode_width::UnicodeWidthChar;

use super::judge::{Judge, Watch};

/// Most text that is kept: twice the longest document, since what a repair leaves out is text as well. All of a document is, because
/// the place may lie far behind the byte that showed it (a missing member shows where its object ends); of a longer text, the last
/// half of this.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// Columns of a line that are shown, about: with the number in front of it, it fits a wide terminal.
const COLUMNS_MAX: usize = 100;

/// Those of them before the place.
const COLUMNS_BEFORE_MAX: usize = 60;

/// Columns of a tab. Where it would end depends on the terminal.
const TAB: &str = "    ";

/// Stands where a line is cut.
const CUT: char = '…';

/// Keeps a text while it comes in, to show a place in it.
#[derive(Debug)]
pub(super) struct Excerpt {
    kept: String,
    /// Offset in the text, and number of the line, at which `kept` begins.
    start: u64,
    line: u64,
}

impl Default for Excerpt {
    fn default() -> Self {
        Self { kept: String::new(), start: 0, line: 1 }
    }
}

impl Watch for Excerpt {
    fn fed(&mut self, text: &str, _: &mut dyn Judge) {
        self.push(text);
    }
}

impl Excerpt {
    pub(super) fn push(&mut self, text: &str) {
        self.kept.push_str(text);
        if self.kept.len() > KEPT_BYTES_MAX {
            let gone = self.kept.ceil_char_boundary(self.kept.len() - KEPT_BYTES_MAX / 2);
            self.line += line_ends(self.kept.get(..gone).unwrap_or_default());
            self.start += gone as u64;
            self.kept.drain(..gone);
        }
    }

    /// The line in which `place` begins and a line that marks it, as far as it goes there; nothing if the text is not kept, or there
    /// is none.
    pub(super) fn show(&self, place: &Range<u64>) -> Option<String> {
        let local = |offset: u64| {
            let offset = usize::try_from(offset.checked_sub(self.start)?).ok()?;
            Some(self.kept.floor_char_boundary(offset.min(self.kept.len())))
        };
        let (at, end) = (local(place.start)?, local(place.end)?);
        if self.kept.trim().is_empty() {
            return None;
        }
        let (before, behind) = (self.kept.get(..at)?, self.kept.get(at..)?);
        let number = self.line + line_ends(before);
        let (is_whole, before) = match before.rsplit_once('\n') {
            Some((_, before)) => (true, before),
            None => (self.start == 0, before),
        };
        let line = behind.split_once('\n').map_or(behind, |(line, _)| line.strip_suffix('\r').unwrap_or(line));
        let marked = line.get(..line.floor_char_boundary(end.saturating_sub(at).min(line.len())))?;

        let mut cells: Vec<Cell> = Vec::new();
        let mut columns = 0;
        let mut is_cut = !is_whole;
        for cell in before.chars().rev().map(Cell::of) {
            if columns + cell.columns > COLUMNS_BEFORE_MAX {
                is_cut = true;
                break;
            }
            columns += cell.columns;
            cells.push(cell);
        }
        let mut shown = String::from(if is_cut { "…" } else { "" });
        shown.extend(cells.iter().rev().map(|cell| cell.text.as_str()));
        let indent = columns + usize::from(is_cut);
        let mut marks = 0;
        for (index, char) in line.char_indices() {
            let cell = Cell::of(char);
            if columns + cell.columns > COLUMNS_MAX {
                shown.push(CUT);
                break;
            }
            columns += cell.columns;
            shown.push_str(&cell.text);
            if index < marked.len() {
                marks += cell.columns;
            }
        }
        let (number, marks) = (format!("{number:>3}"), "^".repeat(marks.max(1)));
        Some(format!("{number} | {shown}\n{:width$} | {:indent$}{marks}", "", "", width = number.len()))
    }
}

fn line_ends(text: &str) -> u64 {
    text.bytes().filter(|byte| *byte == b'\n').count() as u64
}

/// A character as it is shown.
struct Cell {
    text: String,
    columns: usize,
}

impl Cell {
    fn of(char: char) -> Self {
        if char == '\t' {
            return Self { text: TAB.to_owned(), columns: TAB.len() };
        }
        if char.is_control() || is_unseen(char) {
            let text = char.escape_unicode().to_string();
            return Self { columns: text.len(), text };
        }
        Self { text: char.to_string(), columns: char.width().unwrap_or(0) }
    }
}

/// Characters that show nothing of themselves, but may turn the line around (bidirectional controls) or break it.
fn is_unseen(char: char) -> bool {
    matches!(
        char,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str, place: Range<u64>) -> Option<(String, String)> {
        let mut excerpt = Excerpt::default();
        excerpt.push(text);
        let shown = excerpt.show(&place)?;
        let (line, mark) = shown.split_once('\n').unwrap();
        Some((line.to_owned(), mark.to_owned()))
    }

    fn lines(line: &str, mark: &str) -> Option<(String, String)> {
        Some((line.to_owned(), mark.to_owned()))
    }

    #[test]
    fn the_place_is_marked_in_its_line() {
        let text = "{\n  \"items\": [\n    { \"price\": -1 }\n  ]\n}\n";
        let at = text.find("-1").unwrap() as u64;
        assert_eq!(shown(text, at..at + 2), lines("  3 |     { \"price\": -1 }", "    |                ^^"));
        // A value that goes on in other lines is marked in its first.
        assert_eq!(shown(text, 0..41), lines("  1 | {", "    | ^"));
        assert_eq!(shown("[\r\n1 2\r\n]", 5..6), lines("  2 | 1 2", "    |   ^"));
    }

    #[test]
    fn the_end_of_a_text_is_a_place() {
        assert_eq!(shown("{\"a\": 1", 7..8), lines("  1 | {\"a\": 1", "    |        ^"));
        assert_eq!(shown("{\n", 2..3), lines("  2 | ", "    | ^"));
        assert_eq!((shown("", 0..1), shown(" \n ", 0..1)), (None, None));
    }

    #[test]
    fn marks_stand_under_wide_and_unseen_characters() {
        assert_eq!(shown("\t[日本, x", 10..11), lines("  1 |     [日本, x", "    |            ^"));
        assert_eq!(shown("[\"日本\"]", 1..9), lines("  1 | [\"日本\"]", "    |  ^^^^^^"));
        assert_eq!(shown("\u{1b}[2Jx", 4..5), lines("  1 | \\u{1b}[2Jx", "    |          ^"));
        assert_eq!(shown("e\u{301}\u{202e}x", 6..7), lines("  1 | e\u{301}\\u{202e}x", "    |          ^"));
        // What is no terminal's to see never reaches one.
        let (line, _) = shown("a\u{9b}2J\u{7f}\r\u{2066}b", 0..1).unwrap();
        assert_eq!(line, "  1 | a\\u{9b}2J\\u{7f}\\u{d}\\u{2066}b");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}!{}", "a".repeat(1_000), "b".repeat(1_000));
        let (line, mark) = shown(&text, 1_000..1_001).unwrap();
        assert_eq!(line, format!("  1 | …{}!{}…", "a".repeat(60), "b".repeat(39)));
        assert_eq!(mark, format!("    | {}^", " ".repeat(61)));
        let (line, mark) = shown(&text, 2..1_900).unwrap();
        assert_eq!(line, format!("  1 | {}…", "a".repeat(100)));
        assert_eq!(mark, format!("    |   {}", "^".repeat(98)));
    }

    #[test]
    fn of_a_long_text_the_end_is_kept() {
        let mut excerpt = Excerpt::default();
        let line = "0123456\n";
        for _ in 0..(KEPT_BYTES_MAX / line.len()) * 3 {
            excerpt.push(line);
            assert!(excerpt.kept.len() <= KEPT_BYTES_MAX);
        }
        let lines = (KEPT_BYTES_MAX / line.len()) as u64 * 3;
        let shown = excerpt.show(&(lines * 8 - 7..lines * 8 - 6)).unwrap();
        assert_eq!(shown.lines().next().unwrap(), format!("{lines} | 0123456"));
        assert_eq!(excerpt.show(&(5..6)), None);
    }

    proptest! {
        #[test]
        fn any_place_of_any_text_can_be_shown(pieces in prop::collection::vec(".{0,20}|\n|\r\n|\t", 0..9), at in 0_u64..200, more in 0_u64..99) {
            let text = pieces.concat();
            if let Some((line, mark)) = shown(&text, at..at + more) {
                prop_assert!(mark.ends_with('^') && !mark.trim_end_matches('^').contains('^'));
                prop_assert!(!line.chars().any(|char| char.is_control() || is_unseen(char)));
                prop_assert!(mark.len() <= 8 + COLUMNS_MAX + 2);
            } else {
                prop_assert!(text.trim().is_empty());
            }
        }
    }
}
