//! The proof of a copy: where a directory or an object store keeps the note, in the store's own words.

use crate::canonical::{Value, to_vec};
use crate::receipt::shape::{Shape, may, must};

/// Where the note was put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyProof {
    /// Address of the copy.
    pub uri: String,
    /// What the store calls this content.
    pub etag: Option<String>,
    /// What the store calls this version of the object.
    pub version: Option<String>,
    /// Until when the store refuses to remove or replace it.
    pub retain_until: Option<String>,
}

impl CopyProof {
    pub(crate) const SHAPE: Shape = Shape::Object(&[
        may("etag", Shape::Text),
        may("retain_until", Shape::Text),
        must("uri", Shape::Text),
        may("version", Shape::Text),
    ]);

    /// The proof file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let members = [
            ("etag", &self.etag),
            ("retain_until", &self.retain_until),
            ("uri", &Some(self.uri.clone())),
            ("version", &self.version),
        ];
        let members = members
            .into_iter()
            .filter_map(|(name, text)| text.as_ref().map(|text| (name.to_owned(), Value::from(text.as_str()))));
        to_vec(&Value::Object(members.collect()))
    }
}
