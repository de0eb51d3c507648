//! Credentials that end and are fetched anew: one fetch at a time, before the old ones end, and the old ones serve on while
//! the new ones cannot be had.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// After a fetch that failed while the old credentials still hold, the next one waits that long.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What a fetch has given.
pub(super) struct Fresh<T> {
    pub(super) value: T,
    /// When it is to be replaced, from now.
    pub(super) renew_after: Duration,
    /// When it cannot be used any more, from now.
    pub(super) ends_after: Duration,
}

struct Held<T> {
    value: Arc<T>,
    renew_at: Instant,
    ends_at: Instant,
}

pub(super) struct Renewed<T>(Mutex<Option<Held<T>>>);

impl<T> Default for Renewed<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Renewed<T> {
    /// What holds now. The lock is held during a fetch, which is what makes it single.
    pub(super) async fn get<E: std::fmt::Display>(
        &self,
        fetch: impl Future<Output = Result<Fresh<T>, E>>,
    ) -> Result<Arc<T>, E> {
        let mut held = self.0.lock().await;
        if let Some(held) = held.as_ref()
            && Instant::now() < held.renew_at
        {
            return Ok(Arc::clone(&held.value));
        }
        match fetch.await {
            Ok(fresh) => {
                let (now, value) = (Instant::now(), Arc::new(fresh.value));
                let (renew_at, ends_at) = (now + fresh.renew_after, now + fresh.ends_after);
                *held = Some(Held { value: Arc::clone(&value), renew_at, ends_at });
                Ok(value)
            }
            Err(error) => match held.as_mut() {
                Some(held) if Instant::now() < held.ends_at => {
                    tracing::warn!("credentials were not renewed: {error}; the ones before stay in use");
                    held.renew_at = Instant::now() + AGAIN_AFTER;
                    Ok(Arc::clone(&held.value))
                }
                _ => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetched(renewed: &Renewed<u32>, answer: Result<u32, &'static str>) -> Result<u32, &'static str> {
        let (renew_after, ends_after) = (Duration::from_secs(50), Duration::from_secs(100));
        let fetch = async { answer.map(|value| Fresh { value, renew_after, ends_after }) };
        renewed.get(fetch).await.map(|value| *value)
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_kept_renewed_and_used_to_their_end_while_none_can_be_had() {
        let renewed = Renewed::default();
        assert_eq!(fetched(&renewed, Err("away")).await, Err("away"));
        assert_eq!(fetched(&renewed, Ok(1)).await, Ok(1));
        tokio::time::advance(Duration::from_secs(49)).await;
        assert_eq!(fetched(&renewed, Ok(2)).await, Ok(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(fetched(&renewed, Err("away")).await, Ok(1));
        assert_eq!(fetched(&renewed, Ok(2)).await, Ok(1), "not asked again at once");
        tokio::time::advance(AGAIN_AFTER).await;
        assert_eq!(fetched(&renewed, Ok(2)).await, Ok(2));
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(fetched(&renewed, Err("away")).await, Err("away"));
    }
}
