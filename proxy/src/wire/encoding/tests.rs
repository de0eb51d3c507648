use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use proptest::prelude::*;

use super::*;

/// The ways to encode that servers use: their names in the header, and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoder {
    Gzip,
    Zlib,
    Raw,
    Brotli,
    Zstd,
}

const ALL: [Encoder; 5] = [Encoder::Gzip, Encoder::Zlib, Encoder::Raw, Encoder::Brotli, Encoder::Zstd];

impl Encoder {
    fn coding(self) -> Coding {
        match self {
            Self::Gzip => Coding::Gzip,
            Self::Zlib | Self::Raw => Coding::Deflate,
            Self::Brotli => Coding::Brotli,
            Self::Zstd => Coding::Zstd,
        }
    }

    /// Encodes the parts, flushed after each; returns the end of each part in the encoded bytes as well.
    fn flushed(self, parts: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
        fn run<W: Write>(mut writer: W, parts: &[&[u8]], len: impl Fn(&W) -> usize) -> (W, Vec<usize>) {
            let mut ends = Vec::new();
            for part in parts {
                writer.write_all(part).unwrap();
                writer.flush().unwrap();
                ends.push(len(&writer));
            }
            (writer, ends)
        }
        let level = Compression::default();
        match self {
            Self::Gzip => {
                let (w, ends) = run(flate2::write::GzEncoder::new(Vec::new(), level), parts, |w| w.get_ref().len());
                (w.finish().unwrap(), ends)
            }
            Self::Zlib => {
                let (w, ends) = run(flate2::write::ZlibEncoder::new(Vec::new(), level), parts, |w| w.get_ref().len());
                (w.finish().unwrap(), ends)
            }
            Self::Raw => {
                let (w, ends) =
                    run(flate2::write::DeflateEncoder::new(Vec::new(), level), parts, |w| w.get_ref().len());
                (w.finish().unwrap(), ends)
            }
            Self::Brotli => {
                let (w, ends) =
                    run(brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22), parts, |w| w.get_ref().len());
                (w.into_inner(), ends)
            }
            Self::Zstd => {
                let (w, ends) = run(zstd::Encoder::new(Vec::new(), 3).unwrap(), parts, |w| w.get_ref().len());
                (w.finish().unwrap(), ends)
            }
        }
    }

    fn encode(self, bytes: &[u8]) -> Vec<u8> {
        self.flushed(&[bytes]).0
    }
}

const ROOMY: usize = 64 << 20;

fn whole(codings: &[Coding], body: &[u8]) -> Result<Vec<u8>, Fault> {
    decode(codings, Bytes::copy_from_slice(body), ROOMY, &mut |_| true).map(Vec::from)
}

/// Decodes in pieces of these lengths, the last of which is repeated.
fn cut(codings: &[Coding], body: &[u8], lengths: &[usize]) -> Result<Vec<u8>, Fault> {
    let (mut rest, mut out) = (body, Vec::new());
    let mut decoder = Decoder::new(codings)?;
    let mut lengths = lengths.iter().copied().chain(std::iter::repeat(lengths.last().copied().unwrap_or(1)));
    while !rest.is_empty() {
        let (now, later) = rest.split_at(lengths.next().unwrap().clamp(1, rest.len()));
        decoder.feed(Bytes::copy_from_slice(now));
        while let Some(piece) = decoder.piece()? {
            assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES);
            out.extend_from_slice(&piece);
        }
        rest = later;
    }
    decoder.finish()?;
    Ok(out)
}

fn text(bytes: usize) -> Vec<u8> {
    (0_u32..).flat_map(|n| format!("data: {{\"n\":{n}}}\n\n").into_bytes()).take(bytes).collect()
}

fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (header::CONTENT_ENCODING, value.parse().unwrap())).collect()
}

