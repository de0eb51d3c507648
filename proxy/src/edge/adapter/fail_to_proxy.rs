//! `fail_to_proxy`: the answer to a bypassed request that got none, and silence where a client would take anything
//! else for the end of an answer.

use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType};

use super::super::downstream::Client;
use super::super::handler::{BypassFailure, Handler};
use super::{Adapter, Context};
use crate::upstream::Outcome;

pub(super) async fn run<H: Handler>(
    adapter: &Adapter<H>,
    session: &mut Session,
    error: &Error,
    ctx: &mut Context<H>,
) -> FailToProxy {
    let silent = FailToProxy { error_code: 0, can_reuse_downstream: false };
    let Some(record) = ctx.bypass.as_mut().and_then(|bypass| bypass.record()) else {
        return silent;
    };
    let begun = session
        .response_written()
        .is_some_and(|head| !head.status.is_informational() || head.status == http::StatusCode::SWITCHING_PROTOCOLS);
    if begun || matches!(error.esource(), ErrorSource::Downstream) {
        return silent;
    }
    let failure = record.failure.unwrap_or(match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => BypassFailure::Timeout,
        _ => BypassFailure::Broken,
    });
    if let Some(leave) = record.leave.take()
        && failure != BypassFailure::Credentials
    {
        leave.settle(Outcome::Failed);
    }
    let answer = adapter.handler.bypass_failed(&record.head, &record.provider, failure);
    let code = answer.status.as_u16();
    record.status = Some(code);
    session.set_keepalive(None);
    let mut client = Client::new(session.as_downstream_mut(), &adapter.cut);
    if client.own(answer).await.is_ok() {
        client.linger().await;
    }
    FailToProxy { error_code: code, can_reuse_downstream: false }
}
