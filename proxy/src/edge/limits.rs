//! The bounds of what a client may send and how long it may take, each with its reason.

use std::time::Duration;

/// Header fields in one request. SDKs send about 20; browsers and proxies in front add a dozen.
pub(super) const HEADER_FIELDS_MAX: usize = 100;
/// Bytes of a header section, request line included. Large enough for a URL and a token of 8 KiB each.
pub(super) const HEADER_BYTES_MAX: usize = 32 * 1024;
/// The line before a chunk, with its extension, which nobody uses.
pub(super) const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;
/// One chunk: no body that is taken is larger.
pub(super) const CHUNK_BYTES_MAX: u64 = u32::MAX as u64;
/// From the first byte of a request to the end of its header section: ends slow drips.
pub(super) const HEAD_MAX: Duration = Duration::from_secs(30);
/// An idle connection stays open that long: longer than the idle limits of common SDKs' pools (httpx 5 s, aiohttp 15 s,
/// Go 90 s is the exception), so that mostly the client closes first.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// The longest silence within a request body.
pub(super) const BODY_SILENCE_MAX: Duration = Duration::from_secs(30);
/// A whole request body: 20 MB over a slow mobile link take less.
pub(super) const BODY_MAX: Duration = Duration::from_secs(300);
/// How long one write waits for a client that does not read.
pub(super) const WRITE_MAX: Duration = Duration::from_secs(60);
/// Concurrent requests on one HTTP/2 connection (what RFC 9113 section 6.5.2 recommends as a minimum).
pub(super) const H2_STREAMS_MAX: u32 = 100;
/// Requests on one HTTP/2 connection that may be malformed before the connection is closed.
pub(super) const H2_REJECTED_MAX: u32 = 32;
/// The HTTP/2 handshake.
pub(super) const H2_HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// After an answer to a body that was not read: bytes and time that are still taken in, because closing over unread
/// bytes resets the connection, and the reset can overtake the answer.
pub(super) const LINGER_BYTES_MAX: usize = 8 * 1024 * 1024;
pub(super) const LINGER_MAX: Duration = Duration::from_secs(2);
/// The part of a request body's memory that is taken on trust of its `Content-Length`.
pub(super) const BODY_RESERVE_MAX: usize = 1024 * 1024;
/// How long a bypassed target may be silent, in either direction.
pub(super) const BYPASS_SILENCE_MAX: Duration = Duration::from_secs(300);
/// TCP and TLS handshakes with a bypassed target.
pub(super) const BYPASS_CONNECT_MAX: Duration = Duration::from_secs(5);
/// Pooled connections to bypassed targets live shorter than the shortest server-side limit in common use (5 s), since
/// a stale one costs a request that cannot be repeated.
pub(super) const BYPASS_POOLED: Duration = Duration::from_secs(4);
/// Attempts at one bypassed request: pingora repeats a failed connect, and an idempotent request on a stale connection.
pub(super) const BYPASS_ATTEMPTS_MAX: usize = 3;
/// After the drain limit: how long exchanges may take to write down that they were cut.
pub(super) const CUT_GRACE: Duration = Duration::from_secs(3);
/// How long connections may take to say goodbye once nothing is in flight.
pub(super) const GOODBYE_MAX: Duration = Duration::from_millis(500);
/// Pause after the system refused to accept a connection (out of descriptors, mostly).
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
