//! Time-stamp requests and responses of RFC 3161: made by hand, and read without trust in who sent them.
//!
//! What is read is what the check of evidence needs: the status, the imprint, the time, the nonce and the policy. The
//! authority's signature is not looked at here; `openssl ts -verify` and its like do that.

use super::der::{Element, NotDer, only, tag, write};
use crate::tree::Hash;

const ID_SIGNED_DATA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x02];
const ID_CT_TST_INFO: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x10, 0x01, 0x04];
const ID_SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// Content type of a request over HTTP (RFC 3161 §3.4).
pub const QUERY_TYPE: &str = "application/timestamp-query";
/// Content type of a response over HTTP.
pub const REPLY_TYPE: &str = "application/timestamp-reply";

/// A time-stamp request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// SHA-256 of what is stamped.
    pub digest: Hash,
    /// Comes back in the response, so that an old response cannot pass for the answer.
    pub nonce: u64,
    /// The policy to stamp under; the authority's own when absent.
    pub policy: Option<Oid>,
}

/// An object identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oid(Vec<u8>);

impl Oid {
    /// From dotted numbers, such as `1.2.3.4`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut arcs = text.split('.').map(|arc| crate::receipt::parse_decimal(arc).filter(|arc| *arc < 1 << 32));
        let (first, second) = (arcs.next()??, arcs.next()??);
        if first > 2 || (first < 2 && second > 39) {
            return None;
        }
        let mut out = Vec::new();
        base128(first * 40 + second, &mut out);
        for arc in arcs {
            base128(arc?, &mut out);
        }
        Some(Self(out))
    }
}

fn base128(number: u64, out: &mut Vec<u8>) {
    let groups = (1..10).take_while(|group| number >> (7 * group) != 0).count();
    for group in (0..=groups).rev() {
        let continued = if group == 0 { 0 } else { 0x80 };
        out.push(u8::try_from(number >> (7 * group) & 0x7F).unwrap_or(0) | continued);
    }
}

impl Request {
    /// The request in DER. It asks for the authority's certificate to come with the token, so that the token can be checked
    /// by itself.
    pub fn to_der(&self) -> Vec<u8> {
        let algorithm = write(tag::SEQUENCE, &[&write(tag::OID, &[ID_SHA256]), &write(tag::NULL, &[])]);
        let imprint = write(tag::SEQUENCE, &[&algorithm, &write(tag::OCTET_STRING, &[&self.digest])]);
        let policy = self.policy.as_ref().map(|policy| write(tag::OID, &[&policy.0])).unwrap_or_default();
        write(
            tag::SEQUENCE,
            &[
                &write(tag::INTEGER, &[&[1]]),
                &imprint,
                &policy,
                &write(tag::INTEGER, &[&integer(self.nonce)]),
                &write(tag::BOOLEAN, &[&[0xFF]]),
            ],
        )
    }

    /// Whether the token answers this request: with its nonce, and under its policy if it named one.
    pub fn is_answered_by(&self, token: &Token) -> bool {
        token.digest == Some(self.digest)
            && token.nonce.as_deref() == Some(&integer(self.nonce))
            && self.policy.as_ref().is_none_or(|policy| policy.0 == token.policy)
    }
}

/// Content of an INTEGER that is not negative, in its shortest form.
fn integer(number: u64) -> Vec<u8> {
    let digits = number.to_be_bytes();
    let zeros = digits.iter().take_while(|digit| **digit == 0).count().min(digits.len() - 1);
    let digits = digits.get(zeros..).unwrap_or_default();
    let sign = digits.first().filter(|first| **first >= 0x80).map(|_| 0);
    sign.into_iter().chain(digits.iter().copied()).collect()
}

/// What a granted response says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What is stamped, if it is named by SHA-256.
    pub digest: Option<Hash>,
    /// Time of the stamp, digits of date and time to the second: `YYYYMMDDhhmmss`.
    pub seconds: String,
    nonce: Option<Vec<u8>>,
    policy: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseFault {
    #[error("the authority refused (PKIStatus {0})")]
    Refused(u8),
    #[error("not a TimeStampResp whose token is CMS SignedData over a TSTInfo")]
    Malformed,
}

impl From<NotDer> for ResponseFault {
    fn from(_: NotDer) -> Self {
        Self::Malformed
    }
}

impl Token {
    /// Reads a response (RFC 3161 §2.4.2).
    pub fn from_response(bytes: &[u8]) -> Result<Self, ResponseFault> {
        let malformed = ResponseFault::Malformed;
        let response = only(bytes)?.elements(tag::SEQUENCE)?;
        let (status, token) = match response.as_slice() {
            [status] => (status, None),
            [status, token] => (status, Some(token)),
            _ => return Err(malformed),
        };
        let status = status.elements(tag::SEQUENCE)?;
        match status.first().ok_or(malformed)?.tagged(tag::INTEGER)? {
            [0 | 1] => Self::from_token(token.ok_or(malformed)?),
            [refused] => Err(ResponseFault::Refused(*refused)),
            _ => Err(malformed),
        }
    }

