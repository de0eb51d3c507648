//! Schemas that bind an answer: the policy's, compiled at the start, and the request's own, compiled under hard limits
//! while the upstream is being called.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clyra_policy::{Action, Choices, EvalError, Facts, Policy, SchemaFormat, SchemaRule, SchemaSource, StreamMode};
use clyra_schemas::{
    Coercion, Contract, ContractError, ContractSource, CsvContract, CsvContractError, Limits, Mode, RepairClass,
    RepairPolicy,
};

use crate::guard::{Binding, Contracted, HoldLimit, JsonContract, Schema, Scope, TableContract, Terms, ToolSchemas};
use crate::surface::RequestFacts;

/// Request schemas kept compiled. An application has a handful, with its tools some hundred; the whole cache goes when a
/// client sends endless new ones.
const CACHED_MAX: usize = 1_024;

/// Text of request schemas that are kept compiled, which is what their compiled forms grow with.
const CACHED_BYTES_MAX: usize = 16 << 20;

/// Text of all schemas of one request. A thousand tools of two KiB each.
const REQUEST_SCHEMAS_BYTES_MAX: usize = 2 << 20;

/// What a client may ask to be held to. Size and number of values are as for the policy's own schemas, since providers
/// allow nearly as much; patterns and the work of checking a document are cheaper by a factor.
fn request_limits() -> Limits {
    Limits { pattern_bytes: 256 << 10, work: 20_000_000, ..Limits::default() }
}

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
    #[error(transparent)]
    Csv(#[from] CsvContractError),
}

impl Unusable {
    /// A stable name for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Contract(error) => error.code(),
            Self::Csv(error) => error.code(),
        }
    }
}

