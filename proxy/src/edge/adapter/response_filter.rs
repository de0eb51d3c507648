//! `response_filter`: notes the status of a bypass and adds the handler's headers, which no target can forge.

use http::StatusCode;
use pingora::Result;
use pingora::http::ResponseHeader;

use super::super::handler::Handler;
use super::Context;
use crate::upstream::{Outcome, headers};

pub(super) fn run<H: Handler>(response: &mut ResponseHeader, ctx: &mut Context<H>) -> Result<()> {
    let Some(record) = ctx.bypass.as_mut().and_then(|bypass| bypass.record()) else {
        return Ok(());
    };
    if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    record.status = Some(response.status.as_u16());
    if let Some(leave) = record.leave.take() {
        leave.settle(Outcome::of_status(response.status));
    }
    let forged: Vec<_> = response.headers.keys().filter(|name| headers::is_own(name)).cloned().collect();
    for name in forged {
        response.remove_header(&name);
    }
    for (name, value) in &record.headers {
        response.append_header(name.clone(), value.clone())?;
    }
    Ok(())
}
