//! Legal holds: `holds/<id>.json` in the data directory. What is held is not removed, however old.

use std::io;
use std::path::{Path, PathBuf};

use super::RetentionError;
use crate::canonical::{Limits, Value, is_canonical, parse, to_vec};
use crate::receipt::{FORMAT, parse_decimal};
use crate::{clock, durable};

const HOLDS_DIRECTORY: &str = "holds";

/// Longest file of a hold; its reason is a sentence.
const HOLD_MAX_BYTES: u64 = 16 * 1024;

/// Longest reason that is kept.
const REASON_MAX_BYTES: usize = 4096;

/// Longest name.
const ID_MAX_BYTES: usize = 64;

/// Receipts that must stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub id: String,
    /// First sequence number.
    pub from: u64,
    /// Number after the last; without, all that come.
    pub to: Option<u64>,
    pub reason: String,
    /// Timestamp.
    pub placed: String,
}

impl Hold {
    /// True when it holds any of the receipts `[from, to)`.
    pub fn includes(&self, from: u64, to: u64) -> bool {
        self.from < to && self.to.is_none_or(|end| from < end)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let members = [
            Some(("from", Value::from(self.from.to_string()))),
            Some(("id", Value::from(self.id.as_str()))),
            Some(("placed", Value::from(self.placed.as_str()))),
            Some(("reason", Value::from(self.reason.as_str()))),
            self.to.map(|to| ("to", Value::from(to.to_string()))),
            Some(("v", Value::from(FORMAT))),
        ];
        let object = members.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect();
        to_vec(&Value::Object(object))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let value = parse(bytes, Limits::RECEIPT).ok().filter(|value| is_canonical(bytes, value))?;
        let text = |name: &str| value.get(name)?.as_str();
        let to = match value.get("to") {
            Some(to) => Some(parse_decimal(to.as_str()?)?),
            None => None,
        };
        let members = value.as_object()?.len();
        let good = text("v") == Some(FORMAT)
            && members == 5 + usize::from(to.is_some())
            && clock::is_timestamp(text("placed")?);
        good.then_some(Self {
            id: text("id")?.to_owned(),
            from: parse_decimal(text("from")?)?,
            to,
            reason: text("reason")?.to_owned(),
            placed: text("placed")?.to_owned(),
        })
    }
}

fn path_of(data_dir: &Path, id: &str) -> Result<PathBuf, RetentionError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > ID_MAX_BYTES || id.starts_with('.') || !id.bytes().all(plain) {
        return Err(RetentionError::Name { id: id.to_owned() });
    }
    Ok(data_dir.join(HOLDS_DIRECTORY).join(format!("{id}.json")))
}

/// Places a hold on receipts from `from` on, up to and not including `to`, durably.
pub fn place_hold(data_dir: &Path, id: &str, from: u64, to: Option<u64>, reason: &str) -> Result<Hold, RetentionError> {
    let path = path_of(data_dir, id)?;
    if let Some(to) = to.filter(|to| *to <= from) {
        return Err(RetentionError::Empty { from, to });
    }
    if path.exists() {
        return Err(RetentionError::Exists { id: id.to_owned() });
    }
    let mut end = reason.len().min(REASON_MAX_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default().to_owned();
    let hold = Hold { id: id.to_owned(), from, to, reason, placed: clock::now() };
    let directory = data_dir.join(HOLDS_DIRECTORY);
    durable::create_directory(&directory, 0o700).map_err(RetentionError::io(&directory))?;
    durable::write(&path, &hold.to_bytes(), 0o600).map_err(RetentionError::io(&path))?;
    Ok(hold)
}

/// Takes a hold away, durably.
pub fn lift_hold(data_dir: &Path, id: &str) -> Result<(), RetentionError> {
    let path = path_of(data_dir, id)?;
    match std::fs::remove_file(&path) {
        Ok(()) => durable::sync_parent(&path).map_err(RetentionError::io(&path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(RetentionError::Unknown { id: id.to_owned() }),
        Err(error) => Err(RetentionError::io(&path)(error)),
    }
}

/// All holds, by name. One that cannot be read is an error: nobody knows what it holds.
pub fn holds(data_dir: &Path) -> Result<Vec<Hold>, RetentionError> {
    let directory = data_dir.join(HOLDS_DIRECTORY);
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RetentionError::io(&directory)(error)),
    };
    let mut holds = Vec::new();
    for entry in entries {
        let path = entry.map_err(RetentionError::io(&directory))?.path();
        if path.extension().is_some_and(|ending| ending == durable::TEMPORARY) {
            continue;
        }
        let bad = |what| RetentionError::Hold { path: path.clone(), what };
        let bytes = durable::read_bounded(&path, HOLD_MAX_BYTES).map_err(RetentionError::io(&path))?;
        let hold = Hold::from_bytes(&bytes).ok_or_else(|| bad("it is not of the form of a hold"))?;
        if path_of(data_dir, &hold.id)? != path {
            return Err(bad("its name is not its id"));
        }
        holds.push(hold);
    }
    holds.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(holds)
}
