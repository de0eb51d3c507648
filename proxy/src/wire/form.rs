//! Forms (`multipart/form-data`, RFC 7578): uploads of files, sounds and pictures.
//!
//! A form is written anew from what was read, whatever it looked like: what the provider reads is what was inspected.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde_json::Value as Json;

use crate::json::{Doc, Limits};

/// Most parts of one form. The largest of today have some twenty (pictures to be edited).
const PARTS_MAX: usize = 256;

/// Name of the member that holds what parts say of themselves. No form has a field of that name: a slash in it is refused.
const ABOUT: &str = "/parts";

/// A form that was read.
#[derive(Debug, Clone)]
pub struct Form {
    boundary: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
    data: Bytes,
    holds: Holds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Holds {
    Text(String),
    /// JSON Lines: where each row stands in the data.
    Rows(Vec<(usize, usize)>),
    Media,
}

/// Why a form cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("the content type names no usable boundary")]
    Boundary,
    #[error("the form is broken or incomplete in part {part}")]
    Broken { part: usize },
    #[error("part {part} has no name, or one that is none")]
    Name { part: usize },
    #[error("part {part} is encoded once more (Content-Transfer-Encoding)")]
    Encoded { part: usize },
    #[error("part {part} is a field that is not UTF-8")]
    NotText { part: usize },
    #[error("the form has more than {PARTS_MAX} parts")]
    TooMany,
}

impl Form {
    /// Reads a form from a whole body.
    pub async fn read(body: Bytes, content_type: &str) -> Result<Form, FormError> {
        let boundary = multer::parse_boundary(content_type).map_err(|_| FormError::Boundary)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b);
        // RFC 2046 §5.1.1, without the space, which needs quotes.
        if boundary.is_empty() || boundary.len() > 70 || !boundary.bytes().all(plain) {
            return Err(FormError::Boundary);
        }
        let mut reader = multer::Multipart::with_reader(std::io::Cursor::new(body), boundary.clone());
        let mut parts = Vec::new();
        loop {
            let part = parts.len();
            let broken = |_| FormError::Broken { part };
            let Some(field) = reader.next_field().await.map_err(broken)? else { break };
            if part == PARTS_MAX {
                return Err(FormError::TooMany);
            }
            let name = field.name().filter(|name| is_name(name)).ok_or(FormError::Name { part })?.to_owned();
            let encoding =
                field.headers().get("content-transfer-encoding").map(|value| value.as_bytes().to_ascii_lowercase());
            if encoding.is_some_and(|encoding| !matches!(encoding.as_slice(), b"binary" | b"8bit" | b"7bit")) {
                return Err(FormError::Encoded { part });
            }
            let file_name = field.file_name().map(str::to_owned);
            let content_type = field.headers().get(http::header::CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
            let data = field.bytes().await.map_err(broken)?;
            let holds = holds(&data, file_name.is_some()).ok_or(FormError::NotText { part })?;
            parts.push(Part { name, file_name, content_type, data, holds });
        }
        Ok(Form { boundary, parts })
    }

