//! Schemas that bind an answer: the policy's, compiled at the start, and the request's own, compiled under hard limits
//! while the upstream is being called.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use clyra_policy::{Action, EvalError, Facts, Policy, SchemaRule, SchemaSource};
use clyra_schemas::{Contract, ContractError, ContractSource, Limits};

use crate::guard::Binding;

/// Request schemas kept compiled. An application has a handful; the whole cache goes when a client sends endless new ones.
const CACHED_MAX: usize = 256;

/// A policy schema that cannot be asserted.
#[derive(Debug, thiserror::Error)]
#[error("schema '{id}' of the policy cannot be used: {source}")]
pub struct SchemaError {
    pub id: String,
    pub source: ContractError,
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
            if let SchemaSource::Policy { text, .. } = &rule.source {
                let contract = compile(text, ContractSource::Policy)
                    .map_err(|source| SchemaError { id: rule.id.clone(), source })?;
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
            (SchemaSource::FromRequest, None) => Ok(None),
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

fn compile(text: &str, source: ContractSource) -> Result<Arc<Contract>, ContractError> {
    let schema = serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    Contract::compile(&schema, None, source, &Limits::default())
}
