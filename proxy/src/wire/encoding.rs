//! Content codings (RFC 9110 section 8.4.1) undone as the bytes come: `gzip`, `deflate`, `br`, `zstd`, up to three on top of
//! each other.
//!
//! Guarantees: memory is bounded whatever comes in, because a decoder gives pieces of at most 32 KiB and is asked
//! for one at a time; what expands beyond reason, breaks off or goes on behind its end is a fault and never a shorter
//! document; the output does not depend on how the input was cut; what an encoder flushed comes out at once.

mod zstd_frames;

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, HeaderName, header};
use zstd_frames::ZstdFrames;

/// Most bytes that come out at one time. As much as one read from a socket gives.
const PIECE_BYTES: usize = 32 * 1024;

/// Codings on top of each other. One is usual, two happen where a proxy encodes again; each costs a window of memory.
const CODINGS_MAX: usize = 3;

/// Bytes that may come out for each that went in so far, beyond [`RATIO_FREE_BYTES`]. JSON of real exchanges gives up to 30, the
/// same event over and over 100; bombs begin at 1,000.
const RATIO_MAX: u64 = 200;

/// What may come out at any ratio: small enough not to matter.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Members of one gzip body (RFC 1952 section 2.2), each of which costs a new decoder. Block-wise writers make one for each
/// 64 KiB, which is 512 in the largest body.
const MEMBERS_MAX: u32 = 1_024;

/// Window of zlib as a power of two: the largest that the format knows.
const ZLIB_WINDOW_LOG: u8 = 15;

/// Fields that describe the encoded bytes, and mean nothing once these are decoded (RFC 9530, RFC 1864).
pub const OF_ENCODED_BYTES: [HeaderName; 5] = [
    header::CONTENT_ENCODING,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// A content coding that is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    /// zlib (RFC 1950) as the standard says, or bare deflate (RFC 1951) as some servers send.
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    fn of(token: &str) -> Option<Coding> {
        let known = [
            ("gzip", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("br", Coding::Brotli),
            ("zstd", Coding::Zstd),
        ];
        known.into_iter().find(|(name, _)| token.eq_ignore_ascii_case(name)).map(|(_, coding)| coding)
    }
}

impl Coding {
    /// Memory that undoing it may take: its largest window, and what is around it.
    pub fn memory_bytes(self) -> usize {
        match self {
            Self::Gzip | Self::Deflate => 128 * 1024,
            Self::Brotli => 18 << 20,
            Self::Zstd => 10 << 20,
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        })
    }
}

/// A message in a coding that is not known here, or in more than three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsupported;

/// The codings of a message in the order in which they were applied; `identity` is none.
pub fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, Unsupported> {
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for token in value.to_str().map_err(|_| Unsupported)?.split(',') {
            let token = token.trim_matches([' ', '\t']);
            if token.is_empty() || token.eq_ignore_ascii_case("identity") {
                continue;
            }
            codings.push(Coding::of(token).ok_or(Unsupported)?);
        }
    }
    if codings.len() > CODINGS_MAX { Err(Unsupported) } else { Ok(codings) }
}

/// Why a body cannot be decoded. No byte of it is in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it is not {0}")]
    Corrupt(Coding),
    #[error("its {0} coding breaks off")]
    Truncated(Coding),
    #[error("something follows the end of its {0} coding")]
    Trailing(Coding),
    #[error("it has more than {MEMBERS_MAX} gzip members")]
    Members,
    #[error("it expands to more than {RATIO_MAX} times its size")]
    Dense,
    #[error("it expands to more than {0} bytes")]
    TooLarge(usize),
    /// Whoever asked had no more memory for it.
    #[error("there is no room for what it expands to")]
    NoRoom,
}

/// Undoes the codings of one body.
#[derive(Debug)]
pub struct Decoder {
    /// The coding that was applied last comes first.
    stages: Vec<Stage>,
    wire_bytes: u64,
}

impl Decoder {
    /// `codings` in the order in which they were applied.
    pub fn new(codings: &[Coding]) -> Result<Decoder, Fault> {
        let stages = codings.iter().rev().map(|coding| Stage::new(*coding)).collect::<Result<_, _>>()?;
        Ok(Decoder { stages, wire_bytes: 0 })
    }

