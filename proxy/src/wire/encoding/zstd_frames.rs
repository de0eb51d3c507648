//! Frames of zstd (RFC 8878), one after the other, each as long as it says.
//!
//! libzstd reads a frame that is all there in another way than one that comes in pieces, and does not judge damaged ones the same.
//! The verdict must not depend on the cut, so it is given each frame in pieces, and the size in the header, which it then does
//! not always compare, is compared here. Frames of the time before the standard, which it may have been built to read, are
//! none.

use zstd::stream::raw::{DParameter, Decoder, Operation};
use zstd::zstd_safe::get_frame_content_size;

use super::Ran;

/// Window of zstd as a power of two: 8 MiB, what RFC 9659 allows this coding. Its own default would let a frame ask for
/// 128 MiB.
const WINDOW_LOG_MAX: u32 = 23;

/// How a frame begins, and a skippable one but for the last four bits of its first byte (RFC 8878 sections 3.1.1 and 3.1.2).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];

/// Longest header of a frame, magic number included (RFC 8878 section 3.1.1.1).
const HEADER_BYTES_MAX: usize = 18;

pub(super) struct ZstdFrames {
    decoder: Decoder<'static>,
    /// The beginning of the frame under way, as far as its header can reach.
    header: Vec<u8>,
    /// What has come out of that frame.
    written: u64,
}

impl ZstdFrames {
    /// `None` where there is no memory for it.
    pub(super) fn new() -> Option<ZstdFrames> {
        let mut decoder = Decoder::new().ok()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).ok()?;
        Some(ZstdFrames { decoder, header: Vec::with_capacity(HEADER_BYTES_MAX), written: 0 })
    }

    /// `None` where the input is no frame.
    pub(super) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Option<Ran> {
        if !self.may_begin_with(input) {
            return None;
        }
        // Once the first byte is not where the rest is, the frame comes in pieces.
        let input = if self.header.is_empty() { input.get(..1).unwrap_or_default() } else { input };
        let status = self.decoder.run_on_buffers(input, output).ok()?;
        let (read, written, ended) = (status.bytes_read, status.bytes_written, status.remaining == 0);
        let missing = HEADER_BYTES_MAX - self.header.len().min(HEADER_BYTES_MAX);
        self.header.extend(input.iter().take(read.min(missing)));
        self.written += written as u64;
        if ended && !self.header.is_empty() {
            let said = get_frame_content_size(&self.header).ok()?;
            if said.is_some_and(|said| said != self.written) {
                return None;
            }
            self.header.clear();
            self.written = 0;
        }
        Some(Ran { read, written, ended })
    }

    /// False where this cannot be a frame.
    fn may_begin_with(&self, input: &[u8]) -> bool {
        let begins = |magic: [u8; 4], first: u8| {
            let masks = [first, 0xff, 0xff, 0xff];
            let there = self.header.iter().chain(input);
            there.zip(magic.iter().zip(masks)).all(|(byte, (wanted, mask))| byte & mask == *wanted)
        };
        begins(MAGIC, 0xff) || begins(SKIPPABLE, 0xf0)
    }
}
