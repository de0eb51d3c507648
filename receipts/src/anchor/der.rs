//! DER, as far as time stamps need it: elements with a tag of one byte and a length in its one right form.

/// Tags that time stamps are made of.
pub(super) mod tag {
    pub(in crate::anchor) const BOOLEAN: u8 = 0x01;
    pub(in crate::anchor) const INTEGER: u8 = 0x02;
    pub(in crate::anchor) const OCTET_STRING: u8 = 0x04;
    pub(in crate::anchor) const NULL: u8 = 0x05;
    pub(in crate::anchor) const OID: u8 = 0x06;
    pub(in crate::anchor) const GENERALIZED_TIME: u8 = 0x18;
    pub(in crate::anchor) const SEQUENCE: u8 = 0x30;
    pub(in crate::anchor) const SET: u8 = 0x31;
    pub(in crate::anchor) const EXPLICIT_0: u8 = 0xA0;
}

/// The bytes are not of the form that they must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotDer;

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
}

impl<'a> Element<'a> {
    /// Its content, if it has this tag.
    pub(super) fn tagged(self, tag: u8) -> Result<&'a [u8], NotDer> {
        if self.tag == tag { Ok(self.content) } else { Err(NotDer) }
    }

    /// The elements that its content consists of, if it has this tag.
    pub(super) fn elements(self, tag: u8) -> Result<Vec<Element<'a>>, NotDer> {
        elements(self.tagged(tag)?)
    }
}

/// Most elements side by side. Certificates and signers of a token are a handful; the bound keeps a list short that a hostile
/// token could fill with half a million empty ones.
const ELEMENTS_MAX: usize = 4096;

/// Splits bytes into the elements that fill them to the last one.
fn elements(mut bytes: &[u8]) -> Result<Vec<Element<'_>>, NotDer> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        if out.len() == ELEMENTS_MAX {
            return Err(NotDer);
        }
        let (element, rest) = split(bytes)?;
        out.push(element);
        bytes = rest;
    }
    Ok(out)
}

/// The one element that the bytes consist of.
pub(super) fn only(bytes: &[u8]) -> Result<Element<'_>, NotDer> {
    match split(bytes)? {
        (element, []) => Ok(element),
        _ => Err(NotDer),
    }
}

fn split(bytes: &[u8]) -> Result<(Element<'_>, &[u8]), NotDer> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>().ok_or(NotDer)?;
    if tag & 0x1F == 0x1F {
        return Err(NotDer);
    }
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0F)).ok_or(NotDer)?;
            let length = digits.iter().fold(0u64, |length, digit| length << 8 | u64::from(*digit));
            if digits.first() == Some(&0) || length < 0x80 {
                return Err(NotDer);
            }
            (usize::try_from(length).map_err(|_| NotDer)?, rest)
        }
        _ => return Err(NotDer),
    };
    let (content, rest) = rest.split_at_checked(length).ok_or(NotDer)?;
    Ok((Element { tag, content }, rest))
}

/// Appends an element whose content is the parts one after the other.
pub(super) fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7F) => out.push(short),
        _ => {
            let digits = length.to_be_bytes();
            let zeros = digits.iter().take_while(|digit| **digit == 0).count();
            let digits = digits.get(zeros..).unwrap_or_default();
            // At most eight digits.
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(0));
            out.extend_from_slice(digits);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_one_form() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let written = write(tag::OCTET_STRING, &[&content]);
            assert_eq!(only(&written), Ok(Element { tag: tag::OCTET_STRING, content: &content }));
        }
        for bad in [
            &[0x04][..],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x81, 0x01, 0],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x85, 0, 0, 0, 0, 1, 0],
            &[0x04, 0xFF],
            &[0x1F, 0x00],
            &[0x04, 0x01],
            &[0x04, 0x84, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x04, 0x00, 0x00],
        ] {
            assert_eq!(only(bad), Err(NotDer), "{bad:?}");
        }
    }
}
