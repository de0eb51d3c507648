//! The way of one exchange.

pub mod ports;
