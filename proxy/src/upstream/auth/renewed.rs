//! Credentials that end and are fetched anew: one fetch at a time, before the old ones end, and the old ones serve on while
//! the new ones cannot be had. Those who have waited for a fetch that failed are not made to wait for another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::AuthError;

/// After a fetch that failed while the old credentials still hold, the next one waits that long.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// For so long after a fetch that left nothing to call with, its failure is everybody's.
const REFUSE_FOR: Duration = Duration::from_secs(1);
/// Whatever a server says, credentials are fetched again within a day.
const LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

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

enum State<T> {
    None,
    Held(Held<T>),
    Failed { at: Instant, detail: String },
}

pub(super) struct Renewed<T>(Mutex<State<T>>);

impl<T> Default for Renewed<T> {
    fn default() -> Self {
        Self(Mutex::new(State::None))
    }
}

impl<T> Renewed<T> {
    /// What holds now. The lock is held during a fetch, which is what makes it single.
    pub(super) async fn get(
        &self,
        fetch: impl Future<Output = Result<Fresh<T>, AuthError>>,
    ) -> Result<Arc<T>, AuthError> {
        let mut state = self.0.lock().await;
        match &*state {
            State::Held(held) if Instant::now() < held.renew_at => return Ok(Arc::clone(&held.value)),
            State::Failed { at, detail } if at.elapsed() < REFUSE_FOR => {
                return Err(AuthError::JustNow { detail: detail.clone() });
            }
            _ => {}
        }
        match fetch.await {
            Ok(fresh) => {
                let (now, value) = (Instant::now(), Arc::new(fresh.value));
                let (renew_at, ends_at) = (now + fresh.renew_after.min(LIFE_MAX), now + fresh.ends_after.min(LIFE_MAX));
                *state = State::Held(Held { value: Arc::clone(&value), renew_at, ends_at });
                Ok(value)
            }
            Err(error) => match &mut *state {
                State::Held(held) if Instant::now() < held.ends_at => {
                    tracing::warn!("credentials were not renewed: {error}; the ones before stay in use");
                    held.renew_at = Instant::now() + AGAIN_AFTER;
                    Ok(Arc::clone(&held.value))
                }
                _ => {
                    *state = State::Failed { at: Instant::now(), detail: error.to_string() };
                    Err(error)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn fetched(renewed: &Renewed<u32>, answer: Option<u32>) -> Result<u32, String> {
        let (renew_after, ends_after) = (Duration::from_secs(50), Duration::from_secs(100));
        let fetch = async {
            let value = answer.ok_or(AuthError::Aws { detail: "away".into() })?;
            Ok(Fresh { value, renew_after, ends_after })
        };
        renewed.get(fetch).await.map(|value| *value).map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_kept_renewed_and_used_to_their_end_while_none_can_be_had() {
        let renewed = Renewed::default();
        assert!(fetched(&renewed, None).await.unwrap_err().contains("away"));
        let at_once = fetched(&renewed, Some(1)).await.unwrap_err();
        assert!(at_once.contains("away") && at_once.contains("just now"), "{at_once}");
        tokio::time::advance(REFUSE_FOR).await;
        assert_eq!(fetched(&renewed, Some(1)).await, Ok(1));
        tokio::time::advance(Duration::from_secs(49)).await;
        assert_eq!(fetched(&renewed, Some(2)).await, Ok(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(fetched(&renewed, None).await, Ok(1));
        assert_eq!(fetched(&renewed, Some(2)).await, Ok(1), "not asked again at once");
        tokio::time::advance(AGAIN_AFTER).await;
        assert_eq!(fetched(&renewed, Some(2)).await, Ok(2));
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(fetched(&renewed, None).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_beyond_all_clocks_is_a_day() {
        let renewed = Renewed::default();
        let forever = |value| async move { Ok(Fresh { value, renew_after: Duration::MAX, ends_after: Duration::MAX }) };
        assert_eq!(*renewed.get(forever(1)).await.unwrap(), 1);
        tokio::time::advance(LIFE_MAX).await;
        assert_eq!(*renewed.get(forever(2)).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_share_one_fetch_and_its_failure() {
        let renewed = Renewed::<u32>::default();
        let fetches = AtomicU32::new(0);
        let ask = || {
            renewed.get(async {
                fetches.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(10)).await;
                Err(AuthError::Aws { detail: "away".into() })
            })
        };
        let (one, two, three) = tokio::join!(ask(), ask(), ask());
        assert!(one.is_err() && two.is_err() && three.is_err());
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
    }
}
