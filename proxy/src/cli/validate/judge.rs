//! Feeds stdin to a lock, as it comes and without waiting for more.

use std::io::{self, Read};

use clyra_schemas::{CsvLock, Edit, End, Lock, Outcome, Step};

use super::Fault;

/// Read at a time at most. A read returns what is there, so a slow stream is judged as it comes in.
const READ_BYTES: usize = 64 << 10;

/// A lock of either format.
pub(super) trait Judge {
    fn feed(&mut self, text: &str) -> Step;
    fn finish(&mut self) -> Outcome;
    fn settled(&self) -> u64;
    fn take_edits(&mut self) -> Vec<Edit>;
}

impl Judge for Lock {
    fn feed(&mut self, text: &str) -> Step {
        Lock::feed(self, text)
    }

    fn finish(&mut self) -> Outcome {
        Lock::finish(self, End::Stop)
    }

    fn settled(&self) -> u64 {
        Lock::settled(self)
    }

    fn take_edits(&mut self) -> Vec<Edit> {
        Lock::take_edits(self)
    }
}

impl Judge for CsvLock {
    fn feed(&mut self, text: &str) -> Step {
        CsvLock::feed(self, text)
    }

    fn finish(&mut self) -> Outcome {
        CsvLock::finish(self, End::Stop)
    }

    fn settled(&self) -> u64 {
        CsvLock::settled(self)
    }

    fn take_edits(&mut self) -> Vec<Edit> {
        CsvLock::take_edits(self)
    }
}

/// Looks on while a text is judged.
pub(super) trait Watch {
    /// The lock has been fed `text`; or, with no text, has given its verdict.
    fn fed(&mut self, text: &str, lock: &mut dyn Judge);
}

/// Judges what `input` brings, as it comes. `None` if it passes.
pub(super) fn judge(
    lock: &mut dyn Judge,
    mut input: impl Read,
    watches: &mut [&mut dyn Watch],
) -> io::Result<Option<Fault>> {
    let mut buffer = vec![0; READ_BYTES];
    // Bytes of an unfinished character at the start of the buffer, and the offset in the text where they stand.
    let (mut kept, mut at) = (0, 0);
    loop {
        let read = match input.read(buffer.get_mut(kept..).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let bytes = buffer.get(..kept + read).unwrap_or_default();
        let (text, utf8) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let text = bytes.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok());
                let at = at + error.valid_up_to() as u64;
                // An unfinished character may be finished by the next bytes, if there are any.
                (text.unwrap_or_default(), (error.error_len().is_some() || read == 0).then_some(Fault::Utf8 { at }))
            }
        };
        if !text.is_empty() {
            let step = lock.feed(text);
            watches.iter_mut().for_each(|watch| watch.fed(text, lock));
            if let Step::Violation(violation) = step {
                return Ok(Some(Fault::Violation(violation)));
            }
        }
        if utf8.is_some() {
            return Ok(utf8);
        }
        if read == 0 {
            let judged = lock.finish();
            watches.iter_mut().for_each(|watch| watch.fed("", lock));
            return Ok(match judged {
                Outcome::Block(violation) => Some(Fault::Violation(violation)),
                _ => None,
            });
        }
        let (used, all) = (text.len(), bytes.len());
        at += used as u64;
        kept = all - used;
        buffer.copy_within(used..all, 0);
    }
}
