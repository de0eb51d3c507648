//! A loaded policy: immutable, checked in full, ready to be asked.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::expr::{EvalFailure, Program, Subject, eval};
use crate::facts::Facts;
use crate::model::{Action, Caller, Defaults, DetectorSettings, Metadata, Mode, Pattern, Phase, SchemaRule, Threat};
use crate::yaml::Mark;

/// Where something stands in the policy file, for advice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) at: Mark,
    pub(crate) path: String,
}

#[derive(Debug)]
pub(crate) struct CallerRule {
    pub(crate) caller: Caller,
    pub(crate) api_key_sha256: [u8; 32],
}

#[derive(Debug)]
pub(crate) struct LoadedSchema {
    pub(crate) rule: SchemaRule,
    /// The parsed schema, when it is the policy's.
    pub(crate) json: Option<serde_json::Value>,
    pub(crate) when: Option<Program>,
    pub(crate) place: Place,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) phase: Phase,
    /// Always fires when absent.
    pub(crate) when: Option<Program>,
    pub(crate) action: Action,
    pub(crate) reason: Option<String>,
    pub(crate) threat: Option<Threat>,
    pub(crate) place: Place,
}

#[derive(Debug)]
pub(crate) struct Exception {
    pub(crate) rule: String,
    /// Absent only where the named rule does not exist, so that nothing can be checked.
    pub(crate) when: Option<Program>,
    pub(crate) when_text: String,
    pub(crate) owner: String,
    pub(crate) reason: String,
    /// `YYYY-MM-DD`.
    pub(crate) expires: String,
    pub(crate) expires_unix_s: i64,
    pub(crate) place: Place,
}

/// Everything that a policy says, resolved and compiled.
#[derive(Debug)]
pub(crate) struct Document {
    /// Name of the file, for messages only.
    pub(crate) file: String,
    pub(crate) metadata: Metadata,
    pub(crate) mode: Mode,
    pub(crate) defaults: Defaults,
    pub(crate) callers: Vec<CallerRule>,
    pub(crate) detectors: BTreeMap<String, DetectorSettings>,
    pub(crate) patterns: Vec<Pattern>,
    /// Of the pattern with the same index.
    pub(crate) pattern_places: Vec<Place>,
    pub(crate) schemas: Vec<LoadedSchema>,
    /// By phase, then in file order.
    pub(crate) rules: Vec<Rule>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) threats: BTreeMap<String, Threat>,
    pub(crate) detector_versions: BTreeMap<String, String>,
}

impl Document {
    /// A document that says nothing: every default, no rules.
    pub(crate) fn empty(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            metadata: Metadata::default(),
            mode: Mode::Enforce,
            defaults: Defaults::default(),
            callers: Vec::new(),
            detectors: BTreeMap::new(),
            patterns: Vec::new(),
            pattern_places: Vec::new(),
            schemas: Vec::new(),
            rules: Vec::new(),
            exceptions: Vec::new(),
            threats: crate::threat::built_in(),
            detector_versions: BTreeMap::new(),
        }
    }
}

impl Document {
    /// What holds for a detector that has no settings of its own.
    pub(crate) fn inherited_settings(&self, id: &str) -> DetectorSettings {
        let mut prefix = id;
        while let Some((shorter, _)) = prefix.rsplit_once('.') {
            if let Some(settings) = self.detectors.get(shorter) {
                return *settings;
            }
            prefix = shorter;
        }
        DetectorSettings::default()
    }
}

/// A condition that has no answer, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {failure}")]
pub struct EvalError {
    /// Like `rule no-secrets-out` or `schema invoice`.
    pub subject: String,
    pub failure: EvalFailure,
}

impl EvalError {
    /// The stable reason code.
    pub const CODE: &'static str = "evaluation_error";
}

/// A compiled policy. Immutable and shareable; put it behind an `Arc` and swap that.
#[derive(Debug)]
pub struct Policy {
    pub(crate) document: Document,
    canonical: String,
    hash: String,
}

impl Policy {
    pub(crate) fn new(document: Document) -> Self {
        let canonical = crate::canonical::text(&document);
        let hash = blake3::hash(canonical.as_bytes()).to_hex().to_string();
        Self { document, canonical, hash }
    }

