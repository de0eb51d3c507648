//! Paths of requests: found again however often it is asked, and never by what stands before them.

use clyra::surface::{Found, find};
use http::Method;

/// The first byte is the method.
pub fn path(input: &[u8]) {
    let Some((method, rest)) = crate::choice(input) else { return };
    let method = [Method::POST, Method::GET, Method::DELETE][usize::from(method) % 3].clone();
    let path = crate::text(rest);
    let id = |path: &str| match find(&method, path) {
        Found::Surface(surface) => Some(surface.id),
        Found::Unknown => None,
    };
    let found = id(path);
    // Spellings that an upstream takes for the same.
    assert_eq!(id(&format!("{path}/")), found, "with a slash behind it");
    let escaped: String = path
        .bytes()
        .map(|byte| if byte.is_ascii_lowercase() { format!("%{byte:02x}") } else { char::from(byte).to_string() })
        .collect();
    if path.is_ascii() && !path.contains('%') {
        assert_eq!(id(&escaped), found, "escaped");
        assert_eq!(id(&path.to_ascii_uppercase()), found, "in capitals");
    }
}
