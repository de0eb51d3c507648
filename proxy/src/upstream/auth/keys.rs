//! Virtual keys: clients hold keys that only Clyra knows; the provider's own stays with Clyra.
//!
//! Kept and compared as SHA-256 digests, all of them each time and in constant time.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::client::{KeySlot, client_key, strip_headers, strip_query};
use super::secret::{Secret, SecretError, SecretPlace};
use super::{AuthError, Outgoing};

/// The clients' keys and what is sent in their place.
#[derive(Debug)]
pub(super) struct VirtualKeys(Vec<([u8; 32], Secret)>);

impl VirtualKeys {
    pub(super) fn new(keys: Vec<([u8; 32], SecretPlace)>) -> Result<Self, SecretError> {
        let open = |(digest, place)| {
            let secret = Secret::new(place)?;
            // Looks now at what would otherwise fail with the first call.
            secret.header("")?;
            Ok((digest, secret))
        };
        keys.into_iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the client holds one of the keys.
    pub(super) fn admits(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        client_key(headers, query).is_some_and(|(_, key)| self.find(&key).is_some())
    }

    /// Puts the real key where the client's stood.
    pub(super) fn exchange(&self, out: &mut Outgoing<'_>) -> Result<(), AuthError> {
        let query = out.path_and_query.split_once('?').map(|(_, query)| query);
        let (slot, key) = client_key(out.headers, query).ok_or(AuthError::UnknownKey)?;
        let secret = self.find(&key).ok_or(AuthError::UnknownKey)?;
        strip_headers(out.headers);
        *out.path_and_query = strip_query(out.path_and_query);
        match slot {
            KeySlot::Bearer => out.headers.insert(AUTHORIZATION, secret.header("Bearer ")?),
            KeySlot::Header(name) => out.headers.insert(name, secret.header("")?),
            // A key in a URL ends in logs on the way; Google takes the header as well.
            KeySlot::Query => out.headers.insert("x-goog-api-key", secret.header("")?),
        };
        Ok(())
    }

    fn find(&self, key: &str) -> Option<&Secret> {
        let digest = Sha256::digest(key.as_bytes());
        let mut found = None;
        for (known, secret) in &self.0 {
            if bool::from(known.as_slice().ct_eq(digest.as_slice())) {
                found = Some(secret);
            }
        }
        found
    }
}
