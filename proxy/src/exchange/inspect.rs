//! Detectors behind `tower` layers: a time limit, a bound on how many run at once, and an answer for each when it is
//! exceeded. Small bodies are scanned where they are; large ones go to the blocking pool, so that one long document does
//! not hold up the streams of everybody else.

use std::pin::Pin;
use std::time::Duration;

use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

/// Bodies up to this size are scanned in place: about half a millisecond of work.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Bodies under inspection at one time; more are shed, because each may be of full size.
const IN_FLIGHT_MAX: usize = 64;

type Work = Box<dyn FnOnce() + Send>;

struct Job {
    bytes: usize,
    work: Work,
}

/// Why an inspection gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    #[error("inspection ran out of its time")]
    Timeout,
    #[error("too many bodies are under inspection")]
    Overloaded,
    #[error("inspection failed")]
    Failed,
}

/// Runs inspections within a budget.
#[derive(Debug, Clone)]
pub struct Inspect {
    service: BoxCloneSyncService<Job, (), BoxError>,
}

impl Inspect {
    /// `budget`: time for all checks of one body.
    pub fn new(budget: Duration) -> Inspect {
        let run = tower::service_fn(|job: Job| -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> {
            Box::pin(async move {
                if job.bytes <= INLINE_BYTES_MAX {
                    (job.work)();
                    return Ok(());
                }
                Ok(tokio::task::spawn_blocking(job.work).await?)
            })
        });
        let service = ServiceBuilder::new().load_shed().concurrency_limit(IN_FLIGHT_MAX).timeout(budget).service(run);
        Inspect { service: BoxCloneSyncService::new(service) }
    }

    /// Runs `work` over a body of `bytes`. A panic in a detector is one failed inspection, not a dead sidecar.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, InspectError> {
        let (done, result) = tokio::sync::oneshot::channel();
        let work: Work = Box::new(move || {
            let _ = done.send(work());
        });
        let mut service = self.service.clone();
        let ready = service.ready().await.map_err(|_| InspectError::Failed)?;
        match ready.call(Job { bytes, work }).await {
            Ok(()) => result.await.map_err(|_| InspectError::Failed),
            Err(error) if error.is::<Elapsed>() => Err(InspectError::Timeout),
            Err(error) if error.is::<Overloaded>() => Err(InspectError::Overloaded),
            Err(_) => Err(InspectError::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_come_back_whatever_the_size() {
        let inspect = Inspect::new(Duration::from_secs(60));
        assert_eq!(inspect.run(1, || 7).await, Ok(7));
        assert_eq!(inspect.run(INLINE_BYTES_MAX + 1, || 8).await, Ok(8));
    }

    #[tokio::test]
    async fn out_of_time_and_out_of_order_are_told_apart() {
        let inspect = Inspect::new(Duration::from_millis(1));
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let late = inspect.run(INLINE_BYTES_MAX + 1, move || wait.recv().is_ok()).await;
        assert_eq!(late, Err(InspectError::Timeout));
        drop(release);
        let inspect = Inspect::new(Duration::from_secs(60));
        let failed = inspect.run(INLINE_BYTES_MAX + 1, || -> u8 { panic!("a detector fails") }).await;
        assert_eq!(failed, Err(InspectError::Failed));
    }
}
