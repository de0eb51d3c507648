//! Journals and bundles: whatever the bytes, a verdict, and never that a forged one is good.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::{env, fs, process};

use clyra_receipts::bundle::{custody_of, inspect};
use clyra_receipts::canonical;
use clyra_receipts::{Receipts, VerifyOptions, verify};

use crate::choice;

/// A directory of this process. It lies in memory where TMPDIR does.
static SCRATCH: LazyLock<PathBuf> = LazyLock::new(|| {
    let scratch = env::temp_dir().join(format!("clyra-fuzz-{}", process::id()));
    let data = scratch.join("data");
    for directory in ["journal", "keys/receipts", "keys/logs"] {
        fs::create_dir_all(data.join(directory)).expect("a scratch directory");
    }
    macro_rules! key {
        ($name:literal) => {
            let key = include_bytes!(concat!("../../vectors/pef/valid/journal-directory/data/keys/", $name));
            fs::write(data.join("keys").join($name), key).expect("a key in the scratch directory");
        };
    }
    key!("root.vkey");
    key!("logs/00000000000000000000.json");
    key!("receipts/00000000000000000000.json");
    scratch
});

fn verdict(path: &std::path::Path) {
    let Ok(verdict) = verify(&[path], &VerifyOptions::default()) else { return };
    let json = verdict.to_json();
    assert!(canonical::parse(json.trim_ascii_end(), canonical::Limits::MANIFEST).is_ok(), "a verdict that is no JSON");
}

/// A segment of a journal. With an odd first byte its checksums are made right before, so that what lies behind them is read.
pub fn journal(input: &[u8]) {
    let Some((sealed, bytes)) = choice(input) else { return };
    let mut segment = bytes.to_vec();
    if sealed % 2 == 1 {
        seal(&mut segment);
    }
    let data = SCRATCH.join("data");
    fs::write(data.join("journal/seg-00000000000000000000.pefwal"), &segment).expect("a segment");
    verdict(&data);
    let Ok(mut receipts) = Receipts::open_first(&data) else { return };
    let mut next = 0;
    while let Ok(Some(receipt)) = receipts.read_next() {
        assert_eq!(receipt.seq(), next, "receipts out of order");
        assert!(canonical::is_canonical(receipt.body(), receipt.value()), "a receipt in another spelling");
        let _ = (receipt.envelope(), receipt.token());
        next += 1;
    }
    assert!(next as usize * FRAME_HEADER_BYTES <= segment.len(), "more receipts than bytes");
}

const SEGMENT_HEADER_BYTES: usize = 4096;
const FRAME_HEADER_BYTES: usize = 72;

/// Makes the digest of the header and the checksums of the frames right (`receipts/SPEC.md`, section "Journal").
fn seal(segment: &mut [u8]) {
    let Some((header, mut frames)) = segment.split_at_mut_checked(SEGMENT_HEADER_BYTES) else { return };
    let (said, digest) = header.split_at_mut(SEGMENT_HEADER_BYTES - 32);
    digest.copy_from_slice(blake3::hash(said).as_bytes());
    while let Some(head) = frames.first_chunk::<FRAME_HEADER_BYTES>() {
        let body = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let signature = usize::from(u16::from_be_bytes([head[12], head[13]]));
        let Some(end) = FRAME_HEADER_BYTES.checked_add(body).and_then(|end| end.checked_add(signature)) else { return };
        let Some((frame, rest)) = frames.split_at_mut_checked(end.next_multiple_of(8)) else { return };
        frame[64..72].fill(0);
        frame[end..].fill(0);
        let crc = crc32c::crc32c(&frame[..end]);
        frame[64..68].copy_from_slice(&crc.to_be_bytes());
        frames = rest;
    }
}

/// Between the members of a bundle in an input: then follow a path, a line feed and the content.
pub const MEMBER: &[u8] = b"\n\x01MEMBER ";

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A bundle: the file itself, or else its members, which are packed first.
pub fn bundle(input: &[u8]) {
    let packed = if input.starts_with(&ZSTD_MAGIC) { input.to_vec() } else { pack(input) };
    let path = SCRATCH.join("0-1.pef");
    fs::write(&path, packed).expect("a bundle in the scratch directory");
    verdict(&path);
    let _ = (inspect(&path), custody_of(&path));
}

fn pack(members: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut rest = members;
    while let Some(at) = rest.windows(MEMBER.len()).position(|window| window == MEMBER) {
        rest = &rest[at + MEMBER.len()..];
        let member = &rest[..rest.windows(MEMBER.len()).position(|window| window == MEMBER).unwrap_or(rest.len())];
        let Some(end) = member.iter().position(|byte| *byte == b'\n') else { continue };
        let (path, content) = (&member[..end], &member[end + 1..]);
        tar.extend_from_slice(&header(&path[..end.min(100)], content.len()));
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let mut out = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    out.include_checksum(true).expect("a checksum");
    std::io::Write::write_all(&mut out, &tar).expect("memory");
    out.finish().expect("memory")
}

/// The one form of a header that a bundle may have (`receipts/SPEC.md`, section "Bundle").
fn header(path: &[u8], size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    let size = format!("{size:011o}\0");
    let fields: [(usize, &[u8]); 11] = [
        (0, path),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, size.as_bytes()),
        (136, b"00000000000\0"),
        (148, b"        "),
        (156, b"0"),
        (257, b"ustar\x0000"),
        (329, b"0000000\0"),
        (337, b"0000000\0"),
    ];
    for (at, bytes) in fields {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The members of a bundle's tar in the form of an input.
pub fn unpack(mut tar: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((header, rest)) = tar.split_at_checked(512).filter(|(header, _)| header[0] != 0) {
        let size = usize::from_str_radix(crate::text(&header[124..135]), 8).unwrap_or(0).min(rest.len());
        out.extend_from_slice(MEMBER);
        out.extend(header[..100].iter().take_while(|byte| **byte != 0));
        out.push(b'\n');
        out.extend_from_slice(&rest[..size]);
        tar = rest.get(size.next_multiple_of(512)..).unwrap_or_default();
    }
    out
}
