//! Encodes messages of AWS event streams (`application/vnd.amazon.eventstream`), as Bedrock streams its answers.
//!
//! A message is: its length and that of its headers (4 bytes each, big-endian), the CRC-32 of those eight bytes, the headers,
//! the payload, and the CRC-32 of everything before. A header is the length of its name (1 byte), the name, its type (7: a
//! string), the length of the value (2 bytes) and the value.

use flate2::Crc;

/// The type of a header whose value is a string.
const STRING: u8 = 7;

/// Two lengths and a checksum before the headers, and a checksum at the end.
const FRAME_BYTES: usize = 16;

/// A message with this JSON payload. A name that ends in `Exception` makes it an error, any other an event.
pub(crate) fn message(name: &str, payload: &str) -> Vec<u8> {
    let (message_type, name_header) =
        if name.ends_with("Exception") { ("exception", ":exception-type") } else { ("event", ":event-type") };
    let mut headers = vec![];
    for (header, value) in [(name_header, name), (":content-type", "application/json"), (":message-type", message_type)]
    {
        // Names of ours: all of them are far shorter than a byte can say.
        headers.push(u8::try_from(header.len()).unwrap_or_default());
        headers.extend_from_slice(header.as_bytes());
        headers.push(STRING);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let mut message = vec![];
    message.extend_from_slice(&length(FRAME_BYTES + headers.len() + payload.len()));
    message.extend_from_slice(&length(headers.len()));
    message.extend_from_slice(&checksum(&message));
    message.extend_from_slice(&headers);
    message.extend_from_slice(payload.as_bytes());
    message.extend_from_slice(&checksum(&message));
    message
}

/// A request is 64 MiB at most, and so is what one event says of it.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_bedrock_sends() {
        // The first message of a real answer of Bedrock.
        let recorded: &[u8] = b"\x00\x00\x00\x81\x00\x00\x00Rl\xc1v\x93\x0b:event-type\x07\x00\x0cmessageStart\
            \r:content-type\x07\x00\x10application/json\r:message-type\x07\x00\x05event\
            {\"p\":\"abcd\",\"role\":\"assistant\"}\xf5\x12\xa0\x05";
        assert_eq!(message("messageStart", r#"{"p":"abcd","role":"assistant"}"#), recorded);
    }

    #[test]
    fn an_exception_says_that_it_is_one() {
        let message = String::from_utf8_lossy(&message("throttlingException", "{}")).into_owned();
        assert!(message.contains(":exception-type\u{7}\0\u{13}throttlingException"), "{message:?}");
        assert!(message.contains(":message-type\u{7}\0\u{9}exception"), "{message:?}");
    }
}
