//! Finds the addresses of an upstream without ever blocking a worker thread.
//!
//! Answers are kept for [`KEEP`]; one look-up per host is under way at a time, however many exchanges wait for it. The
//! same address is preferred until a connection to it fails, so that pooled connections are found again. When DNS
//! fails, the last known addresses serve on for [`KEEP_STALE`].

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer is used. The system resolver does not tell the record's own TTL; providers' records live for
/// 30 to 300 seconds, and a failing address is left at once in any case.
const KEEP: Duration = Duration::from_secs(30);
/// How long the last known addresses are used while DNS fails: longer than a resolver restart, shorter than a move.
const KEEP_STALE: Duration = Duration::from_secs(300);
/// A resolver that has not answered by then will not answer in time for anybody who waits.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
/// Configured upstreams are few; the bound only keeps a configuration reloaded forever from growing the table.
const HOSTS_MAX: usize = 256;
/// More addresses than any provider publishes; the rest would never be tried.
const ADDRESSES_MAX: usize = 16;

/// The addresses of one host, as last seen.
#[derive(Debug)]
pub(crate) struct Addresses {
    list: Vec<SocketAddr>,
    preferred: AtomicUsize,
}

impl Addresses {
    fn new(list: Vec<SocketAddr>) -> Self {
        Self { list, preferred: AtomicUsize::new(0) }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// The address that worked last.
    pub(crate) fn preferred(&self) -> Option<SocketAddr> {
        let index = self.preferred.load(Ordering::Relaxed).checked_rem(self.list.len())?;
        self.list.get(index).copied()
    }

    /// Turns to the next address, unless somebody else already turned away from `failed`.
    pub(crate) fn leave(&self, failed: SocketAddr) {
        if self.preferred() == Some(failed) {
            self.preferred.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The addresses of one host, kept between look-ups. The lock is held during a look-up, which is what makes it single.
#[derive(Debug, Default)]
struct Slot {
    found: Mutex<Option<(Instant, Arc<Addresses>)>>,
}

/// A cache over the system resolver.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    slots: std::sync::Mutex<HashMap<(String, u16), Arc<Slot>>>,
}

impl Resolver {
    /// The addresses of `host`, or the resolver's complaint.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> Result<Arc<Addresses>, String> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Arc::new(Addresses::new(vec![SocketAddr::new(address, port)])));
        }
        let slot = self.slot(host, port);
        let mut found = slot.found.lock().await;
        if let Some((at, addresses)) = found.as_ref()
            && at.elapsed() < KEEP
        {
            return Ok(addresses.clone());
        }
        match lookup(host, port).await {
            Ok(list) => {
                let addresses = match found.as_ref() {
                    // The same answer again keeps the preference for the address that works.
                    Some((_, known)) if same_addresses(&known.list, &list) => known.clone(),
                    _ => Arc::new(Addresses::new(list)),
                };
                *found = Some((Instant::now(), addresses.clone()));
                Ok(addresses)
            }
            Err(problem) => match found.as_ref() {
                Some((at, stale)) if at.elapsed() < KEEP_STALE => Ok(stale.clone()),
                _ => Err(problem),
            },
        }
    }

    fn slot(&self, host: &str, port: u16) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if slots.len() >= HOSTS_MAX {
            slots.clear();
        }
        slots.entry((host.to_owned(), port)).or_default().clone()
    }
}

fn same_addresses(known: &[SocketAddr], new: &[SocketAddr]) -> bool {
    known.len() == new.len() && known.iter().all(|address| new.contains(address))
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| format!("no answer from the resolver within {LOOKUP_MAX:?}"))?
        .map_err(|error| error.to_string())?;
    let list: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    if list.is_empty() { Err("the resolver knows no address".to_owned()) } else { Ok(list) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_needs_no_lookup() {
        let addresses = Resolver::default().addresses("::1", 80).await.unwrap();
        assert_eq!(addresses.preferred(), Some("[::1]:80".parse().unwrap()));
    }

    #[tokio::test]
    async fn answers_are_kept_and_shared() {
        let resolver = Resolver::default();
        let first = resolver.addresses("localhost", 80).await.unwrap();
        let second = resolver.addresses("localhost", 80).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[tokio::test]
    async fn an_unknown_name_is_an_error() {
        assert!(Resolver::default().addresses("nowhere.invalid", 80).await.is_err());
    }

    #[test]
    fn a_failing_address_is_left_once_and_the_round_closes() {
        let [a, b]: [SocketAddr; 2] = ["127.0.0.1:1".parse().unwrap(), "127.0.0.2:1".parse().unwrap()];
        let addresses = Addresses::new(vec![a, b]);
        assert_eq!(addresses.preferred(), Some(a));
        addresses.leave(a);
        addresses.leave(a);
        assert_eq!(addresses.preferred(), Some(b), "two exchanges that fail on the same address turn once");
        addresses.leave(b);
        assert_eq!(addresses.preferred(), Some(a));
    }
}
