//! Finds the byte at which the value under a path begins, in a text that is known to be JSON.

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Name(String),
    Index(usize),
}

/// The byte offset of the value under `path`, or of the deepest value on the way to it.
pub(crate) fn offset(text: &str, path: &[Segment]) -> usize {
    let mut cursor = Cursor { bytes: text.as_bytes(), at: 0 };
    cursor.whitespace();
    let mut found = cursor.at;
    for segment in path {
        if cursor.enter(segment).is_none() {
            break;
        }
        found = cursor.at;
    }
    found
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn whitespace(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Steps over `byte` and the white space after it.
    fn step(&mut self, byte: u8) -> Option<()> {
        if self.peek() != Some(byte) {
            return None;
        }
        self.at += 1;
        self.whitespace();
        Some(())
    }

    /// From the value here to the one under `segment` in it.
    fn enter(&mut self, segment: &Segment) -> Option<()> {
        match segment {
            Segment::Index(index) => {
                self.step(b'[')?;
                for _ in 0..*index {
                    self.skip_value();
                    self.whitespace();
                    self.step(b',')?;
                }
                self.peek().filter(|&byte| byte != b']').map(drop)
            }
            Segment::Name(name) => {
                self.step(b'{')?;
                loop {
                    let from = self.at;
                    self.skip_string();
                    let read = self.bytes.get(from..self.at)?;
                    self.whitespace();
                    self.step(b':')?;
                    if serde_json::from_slice::<String>(read).is_ok_and(|read| read == *name) {
                        return Some(());
                    }
                    self.skip_value();
                    self.whitespace();
                    self.step(b',')?;
                }
            }
        }
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
    }

    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.skip_string(),
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' | b'}' if depth == 0 => return,
                b']' | b'}' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' if depth == 0 => return,
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            if depth == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Segment {
        Segment::Name(name.into())
    }

    #[test]
    fn finds_values_behind_every_kind_of_neighbour() {
        let text = r#" { "a\"]" : [1, "x,]}", {"k": null}, [ ], -2.5e3 , true] , "é": {"n\u0061me": "v"}, "e": {} } "#;
        for (path, value) in [
            (vec![], "{ "),
            (vec![name("a\"]")], "[1"),
            (vec![name("a\"]"), Segment::Index(0)], "1,"),
            (vec![name("a\"]"), Segment::Index(1)], "\"x,"),
            (vec![name("a\"]"), Segment::Index(2), name("k")], "null"),
            (vec![name("a\"]"), Segment::Index(3)], "[ ]"),
            (vec![name("a\"]"), Segment::Index(4)], "-2.5"),
            (vec![name("a\"]"), Segment::Index(5)], "true"),
            (vec![name("é"), name("name")], "\"v\""),
            (vec![name("e")], "{}"),
        ] {
            let at = offset(text, &path);
            assert!(text.get(at..).unwrap().starts_with(value), "{path:?} is at {at}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_stops_on_the_way() {
        let text = r#"{"a": [1]}"#;
        assert_eq!(offset(text, &[name("a"), Segment::Index(3)]), 6);
        assert_eq!(offset(text, &[name("b")]), 0);
        assert_eq!(offset(text, &[name("a"), name("b")]), 6);
        assert_eq!(offset(r#"{"a": []}"#, &[name("a"), Segment::Index(0)]), 6);
    }
}