    /// The content type that goes with [`Self::write`].
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary=\"{}\"", self.boundary)
    }

    /// Something in it is neither text nor rows.
    pub fn has_media(&self) -> bool {
        self.parts.iter().any(|part| part.holds == Holds::Media)
    }

    /// Its texts as one JSON document: a member for each name, an array where a name comes several times, and what the
    /// parts say of themselves.
    pub fn document(&self) -> Bytes {
        let mut members: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
        let mut about = Vec::new();
        for part in &self.parts {
            if let Holds::Text(text) = &part.holds {
                members.entry(&part.name).or_default().push(text.as_str().into());
            }
            about.extend(part.file_name.as_deref().map(Json::from));
            about.extend(part.content_type.as_deref().map(Json::from));
        }
        let mut document: serde_json::Map<String, Json> = members
            .into_iter()
            .map(|(name, mut values)| {
                let value = if values.len() == 1 { values.remove(0) } else { values.into() };
                (name.to_owned(), value)
            })
            .collect();
        document.insert(ABOUT.to_owned(), about.into());
        Json::Object(document).to_string().into()
    }

    /// The rows of its files: number of the part, name of the field, bytes of the row.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &str, Bytes)> {
        self.parts.iter().enumerate().flat_map(|(number, part)| {
            let rows = if let Holds::Rows(rows) = &part.holds { rows.as_slice() } else { &[] };
            rows.iter().map(move |(start, end)| (number, part.name.as_str(), part.data.slice(*start..*end)))
        })
    }

    /// The form with the texts of `document`, and with `rows` in place of its own. `None` if they do not fit.
    pub fn write(&self, document: &[u8], rows: &[(usize, Bytes)]) -> Option<Bytes> {
        let doc = Doc::parse(document, Limits::default()).ok()?;
        let root = doc.root(document);
        let own = self.document();
        let own_doc = Doc::parse(&own, Limits::default()).ok()?;
        if root.get(ABOUT)?.raw() != own_doc.root(&own).get(ABOUT)?.raw() {
            return None;
        }
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut out = BytesMut::new();
        for (number, part) in self.parts.iter().enumerate() {
            let data = match &part.holds {
                Holds::Media => part.data.clone(),
                Holds::Rows(_) => {
                    let rows: Vec<&[u8]> =
                        rows.iter().filter(|(of, _)| *of == number).map(|(_, row)| row.as_ref()).collect();
                    let mut data = rows.join(&b'\n');
                    data.push(b'\n');
                    data.into()
                }
                Holds::Text(_) => {
                    let at = seen.entry(&part.name).or_default();
                    let value = root.get(&part.name)?;
                    let value = value.as_str().or_else(|| value.children().nth(*at)?.as_str())?;
                    *at += 1;
                    Bytes::copy_from_slice(value.as_bytes())
                }
            };
            let delimiter = format!("--{}", self.boundary);
            if memchr::memmem::find(&data, delimiter.as_bytes()).is_some() {
                return None;
            }
            out.extend_from_slice(delimiter.as_bytes());
            out.extend_from_slice(
                format!("\r\nContent-Disposition: form-data; name=\"{}\"", quoted(&part.name)).as_bytes(),
            );
            if let Some(name) = &part.file_name {
                out.extend_from_slice(format!("; filename=\"{}\"", quoted(name)).as_bytes());
            }
            if let Some(kind) = &part.content_type {
                out.extend_from_slice(format!("\r\nContent-Type: {kind}").as_bytes());
            }
            out.extend_from_slice(b"\r\n\r\n");
            out.extend_from_slice(&data);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        Some(out.freeze())
    }
}

/// A name that every reader of the header finds again: a loose one would take `;` and `=` in it for another parameter.
fn is_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && !matches!(c, '/' | '"' | '\\' | ';' | '=');
    !name.is_empty() && name.len() <= 256 && name.chars().all(plain)
}

