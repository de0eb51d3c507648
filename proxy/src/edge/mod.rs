//! The edge: the only place that touches pingora's server side.
//!
//! | | pingora guarantees | we guarantee |
//! | --- | --- | --- |
//! | listening | – (panics when the address is taken) | an error that names the problem; a bound on connections (`listen`) |
//! | protocols | HTTP/1.0, HTTP/1.1, HTTP/2, chunked bodies, pipelining in order | told by the first bytes, within a time limit (`connection`) |
//! | request heads | one authority, one length, no CONNECT; answers 400 or 405 by itself | a `Host`, one length, line ends of two bytes, bounds on size and time (`head`, `socket`) |
//! | request bodies | replay up to 64 KiB | bodies of any size up to the caller's limit, `100-continue`, bounds on time (`downstream`), chunks that can be read in one way (`framing`) |
//! | answers | framing, keep-alive | an answer that breaks off never looks complete; slow readers are cut (`downstream`) |
//! | client leaves | an error on the next read | [`Downstream::gone`](crate::exchange::ports::Downstream::gone), at any time; the exchange itself runs on |
//! | sessions | – (a tunnel of bytes) | whole messages of a WebSocket, both ways (`live`) |
//! | bypass | the proxy loop | the target's authority, none of our headers leaves, one report for each; WebSockets in a loop of our own (`adapter`) |
//! | stopping | – (sleeps, then cuts streams) | drains, then tells what is left, then returns (`stop`, `listen`) |
//! | logs | lines that quote requests | suppressed; keep pingora's targets out of the log filter all the same |
//!
//! Cancellation: an exchange is never dropped because its client left. It is dropped when it still runs
//! three seconds after a stop has reached its limit (`limits`).

mod adapter;
mod connection;
mod downstream;
mod framing;
mod handler;
mod head;
mod in_flight;
mod limits;
mod listen;
mod live;
mod socket;
mod stop;
#[cfg(test)]
mod tests;

pub use handler::{BypassEnd, BypassFailure, Handler, Route};
pub use listen::{Edge, EdgeError, ServeOptions, Stopped, serve};
pub use stop::Stop;
