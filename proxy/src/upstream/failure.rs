//! Turns pingora's errors into ours, without repeating what the wire carried: pingora quotes received bytes in its
//! messages, and those may be a prompt or an answer.

use std::sync::Arc;

use pingora::{Error, ErrorType};

use crate::exchange::ports::UpstreamError;

/// What an operator may see: the kind of error, and the operating system's or the TLS library's own words.
pub(crate) fn detail(error: &Error) -> String {
    let kind = error.etype().as_str();
    if let Some(io) = io_cause(error) {
        return format!("{kind}: {io}");
    }
    let about_the_connection = matches!(
        error.root_etype(),
        ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
            | ErrorType::SocketError
    );
    // Before the first request byte there is no content that could be repeated.
    if about_the_connection { error.to_string() } else { kind.to_owned() }
}

fn io_cause(error: &Error) -> Option<&std::io::Error> {
    error.root_cause().downcast_ref::<std::io::Error>()
}

/// Nothing was sent: no connection could be had.
pub(super) fn connect(name: &Arc<str>, error: &Error) -> UpstreamError {
    UpstreamError::Connect { name: name.clone(), detail: detail(error) }
}

/// The connection failed while the request was sent or the response head awaited.
pub(super) fn before_head(name: &Arc<str>, reused: bool, error: &Error) -> UpstreamError {
    let name = name.clone();
    let detail = detail(error);
    if matches!(error.etype(), ErrorType::InvalidHTTPHeader) || part_of_a_head_arrived(error) {
        UpstreamError::Protocol { name, detail }
    } else {
        UpstreamError::NoAnswer { name, reused, detail }
    }
}

/// Whether the failure came after some bytes of a response head. pingora marks such an error as safe to retry all the
/// same, and tells the count only in its message (`read_response` of the pinned release; a test watches it).
fn part_of_a_head_arrived(error: &Error) -> bool {
    error.context.as_ref().is_some_and(|context| {
        let context = context.as_str();
        context.contains("bytes already read: ") && !context.ends_with("bytes already read: 0")
    })
}
