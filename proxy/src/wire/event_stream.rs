//! Event streams of AWS (`application/vnd.amazon.eventstream`): binary messages with headers and two checksums, as Bedrock
//! streams its answers. Checked and written by AWS's own crate; here is only where one message ends, and what of it is
//! the event. The frames' bytes laid end to end are the stream as it came, for any chunking.
//!
//! Models that are invoked in their own format have their events wrapped once more, in base64, as `{"bytes": …}`.

use std::ops::Range;

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use super::frame::{Dress, FRAME_BYTES_MAX, Frame, FrameError};
use crate::json::{Doc, Kind, Limits};

/// Lengths and checksums around headers and payload: prelude (12 bytes) and the message's own checksum.
const MESSAGE_BYTES_MIN: usize = 16;

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub struct Framer {
    buf: BytesMut,
}

/// A message without its data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Envelope {
    headers: Vec<Header>,
    /// The payload that the data is wrapped in, and where in it.
    wrapped: Option<(Bytes, Range<usize>)>,
}

// Headers hold no floating-point numbers.
impl Eq for Envelope {}

impl Framer {
    /// Takes the next bytes and appends the frames that they complete.
    pub fn feed(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        self.buf.extend_from_slice(bytes);
        while let Some(length) = self.buf.first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length < MESSAGE_BYTES_MIN {
                return Err(FrameError::Damaged);
            }
            if length > FRAME_BYTES_MAX {
                return Err(FrameError::TooLong);
            }
            if self.buf.len() < length {
                break;
            }
            let raw = self.buf.split_to(length).freeze();
            frames.push(frame(raw)?);
        }
        Ok(())
    }

    /// The stream has ended: a message that is not complete is not one.
    pub fn finish(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.buf.is_empty() { Ok(None) } else { Err(FrameError::Damaged) }
    }

    pub fn pending_bytes(&self) -> usize {
        self.buf.len()
    }
}

fn frame(raw: Bytes) -> Result<Frame, FrameError> {
    let message = read_message_from(raw.clone()).map_err(|_| FrameError::Damaged)?;
    let payload = message.payload().clone();
    let text = |header: &Header| header.value().as_string().ok().map(|text| text.as_str().to_owned());
    let mut fields: Vec<String> = Vec::new();
    for header in message.headers() {
        fields.push(header.name().as_str().to_owned());
        fields.extend(text(header));
    }
    let wrapped = unwrap(&payload, &mut fields);
    let data = match &wrapped {
        Some((data, _)) => data.clone(),
        None => payload.clone(),
    };
    let wrapped = wrapped.map(|(_, range)| (payload, range));
    let envelope = Envelope { headers: message.headers().to_vec(), wrapped };
    Ok(Frame {
        raw,
        data: Some(data).filter(|data| !data.is_empty()),
        event: None,
        fields: fields.join("\n"),
        dress: Dress::Message(Box::new(envelope)),
    })
}

/// The event inside `{"bytes": "<base64>"}`, and where the base64 stands; what stands beside it is told in `fields`. A
/// payload of any other form is no wrapping: it is looked at as it is.
fn unwrap(payload: &Bytes, fields: &mut Vec<String>) -> Option<(Bytes, Range<usize>)> {
    let doc = Doc::parse(payload, Limits::default()).ok()?;
    let root = doc.root(payload);
    let encoded = root.get("bytes").filter(|value| value.kind() == Kind::String)?;
    let data = STANDARD.decode(encoded.as_str()?.as_bytes()).ok()?;
    for member in root.children().filter(|member| member.name() != "bytes") {
        fields.push(member.name().into_owned());
        fields.push(String::from_utf8_lossy(member.raw()).into_owned());
    }
    Some((data.into(), encoded.inner()))
}

impl Envelope {
    /// The message with other data: lengths and checksums are made anew.
    pub(super) fn with_data(&self, data: &[u8]) -> Option<Bytes> {
        let payload = match &self.wrapped {
            None => Bytes::copy_from_slice(data),
            Some((payload, range)) => {
                let mut out = BytesMut::with_capacity(payload.len() + data.len());
                out.extend_from_slice(payload.get(..range.start)?);
                out.extend_from_slice(STANDARD.encode(data).as_bytes());
                out.extend_from_slice(payload.get(range.end..)?);
                out.freeze()
            }
        };
        write(Message::new_from_parts(self.headers.clone(), payload))
    }
}

/// One message with headers of text, such as an exception that Clyra raises.
pub fn message(headers: &[(&'static str, &str)], payload: Bytes) -> Option<Bytes> {
    let header =
        |(name, value): &(&'static str, &str)| Header::new(*name, HeaderValue::String((*value).to_owned().into()));
    write(Message::new_from_parts(headers.iter().map(header).collect::<Vec<_>>(), payload))
}

fn write(message: Message) -> Option<Bytes> {
    let mut out = Vec::new();
    write_message_to(&message, &mut out).ok()?;
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(payload: &'static str) -> Bytes {
        message(&[(":message-type", "event"), (":event-type", "chunk")], Bytes::from_static(payload.as_bytes()))
            .unwrap()
    }

    fn frames(chunks: &[&[u8]]) -> Result<Vec<Frame>, FrameError> {
        let (mut framer, mut out) = (Framer::default(), Vec::new());
        for chunk in chunks {
            framer.feed(chunk, &mut out)?;
        }
        out.extend(framer.finish()?);
        Ok(out)
    }

    #[test]
    fn the_event_inside_is_read_and_put_in_again() {
        let raw = event(r#"{"bytes":"eyJhIjoxfQ==","p":"abc"}"#);
        let got = frames(&[&raw]).unwrap();
        assert_eq!(got[0].data.as_deref(), Some(&br#"{"a":1}"#[..]));
        assert!(got[0].fields.contains("\"abc\""), "{}", got[0].fields);
        assert_eq!(got[0].with_data(br#"{"a":1}"#).unwrap(), raw);
        let other = got[0].with_data(br#"{"a":23}"#).unwrap();
        assert_eq!(frames(&[&other]).unwrap()[0].data.as_deref(), Some(&br#"{"a":23}"#[..]));
        let plain = frames(&[&event(r#"{"delta":{"text":"x"}}"#)]).unwrap();
        assert_eq!(plain[0].data.as_deref(), Some(&br#"{"delta":{"text":"x"}}"#[..]));
    }

    #[test]
    fn damage_is_found() {
        let raw = event("{}").to_vec();
        for at in 0..raw.len() {
            let mut bad = raw.clone();
            bad[at] ^= 1;
            assert!(frames(&[&bad]).is_err(), "byte {at}");
        }
        assert_eq!(frames(&[&raw[..raw.len() - 1]]), Err(FrameError::Damaged));
        assert_eq!(frames(&[&[0x7f, 0, 0, 0]]), Err(FrameError::TooLong));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(cuts in proptest::collection::vec(0usize..400, 0..6)) {
            let all = [event(r#"{"bytes":"e30="}"#), event(r#"{"a":"b"}"#), event("")].concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(all.len())).collect();
            cuts.sort_unstable();
            cuts.insert(0, 0);
            cuts.push(all.len());
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &all[w[0]..w[1]]).collect();
            let got = frames(&chunks).unwrap();
            prop_assert_eq!(&got, &frames(&[&all]).unwrap());
            let raw: Vec<u8> = got.iter().flat_map(|f| f.raw.to_vec()).collect();
            prop_assert_eq!(raw, all);
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = frames(&[&bytes]);
        }
    }
}
