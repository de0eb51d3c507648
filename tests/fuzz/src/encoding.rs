//! Content codings: any chunking gives the same body, a piece is small, and no body is larger than was allowed.

use bytes::Bytes;
use clyra::wire::encoding::{Coding, Decoder, Fault, decode};

use crate::choice;
use crate::cuts::Cuts;

/// More than any honest input of this size expands to, less than what would be slow.
const BYTES_MAX: usize = 4 << 20;

/// Up to here a body may expand as it likes; beyond, what has come so far counts, and so does the cut.
const FREE_BYTES: usize = 1 << 20;

/// As `docs/bodies.md` says.
const PIECE_BYTES_MAX: usize = 32 * 1024;

fn codings(choice: u8) -> Vec<Coding> {
    use Coding::{Brotli, Deflate, Gzip, Zstd};
    match choice % 8 {
        0 => vec![Gzip],
        1 => vec![Deflate],
        2 => vec![Brotli],
        3 => vec![Zstd],
        4 => vec![Gzip, Gzip],
        5 => vec![Zstd, Gzip],
        6 => vec![Gzip, Brotli, Deflate],
        _ => Vec::new(),
    }
}

fn in_pieces(codings: &[Coding], pieces: &[&[u8]]) -> Result<Vec<u8>, Fault> {
    let mut decoder = Decoder::new(codings)?;
    let mut out = Vec::new();
    for piece in pieces {
        decoder.feed(Bytes::copy_from_slice(piece));
        while let Some(decoded) = decoder.piece()? {
            assert!(!decoded.is_empty() && decoded.len() <= PIECE_BYTES_MAX, "a piece of {} bytes", decoded.len());
            out.extend_from_slice(&decoded);
            if out.len() > BYTES_MAX {
                return Err(Fault::TooLarge(BYTES_MAX));
            }
        }
    }
    decoder.finish()?;
    Ok(out)
}

pub fn encoding(input: &[u8]) {
    let Some((how, rest)) = choice(input) else { return };
    let Some((seed, body)) = choice(rest) else { return };
    let codings = codings(how);
    if codings.is_empty() {
        return;
    }
    let whole = decode(&codings, Bytes::copy_from_slice(body), BYTES_MAX, &mut |_| true);
    if let Ok(body) = &whole {
        assert!(body.len() <= BYTES_MAX);
    }
    for cuts in Cuts::all(seed) {
        let pieces = in_pieces(&codings, &cuts.of(body));
        match (&whole, &pieces) {
            (Ok(one), Ok(other)) => assert!(one == other, "cut as {cuts:?} it is another body"),
            (Err(_), Err(_)) => {}
            (Ok(body), Err(Fault::Dense)) if body.len() > FREE_BYTES => {}
            (one, other) => {
                panic!("{:?} whole, {:?} cut as {cuts:?}", one.as_ref().map(Bytes::len), other.as_ref().map(Vec::len))
            }
        }
    }
}
