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
        Self::compile_within(config, CACHE_BYTES_MAX)
    }

    fn compile_within(config: EngineConfig, cache_bytes: usize) -> Result<Self, EngineError> {
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
            .cache_capacity(cache_bytes)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Matcher, Rule};

    fn config(patterns: &[&str]) -> EngineConfig {
        let rule = |(i, pattern): (usize, &&str)| Rule {
            id: format!("r{i}"),
            class: "c".into(),
            score_ppm: 1,
            matcher: Matcher::Regex((*pattern).into()),
        };
        let off = ["secrets".to_owned()].into();
        EngineConfig { rules: patterns.iter().enumerate().map(rule).collect(), off, ..EngineConfig::default() }
    }

    #[test]
    fn engines_and_streams_cross_threads() {
        fn sendable<T: Send>() {}
        fn shareable<T: Send + Sync>() {}
        shareable::<Engine>();
        sendable::<Stream>();
    }

    #[test]
    fn each_wrong_rule_is_named() {
        let rule = |id: &str, class: &str, score_ppm| Rule {
            id: id.into(),
            class: class.into(),
            score_ppm,
            matcher: Matcher::Regex("x".into()),
        };
        let code =
            |rules: Vec<Rule>| Engine::compile(EngineConfig { rules, ..EngineConfig::default() }).unwrap_err().code();
        assert_eq!(code(vec![rule("", "c", 1)]), "pattern_id");
        assert_eq!(code(vec![rule("a b", "c", 1)]), "pattern_id");
        assert_eq!(code(vec![rule("a", "", 1)]), "pattern_class");
        assert_eq!(code(vec![rule("a", "c", 1_000_001)]), "pattern_score");
        assert_eq!(code(vec![rule("a", "c", 1), rule("a", "c", 1)]), "pattern_duplicate_id");
        assert_eq!(code((0..RULES_MAX).map(|i| rule(&i.to_string(), "c", 1)).collect()), "patterns_too_many");
    }

    #[test]
    fn checks_and_versions_say_what_runs() {
        let engine = Engine::compile(config(&["a"])).unwrap();
        assert_eq!(engine.checks(), [Check { id: "patterns".into(), version: "1".into() }]);
        assert_eq!(engine.versions().keys().collect::<Vec<_>>(), ["matching", "patterns"]);
        let engine = Arc::new(Engine::compile(config(&[])).unwrap());
        assert_eq!((engine.checks(), engine.scan("anything", View::Json)), (&[][..], Ok(vec![])));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// With too little memory a stream starts its automaton over: it then finds the same, or fails.
        #[test]
        fn a_small_memory_costs_findings_only_by_failing(
            text in "[abc\u{200b}]{0,6000}", size in 1..400_usize, spare in 0..6_000_usize
        ) {
            let patterns = ["a[ab]{3,40}c", "(a|b)*a(a|b){9}c", "ca{1,3}b[^c]{0,60}c"];
            let large = Arc::new(Engine::compile(config(&patterns)).unwrap());
            let least = large.core.dfa.get_config().get_minimum_cache_capacity(large.core.dfa.get_nfa()).unwrap();
            let small = Arc::new(Engine::compile_within(config(&patterns), least + spare).unwrap());
            let mut stream = small.stream(View::Plain);
            let mut found = Vec::new();
            let mut from = 0;
            while from < text.len() {
                let to = (from + size..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
                stream.feed(text.get(from..to).unwrap(), &mut found);
                from = to;
            }
            stream.finish(&mut found);
            found.sort_by(|a, b| (a.start, a.end, &a.detector).cmp(&(b.start, b.end, &b.detector)));
            let mut expected = large.scan(&text, View::Plain).unwrap();
            if stream.failed().is_some() {
                expected.retain(|finding| finding.start < stream.settled());
                found.retain(|finding| finding.start < stream.settled());
            }
            prop_assert_eq!(found, expected);
        }
    }
}
