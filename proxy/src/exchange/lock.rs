//! Schemas that bind an answer: the policy's, compiled at the start, and the request's own, compiled under hard limits
//! while the upstream is being called.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use clyra_policy::{
    Action, Choices, EvalError, Facts, HoldRule, Policy, SchemaFormat, SchemaRule, SchemaSource, StreamMode,
};
use clyra_schemas::{Contract, ContractError, ContractSource, Limits};

use crate::guard::Binding;

/// Request schemas kept compiled. An application has a handful; the whole cache goes when a client sends endless new ones.
const CACHED_MAX: usize = 256;

/// A policy schema that cannot be asserted.
#[derive(Debug, thiserror::Error)]
#[error("schema '{id}' of the policy cannot be used: {source}")]
pub struct SchemaError {
    pub id: String,
    pub source: Unusable,
}

/// Why a schema of the policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The policy language has it, and exchanges are not held to it.
    #[error("`{setting}` is not enforced by this version; remove it")]
    NotEnforced { setting: &'static str },
}

impl Unusable {
    /// A stable name for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Contract(error) => error.code(),
            Self::NotEnforced { .. } => "unsupported",
        }
    }
}

/// Why the schemas of an exchange could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("the schema in the request cannot be used: {0}")]
    Request(#[from] ContractError),
    #[error("the schema in the request is not JSON")]
    NotJson,
    #[error(transparent)]
    Match(#[from] EvalError),
}

/// What binds one answer.
#[derive(Debug, Default)]
pub struct Bound {
    pub bindings: Vec<Binding>,
    pub on_violation: BTreeMap<String, Action>,
    /// Schema id and digest, for the receipt.
    pub digests: Vec<(String, String)>,
}

/// Compiled schemas.
#[derive(Debug)]
pub struct Contracts {
    policy: BTreeMap<String, Arc<Contract>>,
    requests: Mutex<BTreeMap<[u8; 32], Arc<Contract>>>,
}

impl Contracts {
    /// Compiles every schema of the policy.
    pub fn new(policy: &Policy) -> Result<Contracts, SchemaError> {
        let mut compiled = BTreeMap::new();
        for rule in policy.schemas() {
            if let Some(setting) = not_enforced(rule) {
                return Err(SchemaError { id: rule.id.clone(), source: Unusable::NotEnforced { setting } });
            }
            if let SchemaSource::Policy { text, .. } = &rule.source {
                let contract = compile(text, ContractSource::Policy)
                    .map_err(|source| SchemaError { id: rule.id.clone(), source: source.into() })?;
                compiled.insert(rule.id.clone(), contract);
            }
        }
        Ok(Contracts { policy: compiled, requests: Mutex::default() })
    }

    /// The schemas that bind the answer to this request.
    pub fn bind(&self, policy: &Policy, facts: &Facts<'_>, from_request: Option<&str>) -> Result<Bound, BindError> {
        let mut bound = Bound::default();
        for rule in policy.schemas_for(facts)? {
            let Some((contract, digest)) = self.contract(rule, from_request)? else { continue };
            bound.bindings.push(Binding { id: rule.id.clone(), contract });
            bound.on_violation.insert(rule.id.clone(), rule.on_violation);
            bound.digests.push((rule.id.clone(), digest));
        }
        Ok(bound)
    }

    fn contract(
        &self,
        rule: &SchemaRule,
        from_request: Option<&str>,
    ) -> Result<Option<(Arc<Contract>, String)>, BindError> {
        match (&rule.source, from_request) {
            (SchemaSource::Policy { digest, .. }, _) => {
                Ok(self.policy.get(&rule.id).map(|contract| (Arc::clone(contract), digest.clone())))
            }
            // Tool parameters have been refused at the start.
            (SchemaSource::ToolParameters, _) | (SchemaSource::FromRequest, None) => Ok(None),
            (SchemaSource::FromRequest, Some(text)) => {
                let digest = blake3::hash(text.as_bytes());
                let cached = self.requests.lock().ok().and_then(|c| c.get(digest.as_bytes()).cloned());
                let contract = match cached {
                    Some(contract) => contract,
                    None => {
                        let contract = compile(text, ContractSource::ResponseFormat)?;
                        if let Ok(mut cache) = self.requests.lock() {
                            if cache.len() >= CACHED_MAX {
                                cache.clear();
                            }
                            cache.insert(*digest.as_bytes(), Arc::clone(&contract));
                        }
                        contract
                    }
                };
                Ok(Some((contract, digest.to_hex().to_string())))
            }
        }
    }
}

/// What a schema of the policy asks for and no exchange would do. It stops the start: nothing is ignored.
fn not_enforced(rule: &SchemaRule) -> Option<&'static str> {
    let asked = [
        (rule.format == SchemaFormat::Csv, "format: csv"),
        (rule.source == SchemaSource::ToolParameters, "schema: tool_parameters"),
        (rule.with_request, "and: from_request"),
        (rule.stream != StreamMode::Buffer, "stream"),
        (!rule.repair.is_none(), "repair"),
        (!rule.formats, "formats"),
        (rule.hold != HoldRule::default(), "hold"),
        (rule.choices != Choices::All, "choices"),
    ];
    asked.into_iter().find_map(|(is_asked, setting)| is_asked.then_some(setting))
}

fn compile(text: &str, source: ContractSource) -> Result<Arc<Contract>, ContractError> {
    let schema = serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    Contract::compile(&schema, None, source, &Limits::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_exchange_does_stops_the_start() {
        let refused = |schema: &str| {
            let text = format!("version: 1\nschemas: [{{id: a, {schema}}}]");
            let policy = Policy::parse(&text, "p.yaml", &|_| Ok("{}".to_owned())).unwrap();
            Contracts::new(&policy).err().map(|error| (error.source.code(), error.to_string()))
        };
        assert_eq!(refused("schema: from_request"), None);
        assert_eq!(refused("schema: a.json, formats: true, choices: all, stream: buffer"), None);
        for (schema, setting) in [
            ("schema: a.json, format: csv", "format: csv"),
            ("schema: tool_parameters", "schema: tool_parameters"),
            ("schema: a.json, and: from_request", "and: from_request"),
            ("schema: a.json, stream: verified", "stream"),
            ("schema: a.json, repair: {local: [fences]}", "repair"),
            ("schema: a.json, formats: false", "formats"),
            ("schema: a.json, hold: {bytes: 2048}", "hold"),
            ("schema: a.json, choices: each", "choices"),
        ] {
            let message = format!(
                "schema 'a' of the policy cannot be used: `{setting}` is not enforced by this version; remove it"
            );
            assert_eq!(refused(schema), Some(("unsupported", message)), "{schema}");
        }
    }
}
