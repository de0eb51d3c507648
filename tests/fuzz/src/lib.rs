//! What the fuzzers feed to each decoder, and what must hold whatever they feed. Each public function is one fuzzer
//! (`targets/`); it panics where a promise is broken. `docs/fuzzing.md` lists the promises.

pub mod canonical;
pub mod csv;
pub mod detectors;
pub mod encoding;
pub mod evidence;
pub mod form;
pub mod frames;
pub mod guard;
pub mod json;
pub mod lock;
pub mod messages;
pub mod notes;
pub mod path;
pub mod policy;

mod cuts;
mod judge;

use clyra::surface::{SURFACES, Surface};

/// Takes the first byte of an input: a choice that the fuzzer makes.
fn choice(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(first, rest)| (*first, rest))
}

fn surface(number: u8) -> &'static Surface {
    SURFACES[usize::from(number) % SURFACES.len()]
}

/// The text of an input: up to the first byte that is not UTF-8.
fn text(data: &[u8]) -> &str {
    match std::str::from_utf8(data) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&data[..error.valid_up_to()]).unwrap_or_default(),
    }
}