#[test]
fn headers_name_codings_in_the_order_they_were_applied() {
    use Coding::*;
    type Case<'c> = (&'c [&'c str], Result<Vec<Coding>, Unsupported>);
    let cases: [Case<'_>; 10] = [
        (&[], Ok(vec![])),
        (&["identity"], Ok(vec![])),
        (&[""], Ok(vec![])),
        (&["GZip"], Ok(vec![Gzip])),
        (&["x-gzip , \tbr"], Ok(vec![Gzip, Brotli])),
        (&["gzip", "identity, zstd"], Ok(vec![Gzip, Zstd])),
        (&["deflate,gzip,br"], Ok(vec![Deflate, Gzip, Brotli])),
        (&["gzip,gzip,gzip,gzip"], Err(Unsupported)),
        (&["compress"], Err(Unsupported)),
        (&["gzip;q=1"], Err(Unsupported)),
    ];
    for (values, expected) in cases {
        assert_eq!(codings(&headers(values)), expected, "{values:?}");
    }
}

#[test]
fn every_coding_is_undone_whole_and_byte_by_byte() {
    for encoder in ALL {
        for length in [0, 1, 100, 70_000] {
            let plain = text(length);
            let encoded = encoder.encode(&plain);
            let codings = [encoder.coding()];
            assert!(whole(&codings, &encoded).unwrap() == plain, "{encoder:?} {length}");
            assert!(cut(&codings, &encoded, &[1]).unwrap() == plain, "{encoder:?} {length} in bytes");
        }
    }
}

#[test]
fn what_was_flushed_comes_out_at_once() {
    let parts: Vec<Vec<u8>> = (0..20).map(|n| format!("data: {{\"piece\":{n}}}\n\n").into_bytes()).collect();
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    for encoder in ALL {
        let (encoded, ends) = encoder.flushed(&slices);
        let mut decoder = Decoder::new(&[encoder.coding()]).unwrap();
        let mut from = 0;
        for (part, end) in parts.iter().zip(ends) {
            decoder.feed(Bytes::copy_from_slice(&encoded[from..end]));
            let mut out = Vec::new();
            while let Some(piece) = decoder.piece().unwrap() {
                out.extend_from_slice(&piece);
            }
            assert_eq!(&out, part, "{encoder:?}");
            from = end;
        }
    }
}

#[test]
fn what_breaks_off_is_never_a_shorter_document() {
    let plain = text(5_000);
    for encoder in ALL {
        let encoded = encoder.encode(&plain);
        for length in 1..encoded.len() {
            let result = whole(&[encoder.coding()], &encoded[..length]);
            assert_eq!(result, Err(Fault::Truncated(encoder.coding())), "{encoder:?} at {length}");
        }
    }
}

#[test]
fn nothing_may_follow_the_end() {
    let plain = text(500);
    for encoder in ALL {
        for garbage in [&b"x"[..], b"\0", b"{}", b"\r\n", b"\x1f", b"\x1f\x8b"] {
            let body = [&encoder.encode(&plain)[..], garbage].concat();
            assert!(whole(&[encoder.coding()], &body).is_err(), "{encoder:?} {garbage:?}");
            assert!(cut(&[encoder.coding()], &body, &[1]).is_err(), "{encoder:?} {garbage:?} in bytes");
        }
    }
}

#[test]
fn members_and_frames_follow_each_other() {
    for encoder in [Encoder::Gzip, Encoder::Zstd] {
        let body = [encoder.encode(b"one "), encoder.encode(b""), encoder.encode(b"two")].concat();
        assert_eq!(whole(&[encoder.coding()], &body).unwrap(), b"one two");
        assert_eq!(cut(&[encoder.coding()], &body, &[1]).unwrap(), b"one two");
    }
    let member = Encoder::Gzip.encode(b"a");
    let many = |count: u32| whole(&[Coding::Gzip], &member.repeat(count as usize)).map(|out| out.len());
    assert_eq!(many(MEMBERS_MAX), Ok(MEMBERS_MAX as usize));
    assert_eq!(many(MEMBERS_MAX + 1), Err(Fault::Members));
}

#[test]
fn a_checksum_that_does_not_match_is_a_fault() {
    let gzip = Encoder::Gzip.encode(&text(500));
    let zlib = Encoder::Zlib.encode(&text(500));
    for (coding, mut body) in [(Coding::Gzip, gzip), (Coding::Deflate, zlib)] {
        let at = body.len() - 1;
        body[at] ^= 1;
        assert_eq!(whole(&[coding], &body), Err(Fault::Corrupt(coding)));
    }
}

/// Found by a fuzzer: where the last block was empty, a frame that came in pieces could be shorter than it says.
#[test]
fn a_frame_of_zstd_is_as_long_as_it_says() {
    let coding = [Coding::Zstd];
    let frame = |size: u8, blocks: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, size][..], blocks].concat();
    // A block of one byte that another follows, and an empty last one.
    let one_byte = [0x08, 0, 0, b'a', 0x01, 0, 0];
    for (size, blocks) in [(5, &one_byte[4..]), (2, &one_byte[..]), (0, &one_byte[..])] {
        let body = frame(size, blocks);
        assert_eq!(whole(&coding, &body), Err(Fault::Corrupt(Coding::Zstd)), "{size}");
        assert_eq!(cut(&coding, &body, &[1]), Err(Fault::Corrupt(Coding::Zstd)), "{size}");
        let second = [frame(1, &one_byte), body].concat();
        assert_eq!(cut(&coding, &second, &[1]), Err(Fault::Corrupt(Coding::Zstd)), "{size}");
    }
    // A last block that repeats a byte no times.
    let repeats = [&[0; 9][..], &[0x03, 0, 0, 1]].concat();
    for lengths in [&[1][..], &[50]] {
        assert_eq!(cut(&coding, &frame(0, &repeats), lengths), Err(Fault::Corrupt(Coding::Zstd)));
        let frames = [frame(1, &one_byte), frame(0, &one_byte[4..]), frame(1, &one_byte)].concat();
        assert_eq!(cut(&coding, &frames, lengths), Ok(b"aa".to_vec()));
    }
}

