//! Ways to cut an input into chunks.

/// Whole, byte by byte, and in pieces whose sizes `seed` decides.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cuts {
    Whole,
    Bytes,
    Pieces(u8),
}

impl Cuts {
    pub(crate) fn all(seed: u8) -> [Cuts; 3] {
        [Cuts::Whole, Cuts::Bytes, Cuts::Pieces(seed)]
    }

    pub(crate) fn of(self, bytes: &[u8]) -> Vec<&[u8]> {
        let mut state = match self {
            Cuts::Whole => return vec![bytes],
            Cuts::Bytes => return bytes.chunks(1).collect(),
            Cuts::Pieces(seed) => u32::from(seed) | 1 << 16,
        };
        let (mut out, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            // Mostly short pieces, now and then an empty or a long one.
            let size = match state >> 28 {
                0 => 0,
                1 => 200,
                _ => (state >> 16) as usize % 16 + 1,
            };
            let (piece, after) = rest.split_at(size.min(rest.len()));
            out.push(piece);
            rest = after;
        }
        out
    }

    /// The same for text: no character is cut.
    pub(crate) fn of_text(self, text: &str) -> Vec<&str> {
        let mut ends: Vec<usize> = self
            .of(text.as_bytes())
            .iter()
            .scan(0, |at, piece| {
                *at += piece.len();
                Some(text.ceil_char_boundary(*at))
            })
            .collect();
        ends.dedup();
        let mut from = 0;
        ends.into_iter().map(|to| &text[std::mem::replace(&mut from, to)..to]).collect()
    }
}