    /// The policy that is in force where none is given: nothing is touched, what cannot be read passes. Equal to
    /// [`packs::OBSERVE`](crate::packs::OBSERVE).
    pub fn observe() -> Self {
        let mut document = Document::empty("packs/observe.yaml");
        document.metadata.name = Some("observe".to_owned());
        document.mode = Mode::Observe;
        document.defaults.unknown_surface = crate::model::UnknownSurface::Bypass;
        Self::new(document)
    }

    /// Mixes the versions of the detectors that will run into the hash: another detector version decides differently.
    #[must_use]
    pub fn with_detectors(mut self, versions: &BTreeMap<String, String>) -> Self {
        self.document.detector_versions = versions.clone();
        Self::new(self.document)
    }

    /// BLAKE3 over [`canonical`](Self::canonical), 64 hex digits. Equal for files that differ in key order, comments, white
    /// space or spelled-out defaults only.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The resolved policy in RFC 8785 form: defaults filled in, schemas inlined, rules by phase. Contains what the file
    /// contains, patterns and digests of keys included.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    pub fn metadata(&self) -> &Metadata {
        &self.document.metadata
    }

    pub fn mode(&self) -> Mode {
        self.document.mode
    }

    pub fn defaults(&self) -> &Defaults {
        &self.document.defaults
    }

    /// Who uses this key. The time it takes does not depend on how much of a key is right.
    pub fn caller(&self, api_key: Option<&str>) -> Caller {
        let anonymous = || Caller { id: ANONYMOUS.into(), tenant: "".into() };
        let Some(api_key) = api_key else {
            return anonymous();
        };
        let digest = Sha256::digest(api_key.as_bytes());
        let mut found = None;
        for rule in &self.document.callers {
            let is_equal: bool = rule.api_key_sha256.ct_eq(digest.as_slice()).into();
            if is_equal && found.is_none() {
                found = Some(&rule.caller);
            }
        }
        found.cloned().unwrap_or_else(anonymous)
    }

    /// The policy's own words and expressions, in file order.
    pub fn patterns(&self) -> &[Pattern] {
        &self.document.patterns
    }

    /// How a detector is to run. Settings of `secrets` hold for `secrets.aws` as well, unless that has its own.
    pub fn detector(&self, id: &str) -> DetectorSettings {
        self.document.detectors.get(id).copied().unwrap_or_else(|| self.document.inherited_settings(id))
    }

    /// The detector ids that the policy configures, so that whoever knows the detectors can refuse a misspelt one.
    pub fn configured_detectors(&self) -> impl Iterator<Item = (&str, DetectorSettings)> {
        self.document.detectors.iter().map(|(id, settings)| (id.as_str(), *settings))
    }

    /// All schemas that answers to this request are held to, in file order.
    pub fn schemas_for(&self, facts: &Facts<'_>) -> Result<Vec<&SchemaRule>, EvalError> {
        let mut matching = Vec::new();
        for schema in &self.document.schemas {
            let applies = match &schema.when {
                None => true,
                Some(program) => eval(program, facts, Subject::All)
                    .map_err(|failure| EvalError { subject: format!("schema {}", schema.rule.id), failure })?,
            };
            if applies {
                matching.push(&schema.rule);
            }
        }
        Ok(matching)
    }

    /// All schemas of the policy, so that they can be compiled before there is traffic.
    pub fn schemas(&self) -> impl ExactSizeIterator<Item = &SchemaRule> {
        self.document.schemas.iter().map(|schema| &schema.rule)
    }

    /// Whether anything is decided in this phase at all.
    pub fn has_rules(&self, phase: Phase) -> bool {
        self.document.rules.iter().any(|rule| rule.phase == phase)
    }

    /// What a class of finding stands for: the policy's `threat_map`, else the built-in map, else nothing.
    pub fn threat(&self, class: &str) -> Threat {
        self.document.threats.get(class).cloned().unwrap_or_default()
    }
}

/// Id of callers that no rule recognises.
pub const ANONYMOUS: &str = "anonymous";
