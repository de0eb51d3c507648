//! Clyra's policy: reads `policy.yaml`, refuses what it would not enforce, hashes its meaning, and decides.
//!
//! ```
//! use clyra_policy::{Action, Facts, FindingFacts, Phase, Policy, RequestFacts};
//!
//! let policy = Policy::parse(clyra_policy::packs::BASELINE, "baseline.yaml", &|_| Err("no files".to_owned()))?;
//! let caller = policy.caller(None);
//! let request = RequestFacts::default();
//! let findings = [FindingFacts {
//!     detector: "secrets.aws".into(),
//!     class: "secret".into(),
//!     score_ppm: 990_000,
//!     channel: "content".into(),
//!     place: "/messages/0/content".into(),
//!     owasp: None,
//!     atlas: None,
//! }];
//! let mut facts = Facts::new(&caller, &request, 1_800_000_000);
//! facts.findings = &findings;
//! let decision = policy.decide(Phase::Request, &facts);
//! assert_eq!(decision.action, Action::Redact);
//! assert_eq!(decision.redact, [0]);
//! # Ok::<(), clyra_policy::PolicyError>(())
//! ```
//!
//! Knows nothing of networks, detectors or receipts. What the file may contain, what each setting means and what each error
//! code says is in `REFERENCE.md` beside this crate's manifest.

mod canonical;
mod decide;
mod diagnostic;
mod expr;
mod facts;
mod lint;
mod load;
mod model;
pub mod packs;
mod pattern;
mod policy;
mod read;
#[cfg(test)]
mod reference;
mod threat;
mod yaml;

pub use decide::{Decision, FiredRule, ReasonCode, UsedException};
pub use diagnostic::{Code, DIAGNOSTICS_MAX, Diagnostic, PolicyError};
pub use expr::EvalFailure;
pub use facts::{Facts, FindingFacts, MessageFacts, RequestFacts, ResponseFacts, SchemaFacts, ToolFacts};
pub use lint::{Advice, AdviceCode};
pub use model::{
    Action, BlockStyle, BodyStorage, CSV_REPAIR_CLASSES, Caller, Choices, Coercion, Defaults, DetectorSettings,
    HoldRule, Matcher, Metadata, Mode, OnFailure, Pattern, Phase, REPAIR_CLASSES, RepairRule, SchemaFormat, SchemaRule,
    SchemaSource, StoredState, StreamMode, Threat, UnknownSurface,
};
pub use policy::{ANONYMOUS, EvalError, Policy};
