//! Canonical JSON: one spelling, which is read as it was written.

use clyra_receipts::canonical::{Limits, is_canonical, parse, to_vec};
use serde::de::IgnoredAny;

pub fn canonical(input: &[u8]) {
    let limits = Limits { values_max: 2_000, ..Limits::RECEIPT };
    let value = match parse(input, limits) {
        Ok(value) => value,
        Err(error) => {
            assert!(error.offset <= input.len(), "an error behind the end");
            return;
        }
    };
    assert!(serde_json::from_slice::<IgnoredAny>(input).is_ok(), "no other reader takes this");
    assert!(value.check().is_ok(), "read and yet outside of the subset");
    let written = to_vec(&value);
    assert_eq!(is_canonical(input, &value), written == input);
    assert!(is_canonical(&written, &value));
    assert_eq!(
        parse(&written, Limits { bytes_max: usize::MAX, ..limits }).as_ref(),
        Ok(&value),
        "written and read, it is another"
    );
}
