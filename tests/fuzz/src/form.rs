//! Multipart forms: what was read, written anew and read again, is the same.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use clyra::wire::form::{Form, FormError};

const KIND: &str = "multipart/form-data; boundary=x";

/// Reads from memory, so that nothing is ever waited for.
fn read(body: Bytes, kind: &str) -> Result<Form, FormError> {
    let mut reading = pin!(Form::read(body, kind));
    let mut context = Context::from_waker(Waker::noop());
    // Each poll makes progress.
    for _ in 0..1_000_000 {
        if let Poll::Ready(read) = reading.as_mut().poll(&mut context) {
            return read;
        }
    }
    panic!("reading a form from memory does not end");
}

/// The input is a body with the boundary `x`; one that begins with `multipart/` has its content type on its first line.
pub fn form(input: &[u8]) {
    let (kind, body) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) if input.starts_with(b"multipart/") => (crate::text(&input[..end]), &input[end + 1..]),
        _ => (KIND, input),
    };
    let Ok(form) = read(Bytes::copy_from_slice(body), kind) else { return };
    let rows: Vec<(usize, Bytes)> = form.rows().map(|(part, _, row)| (part, row)).collect();
    let held: usize = rows.iter().map(|(_, row)| row.len()).sum();
    assert!(held <= body.len(), "rows are larger than their form");
    let Some(written) = form.write(&form.document(), &rows) else { return };
    let again = read(written.clone(), &form.content_type()).expect("a form that was written can be read");
    // Quotes and line ends in the names of files are written as browsers write them, and stay so.
    let document = form.document();
    if ![&b"\\\""[..], b"\\r", b"\\n"].iter().any(|odd| document.windows(2).any(|pair| pair == *odd)) {
        assert_eq!(again.document(), document);
    }
    assert_eq!(again.has_media(), form.has_media());
    let same: Vec<(usize, Bytes)> = again.rows().map(|(part, _, row)| (part, row)).collect();
    assert_eq!(same, rows);
    assert_eq!(again.write(&again.document(), &same), Some(written), "written once more, it is another");
}
