//! Messages of a WebSocket as events: each comes whole, so there is nothing to cut.

use bytes::Bytes;

use super::frame::{Dress, Frame};

/// The event that a message is, white space around its document included.
pub(super) fn frame(message: &[u8]) -> Frame {
    let start = message.len() - message.trim_ascii_start().len();
    let end = start + message.trim_ascii().len();
    let raw = Bytes::copy_from_slice(message);
    let data = (start < end).then(|| raw.slice(start..end));
    let lines = if data.is_some() { vec![(start, end)] } else { Vec::new() };
    Frame { raw, data, event: None, fields: String::new(), dress: Dress::Lines(lines) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_an_event_with_its_white_space() {
        let message = frame(b" {\n\"a\":1}\n");
        assert_eq!(message.data.as_deref(), Some(&b"{\n\"a\":1}"[..]));
        assert_eq!(message.raw, &b" {\n\"a\":1}\n"[..]);
        assert_eq!(message.with_data(b"{}").unwrap(), &b" {}\n"[..]);
        assert_eq!(frame(b" \n").data, None);
    }
}
