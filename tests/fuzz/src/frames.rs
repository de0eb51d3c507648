//! The framers of streams: frames laid end to end are the stream, for any chunking the same ones; nothing is kept twice.

use bytes::Bytes;
use clyra::wire::{Frame, FrameError, Framing, event_stream};

use crate::choice;
use crate::cuts::Cuts;

fn read(framing: Framing, pieces: &[&[u8]]) -> (Vec<Frame>, Result<(), FrameError>) {
    let (mut framer, mut frames) = (framing.framer(), Vec::<Frame>::new());
    let (mut fed, mut framed) = (0, 0);
    for piece in pieces {
        let before = frames.len();
        if let Err(error) = framer.feed(piece, &mut frames) {
            return (frames, Err(error));
        }
        fed += piece.len();
        framed += frames[before..].iter().map(|frame| frame.raw.len()).sum::<usize>();
        assert_eq!(framer.pending_bytes() + framed, fed, "bytes that are neither framed nor waiting");
    }
    let end = framer.finish().map(|last| frames.extend(last));
    (frames, end)
}

fn data(frames: &[Frame]) -> Vec<Bytes> {
    frames.iter().filter_map(|frame| frame.data.clone()).collect()
}

fn check(framing: Framing, bytes: &[u8], seed: u8) {
    let [whole, others @ ..] = Cuts::all(seed);
    let (frames, end) = read(framing, &whole.of(bytes));
    for cuts in others {
        assert_eq!(read(framing, &cuts.of(bytes)), (frames.clone(), end), "cut as {cuts:?}");
    }
    if end.is_ok() {
        let raw: Vec<u8> = frames.iter().flat_map(|frame| frame.raw.to_vec()).collect();
        assert_eq!(raw, bytes, "the frames are not the stream");
    }
    for (position, frame) in frames.iter().enumerate() {
        let Some(data_in) = &frame.data else { continue };
        let dressed = frame.with_data(data_in).expect("a frame takes its own data");
        // A byte order mark is one only where the stream begins.
        let before: &[u8] = if framing == Framing::Sse && position > 0 { b"\n" } else { b"" };
        let (again, end) = read(framing, &[before, &dressed]);
        assert_eq!(end, Ok(()), "a frame with its own data is damaged");
        // Line feeds become spaces, and white space around is nobody's.
        let flat = |data: &[u8]| -> Vec<u8> {
            data.trim_ascii()
                .iter()
                .map(|b| if framing != Framing::EventStream && matches!(b, b'\r' | b'\n') { b' ' } else { *b })
                .collect()
        };
        let there: Vec<Vec<u8>> = data(&again).iter().map(|data| flat(data)).filter(|data| !data.is_empty()).collect();
        let wanted: Vec<Vec<u8>> = [flat(data_in)].into_iter().filter(|data| !data.is_empty()).collect();
        assert_eq!(there, wanted, "a frame does not hold the data that was put in");
    }
}

pub fn sse(input: &[u8]) {
    let Some((seed, bytes)) = choice(input) else { return };
    check(Framing::Sse, bytes, seed);
}

pub fn lines(input: &[u8]) {
    let Some((seed, bytes)) = choice(input) else { return };
    check(Framing::Lines, bytes, seed);
}

/// Binary messages as they are (even first byte), or made of the lines of the input, so that lengths and checksums are right.
pub fn event_stream(input: &[u8]) {
    let Some((seed, bytes)) = choice(input) else { return };
    if seed % 2 == 0 {
        check(Framing::EventStream, bytes, seed);
    } else {
        check(Framing::EventStream, &messages(bytes), seed);
    }
}

/// A binary stream with a message for each line.
pub(crate) fn messages(lines: &[u8]) -> Vec<u8> {
    let headers = [(":message-type", "event"), (":event-type", "chunk"), (":content-type", "application/json")];
    let line = |line: &[u8]| event_stream::message(&headers, Bytes::copy_from_slice(line)).expect("a small message");
    lines.split(|byte| *byte == b'\n').flat_map(|payload| line(payload).to_vec()).collect()
}
