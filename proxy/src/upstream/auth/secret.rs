//! A secret in a file or in the environment: read at the start, so that a missing one stops it; a file is read again when
//! it has changed. What was read is wiped when it is replaced, and no error, log or `Debug` has a byte of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Largest secret: a token of a few KiB; service account files have three.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// How often a file is looked at: a rotated key is in use well before the old one ends, at the cost of one `stat`.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    File(PathBuf),
    /// The name of a variable.
    Env(String),
}

impl std::fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Env(name) => write!(f, "the variable {name}"),
        }
    }
}

/// Why there is no secret. Never with a part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{place} cannot be read: {detail}")]
    Read { place: SecretPlace, detail: String },
    #[error("{place} is empty")]
    Empty { place: SecretPlace },
    #[error("{place} is longer than {SECRET_BYTES_MAX} bytes")]
    TooLong { place: SecretPlace },
    #[error("{place} does not fit in a header: it is to be one line of visible ASCII")]
    Form { place: SecretPlace },
}

type Text = Arc<Zeroizing<String>>;
/// Changes when the file does: time of change and length.
type Stamp = (Option<SystemTime>, u64);

/// A secret that is at hand.
pub(crate) struct Secret {
    place: SecretPlace,
    held: Mutex<Held>,
}

struct Held {
    text: Text,
    stamp: Stamp,
    looked_at: Instant,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Secret {
    /// Reads it for the first time.
    pub(crate) fn new(place: SecretPlace) -> Result<Self, SecretError> {
        let stamp = stamp(&place);
        let text = Arc::new(read(&place)?);
        Ok(Self { place, held: Mutex::new(Held { text, stamp, looked_at: Instant::now() }) })
    }

    /// As it is now. A file that cannot be read any more leaves the last good one in use.
    pub(crate) fn text(&self) -> Text {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.looked_at.elapsed() >= LOOK_EVERY {
            held.looked_at = Instant::now();
            let stamp = stamp(&self.place);
            if stamp != held.stamp {
                match read(&self.place) {
                    Ok(text) => {
                        held.text = Arc::new(text);
                        held.stamp = stamp;
                    }
                    Err(error) => tracing::warn!("{error}; the secret read before stays in use"),
                }
            }
        }
        Arc::clone(&held.text)
    }

    /// As a header value that is not shown in `Debug`.
    pub(crate) fn header(&self, prefix: &str) -> Result<HeaderValue, SecretError> {
        let text = self.text();
        let whole = Zeroizing::new(format!("{prefix}{}", text.as_str()));
        sensitive(&whole).ok_or_else(|| SecretError::Form { place: self.place.clone() })
    }
}

/// A header value that is not shown in `Debug`; `None` where it is no line of visible ASCII.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii())?;
    value.set_sensitive(true);
    Some(value)
}

/// A text that is wiped, as a member of a document.
pub(super) fn wiped<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    serde::Deserialize::deserialize(deserializer).map(Zeroizing::new)
}

fn stamp(place: &SecretPlace) -> Stamp {
    let SecretPlace::File(path) = place else { return (None, 0) };
    std::fs::metadata(path).map_or((None, 0), |meta| (meta.modified().ok(), meta.len()))
}

/// The secret without the line's end that editors leave behind it.
fn read(place: &SecretPlace) -> Result<Zeroizing<String>, SecretError> {
    use std::io::Read as _;
    let failed = |detail: String| SecretError::Read { place: place.clone(), detail };
    let text = match place {
        SecretPlace::Env(name) => {
            let value = std::env::var(name).map_err(|error| {
                failed(match error {
                    std::env::VarError::NotPresent => "it is not set".into(),
                    std::env::VarError::NotUnicode(_) => "it is not UTF-8".into(),
                })
            })?;
            Zeroizing::new(value)
        }
        SecretPlace::File(path) => {
            let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
            // Room for all at once: a buffer that grows leaves copies behind.
            let mut text = Zeroizing::new(String::with_capacity(SECRET_BYTES_MAX as usize + 1));
            file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
            text
        }
    };
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::TooLong { place: place.clone() });
    }
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(SecretError::Empty { place: place.clone() });
    }
    Ok(Zeroizing::new(trimmed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_is_read_without_its_last_line_end_and_never_shown() {
        let (_dir, path) = file("sk-real-1\n");
        let secret = Secret::new(SecretPlace::File(path)).unwrap();
        assert_eq!(secret.text().as_str(), "sk-real-1");
        let header = secret.header("Bearer ").unwrap();
        assert_eq!(header, "Bearer sk-real-1");
        assert!(!format!("{secret:?} {header:?}").contains("sk-real"), "{secret:?} {header:?}");
    }

    #[test]
    fn what_cannot_be_used_is_named_and_not_quoted() {
        let message = |place| Secret::new(place).unwrap_err().to_string();
        assert!(message(SecretPlace::File("/nowhere/key".into())).contains("/nowhere/key"));
        assert!(message(SecretPlace::Env("CLYRA_TEST_NOT_SET".into())).contains("CLYRA_TEST_NOT_SET"));
        let (_dir, path) = file(" \n");
        assert!(message(SecretPlace::File(path)).contains("empty"));
        let (_dir, path) = file(&"x".repeat(SECRET_BYTES_MAX as usize + 1));
        assert!(message(SecretPlace::File(path)).contains("longer"));
        let (_dir, path) = file("sk-one\r\nsk-two");
        let error = Secret::new(SecretPlace::File(path)).unwrap().header("").unwrap_err().to_string();
        assert!(error.contains("one line") && !error.contains("sk-"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_and_a_lost_one_leaves_the_last() {
        let (_dir, path) = file("first");
        let secret = Secret::new(SecretPlace::File(path.clone())).unwrap();
        std::fs::write(&path, "second-one").unwrap();
        assert_eq!(secret.text().as_str(), "first", "it was looked at just now");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(secret.text().as_str(), "second-one");
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(secret.text().as_str(), "second-one");
    }
}