/// As browsers write names (HTML, "multipart/form-data encoding algorithm").
fn quoted(text: &str) -> String {
    text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// What a part holds; `None` for a field that is not text.
fn holds(data: &[u8], file: bool) -> Option<Holds> {
    let Ok(text) = std::str::from_utf8(data) else { return file.then_some(Holds::Media) };
    if file && text.contains('\0') {
        return Some(Holds::Media);
    }
    let rows = if file { rows(data) } else { None };
    Some(rows.map_or_else(|| Holds::Text(text.to_owned()), Holds::Rows))
}

/// The rows of JSON Lines, if every line is a JSON object.
fn rows(data: &[u8]) -> Option<Vec<(usize, usize)>> {
    let (mut rows, mut start) = (Vec::new(), 0);
    for line in data.split(|b| *b == b'\n') {
        let row = line.trim_ascii();
        if !row.is_empty() {
            if row.first() != Some(&b'{') || Doc::parse(row, Limits::default()).is_err() {
                return None;
            }
            let from = start + (line.len() - line.trim_ascii_start().len());
            rows.push((from, from + row.len()));
        }
        start += line.len() + 1;
    }
    Some(rows).filter(|rows| !rows.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIND: &str = "multipart/form-data; boundary=x";

    async fn read(body: &str) -> Result<Form, FormError> {
        Form::read(Bytes::copy_from_slice(body.as_bytes()), KIND).await
    }

    const UPLOAD: &str = "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\nContent-Type: application/jsonl\r\n\r\n{\"a\":1}\r\n\r\n{\"b\":\"t\"}\r\n--x--\r\n";

    #[tokio::test]
    async fn a_form_is_read_and_written_anew() {
        let form = read(UPLOAD).await.unwrap();
        assert_eq!(form.document(), r#"{"purpose":"batch","/parts":["a.jsonl","application/jsonl"]}"#);
        let rows: Vec<_> = form.rows().map(|(part, name, row)| (part, name.to_owned(), row)).collect();
        assert_eq!(rows[1], (1, "file".to_owned(), Bytes::from_static(br#"{"b":"t"}"#)));
        let same: Vec<_> = form.rows().map(|(part, _, row)| (part, row)).collect();
        let written = form.write(&form.document(), &same).unwrap();
        let again = Form::read(written.clone(), &form.content_type()).await.unwrap();
        assert_eq!((again.document(), again.rows().count()), (form.document(), 2));
        let other = form.write(br#"{"purpose":"fine","/parts":["a.jsonl","application/jsonl"]}"#, &same).unwrap();
        assert!(String::from_utf8_lossy(&other).contains("\r\n\r\nfine\r\n"));
        // What a part says of itself cannot be rewritten, nor may a text end its part.
        assert_eq!(form.write(br#"{"purpose":"fine","/parts":["b","application/jsonl"]}"#, &same), None);
        assert_eq!(form.write(br#"{"purpose":"--x--","/parts":["a.jsonl","application/jsonl"]}"#, &same), None);
    }

    #[tokio::test]
    async fn what_is_no_form_is_named() {
        let part = |head: &str, data: &str| format!("--x\r\n{head}\r\n\r\n{data}\r\n--x--\r\n");
        let named = "Content-Disposition: form-data; name=\"a\"";
        assert_eq!(read("--x\r\n").await.unwrap_err(), FormError::Broken { part: 0 });
        assert_eq!(read(&part("Content-Disposition: form-data", "")).await.unwrap_err(), FormError::Name { part: 0 });
        // Found by a fuzzer: written anew, it is read as another name of the file.
        let loose = "Content-Disposition: form-data; name=\"a; filename=\"b\"";
        assert_eq!(read(&part(loose, "")).await.unwrap_err(), FormError::Name { part: 0 });
        let encoded = format!("{named}\r\nContent-Transfer-Encoding: base64");
        assert_eq!(read(&part(&encoded, "eA==")).await.unwrap_err(), FormError::Encoded { part: 0 });
        let odd = Form::read(Bytes::from_static(b""), "multipart/form-data; boundary=\"a b\"").await;
        assert_eq!(odd.unwrap_err(), FormError::Boundary);
        let many = part(named, "").replace("--x--\r\n", "").repeat(PARTS_MAX + 1) + "--x--\r\n";
        assert_eq!(read(&many).await.unwrap_err(), FormError::TooMany);
        let repeated = format!("{}{}", part(named, "1").replace("--x--\r\n", ""), part(named, "2"));
        assert_eq!(read(&repeated).await.unwrap().document(), r#"{"a":["1","2"],"/parts":[]}"#);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(body in "(--x|\r\n|Content-Disposition: form-data; name=\"a\"|[a-z:; ]){0,12}") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            if let Ok(form) = runtime.block_on(read(&body)) {
                let rows: Vec<_> = form.rows().map(|(part, _, row)| (part, row)).collect();
                if let Some(written) = form.write(&form.document(), &rows) {
                    let again = runtime.block_on(Form::read(written, &form.content_type())).unwrap();
                    prop_assert_eq!(again.document(), form.document());
                }
            }
        }
    }
}