/// Why the schemas of an exchange could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("the schema in the request cannot be used: {0}")]
    Request(#[source] ContractError),
    #[error("the parameters of tool {position} in the request cannot be used as a schema: {source}")]
    Tool { position: usize, source: ContractError },
    #[error("the schemas in the request have more than {REQUEST_SCHEMAS_BYTES_MAX} bytes together")]
    TooLarge,
    #[error("the request has more tools than calls of tools can be checked for")]
    TooManyTools,
    #[error(transparent)]
    Match(#[from] EvalError),
}

/// What binds one answer.
#[derive(Debug, Default, Clone)]
pub struct Bound {
    pub bindings: Vec<Binding>,
    pub on_violation: BTreeMap<String, Action>,
}

/// What will bind one answer, once the request's own schemas have been compiled.
#[derive(Debug, Default)]
pub struct Plan {
    entries: Vec<Entry>,
    /// The schema that the request asks the answer to keep to.
    response: Option<String>,
    tools: Vec<String>,
    tool_schemas: Vec<(String, String)>,
    tools_left_out: bool,
}

#[derive(Debug)]
struct Entry {
    id: String,
    on_violation: Action,
    terms: Terms,
    formats: bool,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Policy(Schema),
    FromRequest,
    Tools,
}

/// Compiled schemas.
#[derive(Debug)]
pub struct Contracts {
    policy: BTreeMap<String, Schema>,
    requests: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    schemas: BTreeMap<[u8; 32], Schema>,
    bytes: usize,
}

impl Bound {
    /// The same for the second answer of a model that was asked again: nothing of it is mended, and there is no third.
    pub fn strict(mut self) -> Bound {
        for binding in &mut self.bindings {
            binding.terms.repair = RepairPolicy::NONE;
            binding.terms.ask_again = None;
            binding.terms.choices = 1;
        }
        self
    }
}

impl Bound {
    /// The same where nobody can be asked again.
    pub fn unasked(mut self) -> Bound {
        self.bindings.iter_mut().for_each(|binding| binding.terms.ask_again = None);
        self
    }
}

impl Contracts {
    /// Compiles every schema of the policy.
    pub fn new(policy: &Policy) -> Result<Contracts, SchemaError> {
        let mut compiled = BTreeMap::new();
        for rule in policy.schemas() {
            if let SchemaSource::Policy { text, digest } = &rule.source {
                let contract = of_policy(rule, text).map_err(|source| SchemaError { id: rule.id.clone(), source })?;
                compiled.insert(rule.id.clone(), Schema { digest: digest.clone(), contract });
            }
        }
        Ok(Contracts { policy: compiled, requests: Mutex::default() })
    }

    /// What will bind the answer to this request. `request` is absent where the request was not read, so that nobody knows
    /// what it asks for.
    pub fn plan(&self, policy: &Policy, facts: &Facts<'_>, request: Option<&RequestFacts>) -> Result<Plan, BindError> {
        let mut plan = Plan::default();
        for rule in policy.schemas_for(facts)? {
            plan.take(rule, self.policy.get(&rule.id), request);
        }
        if let Some(request) = request.filter(|_| plan.wants_request()) {
            plan.response.clone_from(&request.response_schema);
            plan.tools.clone_from(&request.tools);
            plan.tool_schemas.clone_from(&request.tool_schemas);
            plan.tools_left_out = request.tool_schemas_over > 0;
        }
        Ok(plan)
    }

    /// The contract for a schema of a request, compiled now unless it was before.
    fn of_request(&self, text: &str, source: ContractSource, formats: bool) -> Result<Schema, ContractError> {
        let digest = blake3::hash(text.as_bytes()).to_hex().to_string();
        // One text may be a schema of answers and one of arguments; the two are different contracts.
        let of = [source as u8, u8::from(formats)];
        let key = *blake3::Hasher::new().update(&of).update(text.as_bytes()).finalize().as_bytes();
        if let Some(known) = self.requests.lock().ok().and_then(|cache| cache.schemas.get(&key).cloned()) {
            return Ok(known);
        }
        let contract = compile(text, source, formats, &request_limits())?;
        let compiled = Schema { digest, contract: Arc::new(JsonContract(contract)) };
        if let Ok(mut cache) = self.requests.lock() {
            if cache.schemas.len() >= CACHED_MAX || cache.bytes + text.len() > CACHED_BYTES_MAX {
                *cache = Cache::default();
            }
            cache.bytes += text.len();
            cache.schemas.insert(key, compiled.clone());
        }
        Ok(compiled)
    }
}

impl Plan {
    fn take(&mut self, rule: &SchemaRule, compiled: Option<&Schema>, request: Option<&RequestFacts>) {
        let asked = request.and_then(|r| r.response_schema.as_ref()).map(|_| Source::FromRequest);
        let (source, also) = match &rule.source {
            SchemaSource::Policy { .. } => (compiled.cloned().map(Source::Policy), asked.filter(|_| rule.with_request)),
            SchemaSource::FromRequest => (asked, None),
            // What was not read may have offered any tool.
            SchemaSource::ToolParameters => (request.map(|_| Source::Tools), None),
        };
        let observes = rule.stream == StreamMode::Observe;
        for source in source.into_iter().chain(also) {
            self.entries.push(Entry {
                id: rule.id.clone(),
                on_violation: if observes { Action::Allow } else { rule.on_violation },
                terms: terms(rule, request.map_or(1, |r| r.choices)),
                formats: rule.formats,
                source,
            });
        }
    }

    /// True if something of the request is still to be compiled.
    pub fn wants_request(&self) -> bool {
        self.entries.iter().any(|entry| !matches!(entry.source, Source::Policy(_)))
    }

    /// True if the model may be asked again.
    pub fn may_ask(&self) -> bool {
        self.entries.iter().any(|entry| entry.terms.ask_again.is_some())
    }

    /// Compiles what is to be compiled: work for a thread that may block.
    pub fn compile(self, contracts: &Contracts) -> Result<Bound, BindError> {
        let bytes = self.tool_schemas.iter().map(|(_, text)| text.len()).chain(self.response.as_ref().map(String::len));
        if bytes.sum::<usize>() > REQUEST_SCHEMAS_BYTES_MAX {
            return Err(BindError::TooLarge);
        }
        let mut bound = Bound::default();
        let mut tools = BTreeMap::new();
        for entry in &self.entries {
            let scope = match &entry.source {
                Source::Policy(schema) => Scope::Content(schema.clone()),
                Source::FromRequest => {
                    let text = self.response.as_deref().unwrap_or_default();
                    let compiled = contracts.of_request(text, ContractSource::ResponseFormat, entry.formats);
                    Scope::Content(compiled.map_err(BindError::Request)?)
                }
                Source::Tools => {
                    let known = tools.get(&entry.formats).cloned();
                    let compiled = known.map_or_else(|| self.tools(contracts, entry.formats).map(Arc::new), Ok)?;
                    tools.insert(entry.formats, Arc::clone(&compiled));
                    Scope::Tools(compiled)
                }
            };
            bound.bindings.push(Binding { id: entry.id.clone(), scope, terms: entry.terms });
            bound.on_violation.insert(entry.id.clone(), entry.on_violation);
        }
        Ok(bound)
    }

    fn tools(&self, contracts: &Contracts, formats: bool) -> Result<ToolSchemas, BindError> {
        if self.tools_left_out {
            return Err(BindError::TooManyTools);
        }
        let mut by_name: BTreeMap<String, Vec<Schema>> =
            self.tools.iter().map(|name| (name.clone(), Vec::new())).collect();
        let mut all = blake3::Hasher::new();
        for (position, (name, text)) in self.tool_schemas.iter().enumerate() {
            let compiled = contracts
                .of_request(text, ContractSource::ToolParameters, formats)
                .map_err(|source| BindError::Tool { position, source })?;
            for part in [name.as_bytes(), text.as_bytes()] {
                all.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
            by_name.entry(name.clone()).or_default().push(compiled);
        }
        Ok(ToolSchemas { digest: all.finalize().to_hex().to_string(), by_name })
    }
}

fn of_policy(rule: &SchemaRule, text: &str) -> Result<Arc<dyn Contracted>, Unusable> {
    Ok(match rule.format {
        SchemaFormat::Json => {
            let contract = compile(text, ContractSource::Policy, rule.formats, &Limits::default())?;
            Arc::new(JsonContract(contract))
        }
        SchemaFormat::Csv => {
            let contract = serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
            Arc::new(TableContract(CsvContract::compile_with(&contract, rule.formats)?))
        }
    })
}

fn compile(text: &str, source: ContractSource, formats: bool, limits: &Limits) -> Result<Arc<Contract>, ContractError> {
    let schema = serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    Contract::compile_with(&schema, None, source, formats, limits)
}

/// The terms of a policy's entry in the words of the locks.
fn terms(rule: &SchemaRule, choices: u32) -> Terms {
    let mode = match rule.stream {
        StreamMode::Buffer => Mode::Buffer,
        StreamMode::Verified => Mode::Verified,
        StreamMode::Cutoff => Mode::Cutoff,
        StreamMode::Observe => Mode::Observe,
    };
    let repair = match mode {
        Mode::Observe => RepairPolicy::NONE,
        _ => {
            let classes = rule.repair.local.iter().filter_map(|name| RepairClass::named(name));
            let coercions = rule.repair.coerce.iter().filter_map(|coercion| Coercion::named(coercion.as_str()));
            RepairPolicy::of(classes).coercing(coercions)
        }
    };
    Terms {
        mode,
        repair,
        hold: HoldLimit { bytes: rule.hold.bytes as u64, time: Duration::from_millis(rule.hold.ms) },
        blocks: rule.on_violation == Action::Block && mode != Mode::Observe,
        // Calls are never asked for twice.
        ask_again: (rule.repair.ask_again > 0 && rule.source != SchemaSource::ToolParameters)
            .then(|| Duration::from_millis(rule.repair.ask_again_timeout_ms)),
        choices: if rule.choices == Choices::Each { choices.max(1) } else { 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(schema: &str) -> Policy {
        let text = format!("version: 1\nschemas: [{{id: a, {schema}}}]");
        Policy::parse(&text, "p.yaml", &|_| Ok("{}".to_owned())).unwrap()
    }

    fn bound(schema: &str, request: Option<&RequestFacts>) -> Result<Bound, BindError> {
        let policy = policy(schema);
        let contracts = Contracts::new(&policy).unwrap();
        let (caller, facts) = (policy.caller(None), clyra_policy::RequestFacts::default());
        contracts.plan(&policy, &Facts::new(&caller, &facts, 0), request).unwrap().compile(&contracts)
    }

    #[test]
    fn a_conjunction_is_two_schemas_of_one_entry() {
        let request = RequestFacts { response_schema: Some("true".into()), ..RequestFacts::default() };
        let ids = |schema: &str, request: Option<&RequestFacts>| -> Vec<String> {
            bound(schema, request).unwrap().bindings.into_iter().map(|b| b.id).collect()
        };
        assert_eq!(ids("schema: a.json, and: from_request", Some(&request)), ["a", "a"]);
        assert_eq!(ids("schema: a.json, and: from_request", Some(&RequestFacts::default())), ["a"]);
        assert_eq!(ids("schema: a.json", Some(&request)), ["a"]);
        assert_eq!(ids("schema: from_request", None), [""; 0]);
        assert_eq!(ids("schema: tool_parameters", None), [""; 0]);
    }

    #[test]
    fn schemas_of_a_request_are_bounded_and_told_by_their_place() {
        let tool = |schema: &str| ("secret-name".to_owned(), schema.to_owned());
        let request =
            |schemas: Vec<(String, String)>| RequestFacts { tool_schemas: schemas, ..RequestFacts::default() };
        let error = |request: &RequestFacts| bound("schema: tool_parameters", Some(request)).unwrap_err().to_string();
        let invalid = error(&request(vec![tool("true"), tool("{\"type\":1}")]));
        assert!(invalid.starts_with("the parameters of tool 1 ") && !invalid.contains("secret"), "{invalid}");
        let large = format!("{{\"description\":\"{}\"}}", "x".repeat(100 << 10));
        assert!(error(&request(vec![tool(&large); 30])).contains("bytes together"));
        let many = RequestFacts { tool_schemas_over: 1, ..RequestFacts::default() };
        assert!(error(&many).contains("more tools"));
        // The same tool twice: both schemas bind.
        let twice = bound("schema: tool_parameters", Some(&request(vec![tool("true"), tool("{}")]))).unwrap();
        let Scope::Tools(tools) = &twice.bindings[0].scope else { panic!() };
        assert_eq!(tools.by_name["secret-name"].len(), 2);
    }

    #[test]
    fn choices_end_alone_where_several_were_asked_for() {
        let asked = |choices: u32| RequestFacts { choices, ..RequestFacts::default() };
        let choices =
            |schema: &str, request: Option<&RequestFacts>| bound(schema, request).unwrap().bindings[0].terms.choices;
        assert_eq!(choices("schema: a.json, choices: each", Some(&asked(3))), 3);
        assert_eq!(choices("schema: a.json, choices: each", Some(&asked(0))), 1);
        assert_eq!(choices("schema: a.json, choices: each", None), 1);
        assert_eq!(choices("schema: a.json", Some(&asked(3))), 1);
        let strict = bound("schema: a.json, choices: each", Some(&asked(3))).unwrap().strict();
        assert_eq!(strict.bindings[0].terms.choices, 1);
    }

    #[test]
    fn observing_a_stream_blocks_nothing() {
        let bound = bound("schema: a.json, stream: observe, repair: {local: [fences]}", None).unwrap();
        assert_eq!(bound.on_violation["a"], Action::Allow);
        let terms = bound.bindings[0].terms;
        assert!(!terms.blocks && terms.repair.is_none() && terms.mode == Mode::Observe);
    }
}
