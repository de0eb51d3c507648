//! How numbers are spelled in receipts: counts as integers that every parser keeps exact, 64-bit values as decimal strings.

use serde::{Deserialize, Deserializer, Serializer};

use crate::canonical::INTEGER_MAX;

/// A count. Beyond 2^53 − 1 (nine petabytes, three centuries in microseconds) it stays at that value.
pub(crate) fn count<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64((*value).min(INTEGER_MAX.unsigned_abs()))
}

pub(crate) fn count_option<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => count(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// A 64-bit value as a decimal string.
pub(crate) mod decimal {
    use super::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_decimal(&text).ok_or_else(|| serde::de::Error::custom("expected a decimal string"))
    }
}

/// Reads the one decimal spelling of a 64-bit value: no sign, no leading zero.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(parse_decimal("0"), Some(0));
        assert_eq!(parse_decimal("18446744073709551615"), Some(u64::MAX));
        for text in ["", "00", "01", "+1", "-1", " 1", "1 ", "18446744073709551616", "1e3", "٣"] {
            assert_eq!(parse_decimal(text), None, "{text:?}");
        }
    }
}
