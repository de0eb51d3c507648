//! The way of one exchange, station by station. Plain async code that a test drives without a socket.

pub mod answer;
mod evidence;
pub mod front;
pub mod gateway;
mod headers;
pub mod held;
mod inspect;
pub mod judge;
pub mod ledger;
pub mod lineage;
pub mod live;
pub mod lock;
pub mod pins;
pub mod ports;
pub mod record;
pub mod run;
