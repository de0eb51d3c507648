//! Where the lock record is, as `evidence.lock` names it: a file, Redis, or a Kubernetes Lease.

mod kubernetes;
mod redis;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clyra_receipts::lock::{FileLock, LockStore};

pub use kubernetes::{KubernetesLease, KubernetesOptions};
pub use redis::RedisLock;

/// How long a look at the record may take: a start waits for it.
const WITHIN: Duration = Duration::from_secs(10);

/// A place, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockPlace {
    File(PathBuf),
    Redis { host: String, port: u16, user: Option<String>, key: String, password_file: Option<PathBuf> },
    Kubernetes { namespace: String, name: String },
}

/// A place that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockPlaceError {
    #[error("evidence.lock: write it as file:/path, redis://[user@]host[:port]/key, or kubernetes:namespace/lease")]
    Form,
    #[error(
        "evidence.lock: the password does not belong into the address; put it into a file and name it in evidence.lock_password_file"
    )]
    Password,
    #[error("evidence.lock: {0} lies in the data directory, which a copy would bring along; choose another volume")]
    Inside(PathBuf),
    #[error("evidence.lock: {0}")]
    Unusable(String),
}

impl LockPlace {
    pub fn parse(text: &str, base: &Path, password_file: Option<PathBuf>) -> Result<LockPlace, LockPlaceError> {
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(LockPlace::File(base.join(path)));
        }
        if let Some(lease) = text.strip_prefix("kubernetes:") {
            let (namespace, name) = lease.split_once('/').ok_or(LockPlaceError::Form)?;
            // Names of Kubernetes objects; they become part of a path.
            let named = |text: &str| {
                (1..=253).contains(&text.len())
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
                    && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            };
            if !named(namespace) || !named(name) {
                return Err(LockPlaceError::Form);
            }
            return Ok(LockPlace::Kubernetes { namespace: namespace.into(), name: name.into() });
        }
        let (server, key) =
            text.strip_prefix("redis://").and_then(|rest| rest.split_once('/')).ok_or(LockPlaceError::Form)?;
        let (user, address) = match server.split_once('@') {
            Some((user, _)) if user.contains(':') => return Err(LockPlaceError::Password),
            Some((user, address)) => (Some(user.to_owned()), address),
            None => (None, server),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| LockPlaceError::Form)?),
            None => (address, 6379),
        };
        if host.is_empty() || key.is_empty() {
            return Err(LockPlaceError::Form);
        }
        Ok(LockPlace::Redis { host: host.into(), port, user, key: key.into(), password_file })
    }

    /// The store. What is remote answers on the current runtime and is waited for on threads that may block.
    pub fn store(&self, data_dir: &Path) -> Result<Arc<dyn LockStore>, LockPlaceError> {
        Ok(match self {
            LockPlace::File(path) => {
                let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
                let data = data_dir.canonicalize().ok();
                if let (Some(parent), Some(data)) = (parent, data)
                    && parent.starts_with(data)
                {
                    return Err(LockPlaceError::Inside(path.clone()));
                }
                Arc::new(FileLock::new(path))
            }
            LockPlace::Redis { host, port, user, key, password_file } => {
                Arc::new(RedisLock::new((host.clone(), *port), user.clone(), password_file.clone(), key, WITHIN))
            }
            LockPlace::Kubernetes { namespace, name } => {
                let options = KubernetesOptions::in_cluster().map_err(LockPlaceError::Unusable)?;
                let lease = KubernetesLease::new(options, namespace, name, WITHIN);
                Arc::new(lease.map_err(|error| LockPlaceError::Unusable(error.to_string()))?)
            }
        })
    }
}

#[cfg(test)]
mod tests;