/// Found by a fuzzer: libzstd reads what was written before the standard, and not the same for any cut.
#[test]
fn frames_from_before_the_standard_are_none() {
    let skippable = [0x5a, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7];
    let text = Encoder::Zstd.encode(b"text");
    assert_eq!(cut(&[Coding::Zstd], &[&skippable[..], &text].concat(), &[1]), Ok(b"text".to_vec()));
    for version in 0x1e..=0x27 {
        let body = [&[version, 0xb5, 0x2f, 0xfd][..], &text[4..]].concat();
        for lengths in [&[1][..], &[50]] {
            assert_eq!(cut(&[Coding::Zstd], &body, lengths), Err(Fault::Corrupt(Coding::Zstd)), "{version:x}");
            let second = [&text[..], &body].concat();
            assert_eq!(cut(&[Coding::Zstd], &second, lengths), Err(Fault::Corrupt(Coding::Zstd)), "{version:x}");
        }
    }
}

#[test]
fn bombs_are_stopped_early() {
    for encoder in ALL {
        let zeros = vec![0; 256 << 20];
        let bomb = encoder.encode(&zeros);
        drop(zeros);
        let mut held = 0;
        let result = decode(&[encoder.coding()], bomb.clone().into(), usize::MAX, &mut |bytes| {
            held += bytes;
            true
        });
        assert_eq!(result, Err(Fault::Dense), "{encoder:?}");
        let most = (bomb.len() as u64 * RATIO_MAX).max(RATIO_FREE_BYTES);
        assert!(held as u64 <= most, "{encoder:?}: {held} of {most}");
        // Bombs within: what lies between is held to the same.
        let twice = Encoder::Gzip.encode(&bomb);
        let result = decode(&[encoder.coding(), Coding::Gzip], twice.into(), usize::MAX, &mut |_| true);
        assert_eq!(result, Err(Fault::Dense), "gzip of {encoder:?}");
    }
}

#[test]
fn limits_are_those_of_the_caller() {
    let plain = text(100_000);
    for encoder in ALL {
        let (codings, body) = ([encoder.coding()], Bytes::from(encoder.encode(&plain)));
        let exactly = decode(&codings, body.clone(), plain.len(), &mut |_| true);
        assert_eq!(exactly.map(|out| out.len()), Ok(plain.len()));
        let less = decode(&codings, body.clone(), plain.len() - 1, &mut |_| true);
        assert_eq!(less, Err(Fault::TooLarge(plain.len() - 1)));
        assert_eq!(decode(&codings, body, plain.len(), &mut |_| false), Err(Fault::NoRoom));
    }
}

#[test]
fn windows_are_bounded() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.write_all(&text(9 << 20)).unwrap();
    let wide = encoder.finish().unwrap();
    assert_eq!(whole(&[Coding::Zstd], &wide), Err(Fault::Corrupt(Coding::Zstd)));
}

#[test]
fn an_empty_body_is_empty_in_every_coding() {
    for encoder in ALL {
        assert_eq!(whole(&[encoder.coding()], b"").unwrap(), b"");
    }
}

fn encoder() -> impl Strategy<Value = Encoder> {
    prop::sample::select(ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn however_it_is_stacked_and_cut_the_same_comes_out(
        stack in prop::collection::vec(encoder(), 1..=CODINGS_MAX),
        plain in prop::collection::vec(any::<u8>(), 0..4_000),
        repeat in 1_usize..20,
        lengths in prop::collection::vec(1_usize..600, 1..40),
    ) {
        let plain = plain.repeat(repeat);
        let encoded = stack.iter().fold(plain.clone(), |body, encoder| encoder.encode(&body));
        let codings: Vec<Coding> = stack.iter().map(|encoder| encoder.coding()).collect();
        prop_assert!(whole(&codings, &encoded).unwrap() == plain);
        prop_assert!(cut(&codings, &encoded, &lengths).unwrap() == plain);
    }

    #[test]
    fn spoilt_bytes_are_never_a_panic_and_their_verdict_does_not_depend_on_the_cut(
        encoder in encoder(),
        plain in prop::collection::vec(any::<u8>(), 0..2_000),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        lengths in prop::collection::vec(1_usize..100, 1..20),
    ) {
        let mut encoded = encoder.encode(&plain);
        *at.get_mut(&mut encoded) = with;
        let codings = [encoder.coding()];
        prop_assert_eq!(whole(&codings, &encoded).ok(), cut(&codings, &encoded, &lengths).ok());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        encoder in encoder(),
        bytes in prop::collection::vec(any::<u8>(), 0..500),
        lengths in prop::collection::vec(1_usize..50, 1..10),
    ) {
        let codings = [encoder.coding()];
        prop_assert_eq!(whole(&codings, &bytes).ok(), cut(&codings, &bytes, &lengths).ok());
    }
}
