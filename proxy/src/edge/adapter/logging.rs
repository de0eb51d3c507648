//! `logging`: the last hook of every request; reports how a bypass ended.

use pingora::Error;
use pingora::proxy::Session;

use super::super::handler::Handler;
use super::Context;
use crate::upstream::failure;

pub(super) async fn run<H: Handler>(session: &mut Session, error: Option<&Error>, ctx: &mut Context<H>) {
    let Some(bypass) = ctx.bypass.take() else {
        return;
    };
    let error = error.map(|error| {
        let side = error.esource().as_str();
        let detail = failure::detail(error);
        if side.is_empty() { detail } else { format!("{side}: {detail}") }
    });
    bypass.close(error, session.was_upgraded()).await;
}
