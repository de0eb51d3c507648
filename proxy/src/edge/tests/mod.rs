//! The edge over real sockets on the loopback: a scripted handler behind it, raw bytes in front of it.

mod bypass;
mod framing;
mod http1;
mod http2;
mod live;
mod patience;
mod relay;
mod stop;
mod support;
