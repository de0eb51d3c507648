//! Plays the recorded exchanges of these APIs (of all, if none is named): see [`clyra_tests::replay`]. Where they are not at
//! hand, it says so and writes nothing else.
#![allow(clippy::unwrap_used)]

use clyra_tests::recorded::recorded;
use clyra_tests::replay::replay;

/// How the answers are cut is random, and the same every time.
const SEED: u64 = 20_261_129;

#[tokio::main]
async fn main() {
    let apis: Vec<String> = std::env::args().skip(1).collect();
    let apis: Vec<&str> = apis.iter().map(String::as_str).collect();
    let Some(exchanges) = recorded(&apis) else { return };
    replay(&exchanges, SEED, std::io::stdin(), &mut std::io::stdout().lock()).await.unwrap();
}
