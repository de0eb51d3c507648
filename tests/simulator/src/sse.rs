//! Frames server-sent events (WHATWG HTML, section 9.2.5) as each provider writes them.

use std::borrow::Cow;

/// One event: an optional name and one line of data.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) data: String,
}

impl Event {
    /// The bytes of the event. `malformed` cuts its data off in the middle and still ends the event.
    pub(crate) fn to_bytes(&self, crlf: bool, malformed: bool) -> Vec<u8> {
        let end = if crlf { "\r\n" } else { "\n" };
        let data = if malformed { first_half(&self.data) } else { &self.data };
        let name = self.name.as_ref().map(|name| format!("event: {name}{end}"));
        format!("{}data: {data}{end}{end}", name.unwrap_or_default()).into_bytes()
    }
}

/// A comment, which clients skip.
pub(crate) fn comment(crlf: bool) -> &'static [u8] {
    if crlf { b": keep-alive\r\n\r\n" } else { b": keep-alive\n\n" }
}

/// About half of the text, never half a character.
pub(crate) fn first_half(text: &str) -> &str {
    text.get(..text.floor_char_boundary(text.len() / 2)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_framed_as_the_provider_does() {
        let named = Event { name: Some("ping".into()), data: "{}".into() };
        assert_eq!(named.to_bytes(false, false), b"event: ping\ndata: {}\n\n");
        assert_eq!(named.to_bytes(true, false), b"event: ping\r\ndata: {}\r\n\r\n");
        let bare = Event { name: None, data: "{\"a\":1}".into() };
        assert_eq!(bare.to_bytes(false, true), b"data: {\"a\n\n");
    }
}