    /// Takes encoded bytes; ask [`Self::piece`] until it has no more before the next ones.
    pub fn feed(&mut self, bytes: Bytes) {
        self.wire_bytes += bytes.len() as u64;
        if let Some(first) = self.stages.first_mut() {
            first.feed(bytes);
        }
    }

    /// The next decoded bytes, none of them empty; `None` where more input is needed.
    pub fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        let most = self.wire_bytes.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        let last = self.stages.len().saturating_sub(1);
        // The stage nearest to the end that has something goes first, so that nothing piles up between them.
        let mut at = last;
        loop {
            let Some(stage) = self.stages.get_mut(at) else { return Ok(None) };
            match (stage.step(most)?, self.stages.get_mut(at + 1)) {
                (Some(piece), Some(next)) => {
                    next.feed(piece);
                    at += 1;
                }
                (Some(piece), None) => return Ok(Some(piece)),
                (None, _) => match at.checked_sub(1) {
                    Some(before) => at = before,
                    None => return Ok(None),
                },
            }
        }
    }

    /// The input has ended. A body of no bytes at all is an empty one, whatever it was said to be encoded in.
    pub fn finish(&self) -> Result<(), Fault> {
        match self.stages.iter().find(|stage| !stage.is_complete()) {
            Some(stage) if self.wire_bytes > 0 => Err(Fault::Truncated(stage.coding)),
            _ => Ok(()),
        }
    }
}

/// Decodes a body that is there as a whole. `room` is asked for each piece before it is kept.
pub fn decode(
    codings: &[Coding],
    body: Bytes,
    bytes_max: usize,
    room: &mut dyn FnMut(usize) -> bool,
) -> Result<Bytes, Fault> {
    let mut decoder = Decoder::new(codings)?;
    let mut whole = BytesMut::new();
    decoder.feed(body);
    while let Some(piece) = decoder.piece()? {
        if piece.len() > bytes_max.saturating_sub(whole.len()) {
            return Err(Fault::TooLarge(bytes_max));
        }
        if !room(piece.len()) {
            return Err(Fault::NoRoom);
        }
        whole.extend_from_slice(&piece);
    }
    decoder.finish()?;
    Ok(whole.freeze())
}

/// One coding being undone.
struct Stage {
    coding: Coding,
    codec: Codec,
    pending: Bytes,
    scratch: Box<[u8]>,
    out_bytes: u64,
    /// The coding's own end has come.
    ended: bool,
}

enum Codec {
    Zlib(Decompress),
    Gzip {
        zlib: Decompress,
        members: u32,
    },
    /// Zlib or bare deflate: the first two bytes will tell.
    DeflateUntold,
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(ZstdFrames),
}

