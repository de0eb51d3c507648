//! Bodies in content codings, as clients and providers make them.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

/// Every coding that is undone, as `content-encoding` names it; the deflate of some servers is bare.
pub const CODINGS: [&str; 6] = ["gzip", "x-gzip", "deflate", "deflate (bare)", "br", "zstd"];

/// What `content-encoding` says of an encoding in [`CODINGS`].
pub fn header(coding: &str) -> &str {
    coding.strip_suffix(" (bare)").unwrap_or(coding)
}

/// Encodes the parts one after the other, each flushed, so that a decoder can read it as soon as it has come.
pub fn flushed(coding: &str, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let level = Compression::default();
    match coding {
        "gzip" | "x-gzip" => {
            pieces(GzEncoder::new(Vec::new(), level), parts, GzEncoder::get_mut, |w| w.finish().unwrap())
        }
        "deflate" => pieces(ZlibEncoder::new(Vec::new(), level), parts, ZlibEncoder::get_mut, |w| w.finish().unwrap()),
        "deflate (bare)" => {
            pieces(DeflateEncoder::new(Vec::new(), level), parts, DeflateEncoder::get_mut, |w| w.finish().unwrap())
        }
        "br" => {
            let writer = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            pieces(writer, parts, brotli::CompressorWriter::get_mut, brotli::CompressorWriter::into_inner)
        }
        "zstd" => {
            let writer = zstd::Encoder::new(Vec::new(), 3).unwrap();
            pieces(writer, parts, zstd::Encoder::get_mut, |w| w.finish().unwrap())
        }
        other => panic!("no encoder for {other}"),
    }
}

fn pieces<W: Write>(
    mut writer: W,
    parts: &[&[u8]],
    written: impl Fn(&mut W) -> &mut Vec<u8>,
    finish: impl FnOnce(W) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    for part in parts {
        writer.write_all(part).unwrap();
        writer.flush().unwrap();
        pieces.push(std::mem::take(written(&mut writer)));
    }
    pieces.push(finish(writer));
    pieces
}

/// Encodes in one piece.
pub fn encode(coding: &str, bytes: &[u8]) -> Vec<u8> {
    flushed(coding, &[bytes]).concat()
}
