//! Small reproducible random numbers (SplitMix64): a failing point can be repeated from its seed.

use bytes::Bytes;

/// Pieces of one text. Each may be a write of its own; a quarter of a million of them takes a busy machine a minute.
const PIECES_MAX: usize = 20_000;

#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }

    /// Cuts bytes into pieces of random sizes up to `most`, or larger ones where those would be too many.
    pub fn cut(&mut self, bytes: &[u8], most: usize) -> Vec<Bytes> {
        let most = most.max(2 * bytes.len() / PIECES_MAX);
        let (mut pieces, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + self.below(most)).min(rest.len()));
            pieces.push(Bytes::copy_from_slice(piece));
            rest = behind;
        }
        pieces
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}