/// What one call to a codec did.
struct Ran {
    read: usize,
    written: usize,
    /// The coding ends here, as far as what was read can tell.
    ended: bool,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("coding", &self.coding).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Stage {
    fn new(coding: Coding) -> Result<Stage, Fault> {
        let codec = match coding {
            Coding::Gzip => Codec::Gzip { zlib: Decompress::new_gzip(ZLIB_WINDOW_LOG), members: 1 },
            Coding::Deflate => Codec::DeflateUntold,
            // Strict: without the "large window" extension, with which a body could ask for a window of 1 GiB.
            Coding::Brotli => Codec::Brotli(Box::new(BrotliState::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
            Coding::Zstd => Codec::Zstd(ZstdFrames::new().ok_or(Fault::NoRoom)?),
        };
        let scratch = vec![0; PIECE_BYTES].into_boxed_slice();
        Ok(Stage { coding, codec, pending: Bytes::new(), scratch, out_bytes: 0, ended: false })
    }

    fn feed(&mut self, bytes: Bytes) {
        if self.pending.is_empty() {
            self.pending = bytes;
        } else {
            // Only where the kind of deflate is still open, so this copies one byte more than came.
            let mut both = BytesMut::with_capacity(self.pending.len() + bytes.len());
            both.extend_from_slice(&self.pending);
            both.extend_from_slice(&bytes);
            self.pending = both.freeze();
        }
    }

    fn is_complete(&self) -> bool {
        self.ended && self.pending.is_empty()
    }

    /// Decodes what is there, up to one piece. `most`: bytes that may have come out of this coding by now.
    fn step(&mut self, most: u64) -> Result<Option<Bytes>, Fault> {
        let mut filled = 0;
        while self.continues()? {
            let Some(free) = self.scratch.get_mut(filled..).filter(|free| !free.is_empty()) else { break };
            let ran = self.codec.run(&self.pending, free).ok_or(Fault::Corrupt(self.coding))?;
            if ran.read == 0 && ran.written == 0 {
                if !self.pending.is_empty() && !ran.ended {
                    return Err(Fault::Corrupt(self.coding));
                }
                self.ended |= ran.ended;
                break;
            }
            self.ended = ran.ended;
            let _ = self.pending.split_to(ran.read.min(self.pending.len()));
            filled += ran.written;
        }
        self.out_bytes += filled as u64;
        if self.out_bytes > most {
            return Err(Fault::Dense);
        }
        Ok(self.scratch.get(..filled).filter(|piece| !piece.is_empty()).map(Bytes::copy_from_slice))
    }

    /// Whether the codec has anything to do with what is pending; begins the next member where one follows.
    fn continues(&mut self) -> Result<bool, Fault> {
        match &mut self.codec {
            Codec::DeflateUntold => {
                let (Some(first), Some(second)) = (self.pending.first(), self.pending.get(1)) else { return Ok(false) };
                self.codec = Codec::Zlib(Decompress::new(is_zlib(*first, *second)));
                Ok(true)
            }
            Codec::Gzip { zlib, members } if self.ended => {
                let Some(first) = self.pending.first() else { return Ok(false) };
                if *first != GZIP_FIRST_BYTE {
                    return Err(Fault::Trailing(self.coding));
                }
                if *members >= MEMBERS_MAX {
                    return Err(Fault::Members);
                }
                *members += 1;
                *zlib = Decompress::new_gzip(ZLIB_WINDOW_LOG);
                self.ended = false;
                Ok(true)
            }
            Codec::Zlib(_) | Codec::Brotli(_) if self.ended => {
                if self.pending.is_empty() {
                    Ok(false)
                } else {
                    Err(Fault::Trailing(self.coding))
                }
            }
            // A frame of zstd may follow another; what is none is refused by its magic number.
            Codec::Zstd(_) if self.ended => Ok(!self.pending.is_empty()),
            _ => Ok(true),
        }
    }
}

/// How a gzip member begins (RFC 1952 section 2.3.1).
const GZIP_FIRST_BYTE: u8 = 0x1f;

/// Whether deflate begins with the header of RFC 1950 section 2.2. Bare deflate that looks the same would begin with a
/// stored block whose padding is not zero, which no encoder writes.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7 && (u16::from(first) << 8 | u16::from(second)) % 31 == 0
}

impl Codec {
    /// `None` where the input is not of this coding.
    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Option<Ran> {
        match self {
            Self::DeflateUntold => Some(Ran { read: 0, written: 0, ended: false }),
            Self::Zlib(zlib) | Self::Gzip { zlib, .. } => {
                let before = (zlib.total_in(), zlib.total_out());
                let status = zlib.decompress(input, output, FlushDecompress::None).ok()?;
                let read = usize::try_from(zlib.total_in() - before.0).ok()?;
                let written = usize::try_from(zlib.total_out() - before.1).ok()?;
                Some(Ran { read, written, ended: status == Status::StreamEnd })
            }
            Self::Brotli(state) => {
                let (mut unread, mut read) = (input.len(), 0);
                let (mut free, mut written, mut total) = (output.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut unread,
                    &mut read,
                    input,
                    &mut free,
                    &mut written,
                    output,
                    &mut total,
                    state,
                );
                match result {
                    BrotliResult::ResultFailure => None,
                    BrotliResult::ResultSuccess => Some(Ran { read, written, ended: true }),
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {
                        Some(Ran { read, written, ended: false })
                    }
                }
            }
            Self::Zstd(frames) => frames.run(input, output),
        }
    }
}

#[cfg(test)]
mod tests;
