//! The compiled rules, shared by all streams, and the memory that streams lend each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{MatchKind, PatternID};

use crate::compile;
use crate::config::{EngineConfig, RULES_MAX, THRESHOLD_PPM_DEFAULT, is_name};
use crate::error::{DetectorError, EngineError};
use crate::finding::{Finding, View};
use crate::secrets::{self, BUILTIN};
use crate::starts::Starts;
use crate::stream::Stream;

/// Most memory of one stream's automaton states, in bytes. Ordinary rules need a hundredth of it; a stream that
/// needs more starts over once and then gives up with [`DetectorError::StateCache`].
const CACHE_BYTES_MAX: usize = 8 << 20;

/// Most automaton memories kept for the next streams: about as many as channels are open at once in a busy sidecar.
const CACHES_KEPT_MAX: usize = 64;

/// An automaton memory that has grown over this is given back to the system rather than kept.
const CACHE_KEPT_BYTES_MAX: usize = 1 << 20;

/// Version of the matching itself: what counts as a match, which characters are hidden, how JSON is read.
const MATCHING_VERSION: &str = "1";

/// Which part of a match is what the rule is looking for; none if it only looks like it.
pub(crate) type Refine = fn(&[u8]) -> Option<Range<usize>>;

/// A check that runs, for the receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The family (`patterns`) or the built-in detector (`secrets.github_token`).
    pub id: String,
    /// Its version: it changes whenever the same text could be judged differently.
    pub version: String,
}

#[derive(Debug)]
struct Compiled {
    detector: Arc<str>,
    class: Arc<str>,
    score_ppm: u32,
    refine: Option<Refine>,
}

/// What a lane needs to read a byte.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) dfa: DFA,
    pub(crate) starts: Starts,
    rules: Vec<Compiled>,
}

impl Core {
    pub(crate) fn refine(&self, rule: PatternID) -> Option<Refine> {
        self.rules.get(rule.as_usize()).and_then(|rule| rule.refine)
    }

    pub(crate) fn finding(&self, rule: PatternID, start: u64, end: u64, contained: bool) -> Option<Finding> {
        let Compiled { detector, class, score_ppm, .. } = self.rules.get(rule.as_usize())?;
        Some(Finding { detector: detector.clone(), class: class.clone(), score_ppm: *score_ppm, start, end, contained })
    }
}

/// Compiled rules. Immutable; one serves any number of streams on any number of threads.
pub struct Engine {
    core: Core,
    checks: Vec<Check>,
    caches: Mutex<Vec<Cache>>,
}

impl Engine {
    /// Compiles the built-in detectors and the policy's rules.
    ///
    /// # Errors
    /// [`EngineError`] says which rule or setting is wrong, and how.
    pub fn compile(config: EngineConfig) -> Result<Self, EngineError> {
        known_detectors(config.off.iter().chain(config.thresholds_ppm.keys()))?;
        let mut rules = Vec::new();
        let mut hirs = Vec::new();
        let mut checks = Vec::new();
        for builtin in BUILTIN.iter().filter(|builtin| builtin_runs(&config, builtin.id, builtin.score_ppm)) {
            hirs.push(compile::rule(builtin.id, &builtin.matcher())?);
            rules.push(Compiled {
                detector: builtin.id.into(),
                class: secrets::CLASS.into(),
                score_ppm: builtin.score_ppm,
                refine: builtin.refine,
            });
            checks.push(Check { id: builtin.id.to_owned(), version: builtin.version.to_owned() });
        }
        if !config.rules.is_empty() {
            checks.push(Check { id: "patterns".to_owned(), version: MATCHING_VERSION.to_owned() });
        }
        if rules.len() + config.rules.len() > RULES_MAX {
            return Err(EngineError::TooManyRules { rules: rules.len() + config.rules.len() });
        }
        let mut ids = BTreeSet::new();
        for rule in config.rules {
            if !is_name(&rule.id) {
                return Err(EngineError::Id { rule: rule.id });
            }
            if !is_name(&rule.class) {
                return Err(EngineError::Class { rule: rule.id });
            }
            if rule.score_ppm > 1_000_000 {
                return Err(EngineError::Score { rule: rule.id, score_ppm: rule.score_ppm });
            }
            hirs.push(compile::rule(&rule.id, &rule.matcher)?);
            rules.push(Compiled {
                detector: format!("patterns.{}", rule.id).into(),
                class: rule.class.into(),
                score_ppm: rule.score_ppm,
                refine: None,
            });
            if !ids.insert(rule.id.clone()) {
                return Err(EngineError::DuplicateId { rule: rule.id });
            }
        }
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(CACHE_BYTES_MAX)
            // Never clears by itself: streams hold states of the cache, and make them anew when they clear it.
            .minimum_cache_clear_count(Some(0));
        let dfa = DFA::builder()
            .configure(config)
            .build_from_nfa(compile::all(&hirs)?)
            .map_err(|error| EngineError::Build { reason: error.to_string() })?;
        let starts = Starts::new(&dfa);
        Ok(Self { core: Core { dfa, starts, rules }, checks, caches: Mutex::new(Vec::new()) })
    }

