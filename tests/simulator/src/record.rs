//! Remembers what reached the simulator and which clients left early, within bounds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::sync::Notify;

/// The most body bytes that are remembered: four of the largest requests. Older requests give way.
const RECORDED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A request as it reached the simulator.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: String,
    /// The headers as received.
    pub headers: HeaderMap,
    /// The whole body as received, neither decompressed nor parsed.
    pub body: Bytes,
    /// When the request had been read to its end.
    pub at: Instant,
}

/// Everything that is remembered. Cheap to share.
#[derive(Debug)]
pub(crate) struct Record {
    requests_max: usize,
    requests: Mutex<Remembered>,
    cancelled: AtomicUsize,
    cancellation: Notify,
}

#[derive(Debug, Default)]
struct Remembered {
    requests: VecDeque<SeenRequest>,
    body_bytes: usize,
}

impl Record {
    pub(crate) fn new(requests_max: usize) -> Arc<Self> {
        Arc::new(Self {
            requests_max,
            requests: Mutex::default(),
            cancelled: AtomicUsize::new(0),
            cancellation: Notify::new(),
        })
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remember(&self, request: SeenRequest) {
        let mut remembered = self.remembered();
        remembered.body_bytes += request.body.len();
        remembered.requests.push_back(request);
        while remembered.requests.len() > self.requests_max || remembered.body_bytes > RECORDED_BYTES_MAX {
            let Some(oldest) = remembered.requests.pop_front() else { break };
            remembered.body_bytes -= oldest.body.len();
        }
    }

    pub(crate) fn requests(&self) -> Vec<SeenRequest> {
        self.remembered().requests.iter().cloned().collect()
    }

    pub(crate) fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::SeqCst)
    }

    pub(crate) async fn wait_cancelled(&self, count: usize, timeout: Duration) -> bool {
        let reached = async {
            loop {
                // Registered before the count is read, so that no cancellation falls in between.
                let notified = self.cancellation.notified();
                if self.cancelled() >= count {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(timeout, reached).await.is_ok()
    }

    /// Starts watching a response: dropped unfinished, it counts as cancelled.
    pub(crate) fn attend(self: &Arc<Self>) -> Attendance {
        Attendance { record: Arc::clone(self), finished: false }
    }
}

/// Held for as long as a response is under way.
#[derive(Debug)]
pub(crate) struct Attendance {
    record: Arc<Record>,
    finished: bool,
}

impl Attendance {
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if !self.finished {
            self.record.cancelled.fetch_add(1, Ordering::SeqCst);
            self.record.cancellation.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &'static [u8]) -> SeenRequest {
        SeenRequest {
            method: Method::GET,
            path: "/".into(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body),
            at: Instant::now(),
        }
    }

    #[test]
    fn the_oldest_request_gives_way() {
        let record = Record::new(2);
        for body in [b"1", b"2", b"3"] {
            record.remember(request(body));
        }
        let bodies: Vec<_> = record.requests().into_iter().map(|seen| seen.body).collect();
        assert_eq!(bodies, [Bytes::from_static(b"2"), Bytes::from_static(b"3")]);
    }

    #[test]
    fn only_unfinished_responses_count_as_cancelled() {
        let record = Record::new(0);
        record.attend().finish();
        assert_eq!(record.cancelled(), 0);
        drop(record.attend());
        assert_eq!(record.cancelled(), 1);
    }
}
