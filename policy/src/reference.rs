//! `REFERENCE.md` is what this crate does: its example loads, and it names everything that there is.

use std::collections::BTreeSet;

use crate::expr::vocabulary;
use crate::{Action, AdviceCode, Code, Facts, FindingFacts, Phase, Policy, RequestFacts, ToolFacts};

const REFERENCE: &str = include_str!("../REFERENCE.md");

fn example() -> Policy {
    let (_, rest) = REFERENCE.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    Policy::parse(yaml, "example.yaml", &|path| {
        assert_eq!(path, "schemas/invoice.schema.json");
        Ok("{\"type\": \"object\"}".to_owned())
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_example_loads_without_advice() {
    // 2026-11-21.
    assert_eq!(example().lint(1_795_219_200), []);
}

#[test]
fn the_example_decides_as_it_reads() {
    let policy = example();
    let caller = policy.caller(Some("abc"));
    assert_eq!((&*caller.id, &*caller.tenant), ("checkout", "shop"));
    let request = RequestFacts { route: "/v1/chat/completions".to_owned(), ..RequestFacts::default() };
    let mut facts = Facts::new(&caller, &request, 1_795_219_200);
    assert_eq!(policy.schemas_for(&facts).unwrap().len(), 3);
    let args = serde_json::json!({ "amount": 501 });
    facts.tool = Some(ToolFacts { name: "refund", args: &args });
    assert_eq!(policy.decide(Phase::ToolCall, &facts).action, Action::Block);
    let args = serde_json::json!({ "amount": 500 });
    facts.tool = Some(ToolFacts { name: "refund", args: &args });
    assert_eq!(policy.decide(Phase::ToolCall, &facts).action, Action::Allow);
    let args = serde_json::json!({});
    facts.tool = Some(ToolFacts { name: "refund", args: &args });
    assert_eq!(policy.decide(Phase::ToolCall, &facts).action, Action::Block);
    let findings = [FindingFacts {
        detector: "secrets.aws".into(),
        class: "secret".into(),
        score_ppm: 800_000,
        channel: "content".into(),
        place: "/messages/0/content".into(),
        owasp: None,
        atlas: None,
    }];
    facts.findings = &findings;
    assert_eq!(policy.decide(Phase::Request, &facts).redact, [0]);
    // The key of `batch`, for which there is an exception until the new year.
    let batch = policy.caller(Some("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"));
    assert_eq!(&*batch.id, "batch");
    facts.caller = &batch;
    // 12:00 UTC, not at night.
    facts.now_unix_s += 12 * 3600;
    let decision = policy.decide(Phase::Request, &facts);
    assert_eq!(
        (decision.action, decision.exceptions_used.as_slice()),
        (Action::Allow, ["no-secrets-out".to_owned()].as_slice())
    );
}

#[test]
fn the_page_names_everything_that_there_is() {
    let mut names: BTreeSet<String> = vocabulary().into_iter().collect();
    let (sections, unsupported) = crate::load::vocabulary();
    names.extend(sections.into_iter().chain(unsupported).map(str::to_owned));
    names.extend(
        crate::threat::BUILT_IN
            .iter()
            .flat_map(|(class, owasp, atlas)| [*class, *owasp].into_iter().chain(*atlas).map(str::to_owned)),
    );
    names.extend(crate::REPAIR_CLASSES.map(str::to_owned));
    names.extend(crate::Coercion::ALL.map(|coercion| coercion.as_str().to_owned()));
    names.extend(CODES.map(|code| code.as_str().to_owned()));
    names.extend(ADVICE.map(|code| code.as_str().to_owned()));
    let words: BTreeSet<&str> = REFERENCE.split(|c: char| !(c.is_ascii_alphanumeric() || "_:.".contains(c))).collect();
    let parts: BTreeSet<&str> = words.iter().flat_map(|word| word.split('.')).collect();
    for name in names {
        assert!(words.contains(name.as_str()) || parts.contains(name.as_str()), "REFERENCE.md does not name {name}");
    }
}

#[test]
fn codes_are_spelt_alike_everywhere() {
    for code in CODES {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
    for code in ADVICE {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
}

const CODES: [Code; 15] = [
    Code::Unreadable,
    Code::TooLarge,
    Code::Yaml,
    Code::UnknownKey,
    Code::MissingKey,
    Code::Unsupported,
    Code::WrongType,
    Code::InvalidValue,
    Code::Duplicate,
    Code::Regex,
    Code::ExpressionSyntax,
    Code::ExpressionName,
    Code::ExpressionType,
    Code::ExpressionLimit,
    Code::SchemaFile,
];

const ADVICE: [AdviceCode; 12] = [
    AdviceCode::NoRules,
    AdviceCode::NeverFires,
    AdviceCode::AlwaysFires,
    AdviceCode::AllowChangesNothing,
    AdviceCode::DuplicateRule,
    AdviceCode::ShadowedRule,
    AdviceCode::UnknownClass,
    AdviceCode::UnusedPattern,
    AdviceCode::UnusedRepair,
    AdviceCode::UnknownRule,
    AdviceCode::ExpiredException,
    AdviceCode::ExpiringException,
];