    /// Versions by component: `matching` for what a match is, then each check that runs. Part of the policy hash.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, String> {
        let checks = self.checks.iter().map(|check| (check.id.clone(), check.version.clone()));
        checks.chain([("matching".to_owned(), MATCHING_VERSION.to_owned())]).collect()
    }

    /// The checks that run, in a fixed order: each built-in detector, then `patterns` if the policy has rules.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Begins to read one text.
    #[must_use]
    pub fn stream(self: &Arc<Self>, view: View) -> Stream {
        Stream::new(Arc::clone(self), view)
    }

    /// Reads a whole text: what a stream would report, sorted by start, end and detector.
    ///
    /// # Errors
    /// [`DetectorError`] if the text could not be read to its end within the limits.
    pub fn scan(self: &Arc<Self>, text: &str, view: View) -> Result<Vec<Finding>, DetectorError> {
        let mut stream = self.stream(view);
        let mut found = Vec::new();
        stream.feed(text, &mut found);
        stream.finish(&mut found);
        if let Some(error) = stream.failed() {
            return Err(error);
        }
        found.sort_by(|a, b| (a.start, a.end, &a.detector).cmp(&(b.start, b.end, &b.detector)));
        Ok(found)
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn lend_cache(&self) -> Cache {
        let kept = self.caches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| self.core.dfa.create_cache())
    }

    pub(crate) fn take_back(&self, cache: Cache) {
        if cache.memory_usage() <= CACHE_KEPT_BYTES_MAX {
            let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
            if caches.len() < CACHES_KEPT_MAX {
                caches.push(cache);
            }
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("rules", &self.core.rules.len())
            .field("checks", &self.checks)
            .finish_non_exhaustive()
    }
}

fn family(id: &str) -> &str {
    id.split_once('.').map_or(id, |(family, _)| family)
}

fn builtin_runs(config: &EngineConfig, id: &str, score_ppm: u32) -> bool {
    let thresholds = &config.thresholds_ppm;
    let threshold = thresholds.get(id).or_else(|| thresholds.get(family(id))).copied().unwrap_or(THRESHOLD_PPM_DEFAULT);
    !config.off.contains(id) && !config.off.contains(family(id)) && score_ppm >= threshold
}

fn known_detectors<'a>(mut ids: impl Iterator<Item = &'a String>) -> Result<(), EngineError> {
    let known = || BUILTIN.iter().map(|builtin| builtin.id).chain(["secrets"]);
    match ids.find(|id| !known().any(|known| known == id.as_str())) {
        Some(id) => Err(EngineError::UnknownDetector { id: id.clone(), known: known().collect::<Vec<_>>().join(", ") }),
        None => Ok(()),
    }
}
