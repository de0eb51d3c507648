//! A response body that does exactly what its steps say: one frame per write, each flushed before the next,
//! waits, silences and cuts in between, and a count of clients that left before the end.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::record::Attendance;

/// What to do next on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send these bytes in one write.
    Write(Bytes),
    /// Send nothing for this long.
    Wait(Duration),
    /// Send nothing until the client leaves.
    Stall,
    /// Close the connection with the message unfinished.
    Cut,
}

/// The body of one response.
#[derive(Debug)]
pub(crate) struct Transmission {
    steps: VecDeque<Step>,
    attendance: Attendance,
    /// Larger writes are cut into writes of this size.
    write_bytes: Option<NonZeroUsize>,
    /// Bytes that are still to come when the response announces its length.
    announced_bytes: Option<u64>,
    waiting: Option<Pin<Box<Sleep>>>,
    flush_due: bool,
    stalled: bool,
}

impl Transmission {
    pub(crate) fn new(
        steps: VecDeque<Step>,
        announced_bytes: Option<u64>,
        write_bytes: Option<NonZeroUsize>,
        mut attendance: Attendance,
    ) -> Self {
        if steps.is_empty() {
            attendance.finish();
        }
        Self { steps, attendance, write_bytes, announced_bytes, waiting: None, flush_due: false, stalled: false }
    }
}

impl Body for Transmission {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        loop {
            if let Some(waiting) = &mut this.waiting {
                ready!(waiting.as_mut().poll(context));
                this.waiting = None;
            }
            // hyper flushes when a body is pending, so being pending once after each write keeps writes apart.
            if std::mem::take(&mut this.flush_due) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if this.stalled {
                return Poll::Pending;
            }
            match this.steps.pop_front() {
                Some(Step::Write(mut bytes)) => {
                    if let Some(size) = this.write_bytes
                        && bytes.len() > size.get()
                    {
                        let rest = bytes.split_off(size.get());
                        this.steps.push_front(Step::Write(rest));
                    }
                    this.flush_due = true;
                    if this.steps.is_empty() {
                        this.attendance.finish();
                    }
                    if let Some(announced) = &mut this.announced_bytes {
                        *announced = announced.saturating_sub(bytes.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Wait(delay)) => this.waiting = Some(Box::pin(tokio::time::sleep(delay))),
                Some(Step::Stall) => this.stalled = true,
                Some(Step::Cut) => {
                    this.attendance.finish();
                    return Poll::Ready(Some(Err(io::Error::other("cut as directed"))));
                }
                None => return Poll::Ready(None),
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.announced_bytes.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
