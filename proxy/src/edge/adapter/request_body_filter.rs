//! `request_body_filter`: counts what the client sends through a bypass.

use bytes::Bytes;

use super::super::handler::Handler;
use super::Context;

pub(super) fn run<H: Handler>(body: Option<&Bytes>, ctx: &mut Context<H>) {
    if let (Some(bytes), Some(record)) = (body, ctx.bypass.as_mut().and_then(|bypass| bypass.record())) {
        record.request_bytes = record.request_bytes.saturating_add(bytes.len() as u64);
    }
}
