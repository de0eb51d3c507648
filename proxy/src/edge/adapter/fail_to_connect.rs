//! `fail_to_connect`: nothing was sent, so another address may be tried.

use std::sync::Arc;

use pingora::{Error, ErrorType};

use super::super::handler::{BypassFailure, Handler};
use super::Context;
use crate::upstream::Outcome;

pub(super) fn run<H: Handler>(ctx: &mut Context<H>, mut error: Box<Error>) -> Box<Error> {
    // pingora panics on an error that leaves the decision open.
    error.set_retry(false);
    if let Some(record) = ctx.bypass.as_mut().and_then(|bypass| bypass.record()) {
        record.failure = Some(match error.etype() {
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => BypassFailure::Timeout,
            _ => BypassFailure::Connect,
        });
        if let Some((addresses, address)) = record.connecting.take() {
            addresses.leave(address);
            error.set_retry(addresses.count() > 1);
        }
        if let Some(leave) = record.leave.take() {
            record.tried.push(Arc::clone(&leave.endpoint));
            leave.settle(Outcome::Failed);
        }
        match record.provider.endpoints().len() {
            // The only one may have other addresses.
            1 => record.tried.clear(),
            all => error.set_retry(record.tried.len() < all),
        }
    }
    error
}
