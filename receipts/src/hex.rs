//! Lower-case hexadecimal, the one spelling of digests in evidence.

/// Digits of these bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
    out
}

/// The 32 bytes that 64 lower-case digits stand for.
pub(crate) fn decode_32(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (to, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *to = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(out)
}

/// The bytes that lower-case digits stand for, two for each.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| if let [high, low] = pair { Some(nibble(*high)? << 4 | nibble(*low)?) } else { None }).collect()
}

/// True for one of the sixteen digits.
pub(crate) fn is_digit(digit: u8) -> bool {
    nibble(digit).is_some()
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_spelling() {
        let bytes: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 8 % 256).unwrap());
        let text = encode(&bytes);
        assert_eq!(decode_32(&text), Some(bytes));
        assert_eq!(decode_32(&text.to_uppercase()), None);
        assert_eq!(decode_32(text.get(2..).unwrap()), None);
        assert_eq!(decode_32(&"é".repeat(32)), None);
    }
}
