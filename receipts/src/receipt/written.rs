//! Members of a body as they are written: names, and canonical values one after the other in one buffer. Receipts are made by
//! the thousand, and a buffer for each value would cost a tenth of what a receipt costs.

use std::ops::Range;

/// Names with their canonical values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Members {
    bytes: Vec<u8>,
    places: Vec<(&'static str, Range<usize>)>,
}

impl Members {
    /// No members yet, and space for so many and for so many bytes of values.
    pub(crate) fn with_capacity(members: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), places: Vec::with_capacity(members) }
    }

    /// Adds a member whose value `write` appends. What it gives back is passed on.
    pub(crate) fn add<T>(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        self.places.push((name, start..self.bytes.len()));
        written
    }

    /// Adds a member whose value is a text that needs no escapes: digits, times, names of ours.
    pub(crate) fn add_plain(&mut self, name: &'static str, text: &str) {
        self.add(name, |out| {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        });
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.places.iter().map(|(name, place)| (*name, self.bytes.get(place.clone()).unwrap_or_default()))
    }

    /// Bytes of the members with their quotes, colons and commas.
    pub(crate) fn size(&self) -> usize {
        self.places.iter().map(|(name, place)| member_bytes(name, place.len())).sum()
    }
}

/// Bytes of a member with quotes, colon and comma.
pub(crate) fn member_bytes(name: &str, value: usize) -> usize {
    name.len() + value + 4
}

/// One canonical object of the members of several lists.
pub(crate) fn join(lists: &[&Members]) -> Vec<u8> {
    let mut members: Vec<(&'static str, &[u8])> = Vec::with_capacity(lists.iter().map(|list| list.places.len()).sum());
    members.extend(lists.iter().flat_map(|list| list.iter()));
    members.sort_unstable_by_key(|(name, _)| *name);
    let size: usize = lists.iter().map(|list| list.size()).sum();
    let mut out = Vec::with_capacity(size + 2);
    out.push(b'{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_by_the_names_of_their_members() {
        let (mut one, mut two) = (Members::default(), Members::with_capacity(1, 8));
        one.add("seq", |out| out.extend_from_slice(b"\"7\""));
        one.add_plain("kind", "boot");
        two.add("ext", |out| out.extend_from_slice(b"{}"));
        assert_eq!(join(&[&one, &two]), br#"{"ext":{},"kind":"boot","seq":"7"}"#);
        // A comma less than there are members, and two braces.
        assert_eq!(join(&[&one, &two]).len(), one.size() + two.size() + 1);
        assert_eq!(join(&[]), b"{}");
    }
}
