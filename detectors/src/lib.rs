//! Text in, findings out. Nothing here decides anything and nothing here touches the network.
//!
//! An [`Engine`] is an immutable set of compiled rules: the built-in secrets and the words and patterns of a
//! policy. A [`Stream`] reads one text channel in fragments of any size and says two things: what it found, and up
//! to where the text is settled, that is, safe to show. The two promises that everything else leans on:
//!
//! - **Chunk invariance.** However a text is cut into fragments, the same findings come out.
//! - **Exact hold-back.** A finding that has not been reported yet starts at or after [`Stream::settled`], and
//!   nothing is held that cannot be the start of a match: a stream in which no rule has begun to match has no lag.
//!
//! ```
//! use std::sync::Arc;
//! use clyra_detectors::{Engine, EngineConfig, Matcher, Rule, View};
//!
//! let rule = Rule {
//!     id: "codename".into(),
//!     class: "restricted".into(),
//!     score_ppm: 1_000_000,
//!     matcher: Matcher::Literal { text: "Project Nightjar".into(), case_insensitive: false },
//! };
//! let engine = Arc::new(Engine::compile(EngineConfig { rules: vec![rule], ..EngineConfig::default() })?);
//!
//! let mut stream = engine.stream(View::Plain);
//! let mut found = Vec::new();
//! stream.feed("We call it Proj", &mut found);
//! assert_eq!((stream.settled(), found.len()), (11, 0)); // `Proj` is held
//! stream.feed("ect Nightjar.", &mut found);
//! stream.finish(&mut found);
//! assert_eq!((found[0].start, found[0].end), (11, 27));
//! # Ok::<(), clyra_detectors::EngineError>(())
//! ```

mod compile;
mod config;
mod engine;
mod error;
mod escape;
mod finding;
mod hidden;
mod lane;
mod secrets;
mod starts;
mod stream;

pub use config::{EngineConfig, Matcher, PATTERN_BYTES_MAX, RULES_MAX, Rule};
pub use engine::{Check, Engine};
pub use error::{DetectorError, EngineError};
pub use finding::{Finding, View};
pub use hidden::is_hidden;
pub use lane::{CANDIDATES_MAX, MATCH_BYTES_MAX, SPAN_BYTES_MAX};
pub use stream::Stream;