    /// Time of the stamp to the second, as evidence writes a time.
    pub fn at(&self) -> String {
        let mut out = String::with_capacity(27);
        // What stands before the digits from this one on.
        for (index, digit) in self.seconds.chars().enumerate() {
            match index {
                4 | 6 => out.push('-'),
                8 => out.push('T'),
                10 | 12 => out.push(':'),
                _ => {}
            }
            out.push(digit);
        }
        out + ".000000Z"
    }

    fn from_token(token: &Element<'_>) -> Result<Self, ResponseFault> {
        let malformed = ResponseFault::Malformed;
        let signed = typed(token, ID_SIGNED_DATA)?.elements(tag::SEQUENCE)?;
        let [version, digests, content, _, ..] = signed.as_slice() else { return Err(malformed) };
        version.tagged(tag::INTEGER)?;
        digests.tagged(tag::SET)?;
        let signers = signed.last().ok_or(malformed)?.tagged(tag::SET)?;
        if signers.is_empty() {
            return Err(malformed);
        }
        let info = typed(content, ID_CT_TST_INFO)?.tagged(tag::OCTET_STRING)?;
        let info = only(info)?.elements(tag::SEQUENCE)?;
        let [version, policy, imprint, serial, time, rest @ ..] = info.as_slice() else { return Err(malformed) };
        serial.tagged(tag::INTEGER)?;
        if version.tagged(tag::INTEGER)? != [1] {
            return Err(malformed);
        }
        let nonce = rest.iter().find(|element| element.tag == tag::INTEGER).map(|element| element.content.to_vec());
        Ok(Self {
            digest: digest(imprint)?,
            seconds: seconds(time.tagged(tag::GENERALIZED_TIME)?).ok_or(malformed)?,
            nonce,
            policy: policy.tagged(tag::OID)?.to_vec(),
        })
    }
}

/// The one element of content of this type.
fn typed<'a>(element: &Element<'a>, oid: &[u8]) -> Result<Element<'a>, NotDer> {
    match element.elements(tag::SEQUENCE)?.as_slice() {
        [named, content] if named.tagged(tag::OID)? == oid => only(content.tagged(tag::EXPLICIT_0)?),
        _ => Err(NotDer),
    }
}

fn digest(imprint: &Element<'_>) -> Result<Option<Hash>, NotDer> {
    match imprint.elements(tag::SEQUENCE)?.as_slice() {
        [algorithm, hashed] => {
            let algorithm = algorithm.elements(tag::SEQUENCE)?;
            let oid = algorithm.first().ok_or(NotDer)?.tagged(tag::OID)?;
            let hashed = hashed.tagged(tag::OCTET_STRING)?;
            Ok(hashed.try_into().ok().filter(|_| oid == ID_SHA256))
        }
        _ => Err(NotDer),
    }
}

/// `YYYYMMDDhhmmss`, followed by `Z` or `.`, one to nine digits and `Z`.
fn seconds(time: &[u8]) -> Option<String> {
    let (seconds, rest) = time.split_at_checked(14)?;
    let fraction = match rest {
        [b'Z'] => &[][..],
        [b'.', fraction @ .., b'Z'] if (1..=9).contains(&fraction.len()) => fraction,
        _ => return None,
    };
    let digits = seconds.iter().chain(fraction).all(u8::is_ascii_digit);
    digits.then(|| seconds.iter().map(|digit| char::from(*digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_shortest_form() {
        assert_eq!(integer(0), [0]);
        assert_eq!(integer(127), [127]);
        assert_eq!(integer(128), [0, 128]);
        assert_eq!(integer(u64::MAX).len(), 9);
        assert_eq!(Oid::parse("1.2.840.113549.1.7.2").unwrap().0, ID_SIGNED_DATA);
        assert_eq!(Oid::parse("2.16.840.1.101.3.4.2.1").unwrap().0, ID_SHA256);
        for bad in ["", "1", "3.1", "1.40", "1.2.", "1..2", "1.2.x", "1.2.4294967296"] {
            assert_eq!(Oid::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_time_has_its_form() {
        assert_eq!(seconds(b"20261121034104Z").as_deref(), Some("20261121034104"));
        assert_eq!(seconds(b"20261121034104.123Z").as_deref(), Some("20261121034104"));
        for bad in
            [&b"20261121034104"[..], b"2026112103410Z", b"20261121034104.Z", b"20261121034104+0100", b"2026112103410xZ"]
        {
            assert_eq!(seconds(bad), None);
        }
    }
}
