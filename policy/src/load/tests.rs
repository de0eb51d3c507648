use std::fs;

use proptest::prelude::*;

use crate::diagnostic::Code;
use crate::model::{Action, BlockStyle, BodyStorage, Matcher, Mode, OnFailure, Phase, SchemaSource, UnknownSurface};
use crate::{Policy, PolicyError, packs};

fn no_files(_: &str) -> Result<String, String> {
    Err("there are no files here".to_owned())
}

pub(super) fn parse(body: &str) -> Result<Policy, PolicyError> {
    Policy::parse(&format!("version: 1\n{body}"), "policy.yaml", &no_files)
}

pub(super) fn accepted(body: &str) -> Policy {
    parse(body).unwrap_or_else(|error| panic!("{body}\n{error}"))
}

/// The problems as `line:column code message`.
pub(super) fn problems(body: &str) -> Vec<String> {
    match parse(body) {
        Ok(_) => panic!("accepted: {body}"),
        Err(error) => {
            error.diagnostics().iter().map(|d| format!("{}:{} {} {}", d.line, d.column, d.code, d.message)).collect()
        }
    }
}

#[test]
fn what_this_version_does_not_enforce_is_refused() {
    let remove = |name: &str| format!("`{name}` is not supported by this version; remove it");
    for section in ["include", "upstreams_allowed", "budgets", "shadow", "prices", "tests", "require_tests", "paranoia"]
    {
        assert_eq!(problems(&format!("{section}: []")), [format!("2:1 unsupported {}", remove(section))]);
    }
    for key in ["hold", "route", "tag", "add_score", "score", "paranoia", "level", "severity"] {
        assert_eq!(
            problems(&format!("rules: [{{id: a, phase: request, action: block, {key}: 1}}]")),
            [format!("2:48 unsupported {}", remove(key))]
        );
    }
    for action in ["hold", "route", "tag"] {
        assert_eq!(
            problems(&format!("rules: [{{id: a, phase: request, action: {action}}}]")),
            [format!(
                "2:41 unsupported `{action}` is not supported by this version; write `allow`, `redact` or `block`"
            )]
        );
    }
    for (setting, value, instead) in
        [("body_storage", "redacted", "`none` or `hmac`"), ("body_storage", "full", "`none` or `hmac`")]
    {
        let column = setting.len() + 14;
        assert_eq!(
            problems(&format!("defaults: {{{setting}: {value}}}")),
            [format!("2:{column} unsupported `{value}` is not supported by this version; write {instead}")]
        );
    }
    for key in ["entities", "locale", "extra"] {
        assert_eq!(
            problems(&format!("detectors: {{pii: {{{key}: [x]}}}}")),
            [format!("2:19 unsupported {}", remove(key))]
        );
    }
    assert_eq!(
        problems("callers: [{id: a, match: {mtls_san: x}}]"),
        [
            "2:26 missing_key `api_key_sha256` is missing here".to_owned(),
            format!("2:27 unsupported {}", remove("mtls_san")),
        ]
    );
    assert_eq!(
        problems("rules: [{id: a, phase: request, action: block, when: budget.left < 1 || session.turns > 3}]"),
        [format!("2:54 unsupported {}", remove("budget")), format!("2:73 unsupported {}", remove("session")),]
    );
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    for (body, expected) in [
        ("rule: []", "2:1 unknown_key unknown key `rule`; did you mean `rules`?"),
        (
            "defaults: {colour: red}",
            "2:12 unknown_key unknown key `colour`; what may stand here: unknown_surface, on_error, on_timeout, budget_ms, stream, block_style, body_storage, stored_state",
        ),
        ("mode: enforcing", "2:7 invalid_value unknown value `enforcing`; write `enforce` or `observe`"),
        ("mode: [enforce]", "2:7 wrong_type text is expected, not a list"),
        ("mode: enforce\nmode: observe", "3:1 duplicate the key `mode` stands in this map twice"),
        ("rules:", "2:6 wrong_type a list is expected and there is nothing; write [] or remove the key"),
        ("rules: {}", "2:8 wrong_type a list is expected, not a map"),
        ("rules: [{id: a, phase: request}]", "2:9 missing_key `action` is missing here"),
        (
            "rules: [{id: a, phase: requests, action: block}]",
            "2:24 invalid_value unknown value `requests`; write `request`, `tool_call`, `tool_result` or `response`",
        ),
        (
            "rules: [{id: No Secrets, phase: request, action: block}]",
            "2:14 invalid_value `No Secrets` is not a valid name; use 1 to 64 of a-z, 0-9, `_`, `.` and `-`",
        ),
        (
            "rules: [{id: a, phase: request, action: block}, {id: a, phase: response, action: block}]",
            "2:54 duplicate another rule above has the id `a`",
        ),
        (
            "rules: [{id: a, phase: request, action: block, when: {a: b}}]",
            "2:54 wrong_type an expression is expected, not a map; write it as text",
        ),
        ("rules: [{id: a, phase: request, action: block, when: ''}]", "2:54 expression_limit the expression is empty"),
        (
            "rules:\n  - id: a\n    phase: request\n    action: block\n    when: finding.exists(f, f.class == 'x')",
            "6:11 expression_name `finding` is not declared; did you mean `findings`?",
        ),
        (
            "rules:\n  - id: a\n    phase: request\n    action: block\n    when: \"findings.exists(f, f.clas == 'x')\"",
            "6:33 expression_name `finding` has no member `clas`; did you mean `class`?",
        ),
        (
            "rules:\n  - id: a\n    phase: request\n    action: block\n    when: >\n      findings.exists(f,\n        f.clas == 'x')",
            "7:7 expression_name `finding` has no member `clas`; did you mean `class`? (at character 24 of the expression)",
        ),
        (
            "rules: [{id: a, phase: request, action: block, threat: LLM06}]",
            "2:56 invalid_value `LLM06` has no year, and OWASP renumbers its lists; write `LLM06:2026`",
        ),
        (
            "rules: [{id: a, phase: request, action: block, reason: 12}]",
            "2:56 wrong_type text is expected, not a whole number; put it in quotes",
        ),
        (
            "rules: [{id: a, phase: request, action: block, reason: \"a\\nb\"}]",
            "2:56 invalid_value the text has line breaks or control characters; write one line",
        ),
        ("rules: [{id: a, phase: request, action: block, reason: ' '}]", "2:56 invalid_value the text is empty"),
        ("defaults: {budget_ms: {request: 0}}", "2:33 invalid_value 0 is out of range; it must be from 1 to 60000"),
        ("defaults: {budget_ms: {request: 1.5}}", "2:33 wrong_type a whole number is expected, not a number"),
        ("metadata: {revision: -1}", "2:22 invalid_value -1 is out of range; it must be from 0 to 9007199254740991"),
        ("detectors: {pii: {threshold: 1.5}}", "2:30 invalid_value the number must be from 0 to 1"),
        ("detectors: {pii: {threshold: 0.1234567}}", "2:30 invalid_value the number has more than six decimals"),
        ("detectors: {pii: {enabled: yes}}", "2:28 wrong_type true or false is expected, not text"),
        (
            "detectors: {PII: {enabled: true}}",
            "2:13 invalid_value `PII` is not a valid name; use 1 to 64 of a-z, 0-9, `_`, `.` and `-`",
        ),
        (
            "detectors: {patterns.a: {enabled: false}}",
            "2:13 invalid_value a pattern has no settings; change or remove its entry in `patterns`",
        ),
        (
            "detectors: {patterns: [{id: a, regex: '[^\\s\\S]', class: c}]}",
            "2:39 regex the regular expression can never match",
        ),
        (
            "detectors: {patterns: [{id: a, literal: x, regex: y, class: c}]}",
            "2:24 invalid_value a pattern has either a `literal` or a `regex`",
        ),
        ("detectors: {patterns: [{id: a, literal: '', class: c}]}", "2:41 invalid_value the pattern is empty"),
        (
            "detectors: {patterns: [{id: a, literal: 1234, class: c}]}",
            "2:41 wrong_type text is expected, not a whole number; put it in quotes",
        ),
        (
            "detectors: {patterns: [{id: a, regex: 'x(', class: c}]}",
            "2:39 regex the regular expression is malformed at its byte 1: unclosed group",
        ),
        (
            "detectors: {patterns: [{id: a, regex: 'x*', class: c}]}",
            "2:39 regex the regular expression matches the empty text, so it would match everywhere",
        ),
        (
            "detectors: {patterns: [{id: a, regex: '(\\w{500}){500}', class: c}]}",
            "2:39 regex the regular expression is too big when compiled; use smaller repetitions",
        ),
        (
            "detectors: {patterns: [{id: a, literal: x, class: c}, {id: a, literal: y, class: c}]}",
            "2:60 duplicate another pattern above has the id `a`",
        ),
        (
            "callers: [{id: a, match: {api_key_sha256: abc}}]",
            "2:43 invalid_value the SHA-256 of a key is 64 hex digits, as printed by `printf %s \"$KEY\" | sha256sum`",
        ),
        (
            "schemas: [{id: a, schema: ../a.json}]",
            "2:27 schema_file ../a.json: the path must be below the policy's directory, without `..`, like schemas/invoice.schema.json",
        ),
        ("schemas: [{id: a, schema: a.json}]", "2:27 schema_file a.json: there are no files here"),
        (
            "schemas: [{id: a, schema: from_request, on_violation: redact}]",
            "2:55 unsupported `redact` is not supported by this version; write `block` or `allow`",
        ),
        (
            "schemas: [{id: a, schema: from_request}, {id: a, schema: from_request}]",
            "2:47 duplicate another schema above has the id `a`",
        ),
        (
            "exceptions: [{rule: a, match: true, owner: o, reason: r, expires: 2027-02-30}]",
            "2:67 invalid_value `2027-02-30` is not a date; write one like 2027-01-31",
        ),
        ("exceptions: [{rule: a, match: true, owner: o, reason: r}]", "2:14 missing_key `expires` is missing here"),
        (
            "exceptions: [{rule: a, owner: o, reason: r, expires: 2027-01-31}]",
            "2:14 missing_key `match` is missing here",
        ),
        ("threat_map: {secret: {}}", "2:22 missing_key `owasp` or `atlas` is missing here"),
        (
            "threat_map: {secret: {owasp: LLM02}}",
            "2:30 invalid_value `LLM02` has no year, and OWASP renumbers its lists; write `LLM02:2026`",
        ),
        (
            "threat_map: {secret: {atlas: T0051}}",
            "2:30 invalid_value `T0051` is not an ATLAS technique; write one like `AML.T0051` or `AML.T0051.001`",
        ),
        ("---\nmode: enforce", "3:1 yaml a second YAML document starts here; a policy is one document"),
    ] {
        assert_eq!(problems(body), [expected], "{body}");
    }
}

#[test]
fn the_version_is_required_and_is_1() {
    let error = Policy::parse("mode: observe\n", "p.yaml", &no_files).unwrap_err();
    assert_eq!(error.code(), Code::MissingKey);
    for version in ["2", "\"1\"", "1.0", "~"] {
        let text = format!("version: {version}\n");
        let error = Policy::parse(&text, "p.yaml", &no_files).unwrap_err();
        let first = &error.diagnostics()[0];
        assert_eq!(first.message, "this version reads policies of `version: 1` only");
    }
    let error = Policy::parse("", "p.yaml", &no_files).unwrap_err();
    assert!(error.to_string().contains("a map is expected"), "{error}");
    let error = Policy::parse(&"#".repeat(1 << 20 | 1), "p.yaml", &no_files).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
}

#[test]
fn an_error_shows_the_line_and_all_mistakes_are_reported_at_once() {
    let error =
        parse("mode: enforcing\nrules:\n  - id: a\n    phase: request\n    action: hold\n    whn: true\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "policy.yaml:2:7: unknown value `enforcing`; write `enforce` or `observe` [invalid_value]\n   |\n 2 | mode: enforcing\n   |       ^\n\
         policy.yaml:6:13: `hold` is not supported by this version; write `allow`, `redact` or `block` [unsupported]\n   |\n 6 |     action: hold\n   |             ^\n\
         policy.yaml:7:5: unknown key `whn`; did you mean `when`? [unknown_key]\n   |\n 7 |     whn: true\n   |     ^"
    );
    assert_eq!(error.code(), Code::InvalidValue);
    let paths: Vec<&str> = error.diagnostics().iter().map(|d| d.path.as_str()).collect();
    assert_eq!(paths, ["mode", "rules[0].action", "rules[0].whn"]);
    let json = serde_json::to_value(error.diagnostics()).unwrap();
    assert_eq!(json[1]["code"], "unsupported");
    assert_eq!(json[1]["line"], 6);
    assert_eq!(json[1]["snippet"], "    action: hold");
}

#[test]
fn a_flood_of_mistakes_is_cut() {
    let rules = "  - {id: A, phase: x, action: y}\n".repeat(100);
    let error = parse(&format!("rules:\n{rules}")).unwrap_err();
    assert_eq!(error.diagnostics().len(), crate::DIAGNOSTICS_MAX);
}

#[test]
fn a_message_repeats_little_of_the_file_and_nothing_that_a_terminal_obeys() {
    let error = parse(&format!("mode: \"\\e[2J{}\"", "x".repeat(10_000))).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\u{1b}') && text.len() < 500, "{text:?}");
    let error = parse(&format!("{}: 1", "y".repeat(1000))).unwrap_err();
    assert!(error.to_string().len() < 700, "{error}");
    let error = parse("? \"\\e[2J\"\n: 1\n").unwrap_err();
    assert!(!error.to_string().contains('\u{1b}'));
    assert!(!error.diagnostics()[0].path.contains('\u{1b}'));
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let policy = accepted("");
    assert_eq!(policy.mode(), Mode::Enforce);
    let defaults = policy.defaults();
    assert_eq!(defaults.unknown_surface, UnknownSurface::Block);
    assert_eq!(defaults.on_error, OnFailure::Block);
    assert_eq!(defaults.on_timeout, OnFailure::Block);
    assert_eq!(defaults.request_budget_ms, 250);
    assert_eq!(defaults.response_event_budget_ms, 50);
    assert_eq!(defaults.body_storage, BodyStorage::Hmac);
    assert_eq!(policy.detector("anything").threshold_ppm, 500_000);
    assert!(policy.detector("anything").enabled);
    assert!(!policy.has_rules(Phase::Request));
    let spelled_out = accepted(
        "mode: enforce\nmetadata: {}\ndefaults:\n  unknown_surface: block\n  on_error: block\n  on_timeout: block\n  \
         budget_ms: { request: 250, response_event: 50 }\n  stream: buffer\n  block_style: error\n  body_storage: hmac\n\
         callers: []\ndetectors: { patterns: [], pii: { enabled: true, threshold: 0.5 }, pii.email: { threshold: 0.50 } }\nschemas: []\nrules: []\nexceptions: []\nthreat_map: {}\n",
    );
    assert_eq!(policy.hash(), spelled_out.hash());
}

#[test]
fn settings_are_read() {
    let policy = accepted(
        "mode: observe\nmetadata: { name: n, owner: o, revision: 12 }\n\
         defaults: { unknown_surface: bypass, on_error: allow, on_timeout: allow, budget_ms: { response_event: 2 }, block_style: refusal, body_storage: none }\n\
         detectors:\n  secrets: { threshold: 0.8 }\n  secrets.aws: { enabled: false }\n  patterns:\n\
         \x20   - { id: codename, literal: \"Project Nightjar\", class: restricted }\n\
         \x20   - { id: ticket, regex: 'INC-[0-9]{6}', class: internal_id, score: 0.7 }\n\
         threat_map: { internal_id: { owasp: LLM02:2026 }, secret: { atlas: AML.T0024 } }\n",
    );
    assert_eq!(policy.metadata().revision, Some(12));
    assert_eq!(policy.defaults().on_timeout, OnFailure::Allow);
    assert_eq!(policy.defaults().request_budget_ms, 250);
    assert_eq!(policy.defaults().response_event_budget_ms, 2);
    assert_eq!(policy.defaults().block_style, BlockStyle::Refusal);
    assert_ne!(accepted("defaults: { block_style: refusal }").hash(), accepted("").hash());
    let [codename, ticket] = policy.patterns() else { panic!("two patterns expected") };
    assert_eq!(codename.matcher, Matcher::Literal("Project Nightjar".to_owned()));
    assert_eq!((codename.score_ppm, ticket.score_ppm), (1_000_000, 700_000));
    assert_eq!(ticket.matcher, Matcher::Regex("INC-[0-9]{6}".to_owned()));
    assert_eq!(policy.detector("secrets").threshold_ppm, 800_000);
    assert_eq!(policy.detector("secrets.github").threshold_ppm, 800_000);
    assert!(!policy.detector("secrets.aws").enabled);
    assert!(!policy.detector("secrets.aws.session").enabled);
    assert_eq!(policy.detector("secretsx").threshold_ppm, 500_000);
    assert_eq!(policy.configured_detectors().count(), 2);
    assert_eq!(policy.threat("internal_id").owasp.as_deref(), Some("LLM02:2026"));
    // An entry replaces the built-in one as a whole.
    assert_eq!(policy.threat("secret").owasp, None);
    assert_eq!(policy.threat("secret").atlas.as_deref(), Some("AML.T0024"));
    assert_eq!(policy.threat("jailbreak").owasp.as_deref(), Some("LLM01:2026"));
    assert_eq!(policy.threat("unheard_of"), crate::Threat::default());
}

#[test]
fn callers_are_known_by_their_keys() {
    let digest = |key: &str| {
        use sha2::{Digest, Sha256};
        crate::canonical::hex(&Sha256::digest(key.as_bytes()))
    };
    let policy = accepted(&format!(
        "callers:\n  - {{ id: checkout, tenant: shop, match: {{ api_key_sha256: \"{}\" }} }}\n  - {{ id: checkout, tenant: shop, match: {{ api_key_sha256: \"{}\" }} }}\n  - {{ id: batch, match: {{ api_key_sha256: \"{}\" }} }}\n",
        digest("key-one"),
        digest("key-two").to_uppercase(),
        digest("key-three"),
    ));
    for (key, id, tenant) in [
        (Some("key-one"), "checkout", "shop"),
        (Some("key-two"), "checkout", "shop"),
        (Some("key-three"), "batch", ""),
        (Some("key-on"), "anonymous", ""),
        (Some(""), "anonymous", ""),
        (None, "anonymous", ""),
    ] {
        let caller = policy.caller(key);
        assert_eq!((&*caller.id, &*caller.tenant), (id, tenant), "{key:?}");
    }
    let entry = |id: &str, tenant: &str, key: &str| {
        let digest = digest(key);
        format!("  - {{ id: {id}, tenant: {tenant}, match: {{ api_key_sha256: \"{digest}\" }} }}\n")
    };
    for (second, code, part) in [
        (entry("b", "t", "k1"), Code::Duplicate, "never match"),
        (entry("a", "other", "k2"), Code::Duplicate, "another tenant"),
        (entry("anonymous", "t", "k2"), Code::InvalidValue, "no entry recognises"),
    ] {
        let error = parse(&format!("callers:\n{}{second}", entry("a", "t", "k1"))).unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(part), "{error}");
    }
}

fn with_schema(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(
        "version: 1\nschemas: [{id: a, match: caller.id == \"x\", schema: dir/a.json, on_violation: allow}]\n",
        "policy.yaml",
        &|path| {
            assert_eq!(path, "dir/a.json");
            Ok(text.to_owned())
        },
    )
}

#[test]
fn schemas_come_from_files_or_from_the_request() {
    let text = "{ \"type\": \"object\" }";
    let policy = with_schema(text).unwrap();
    let schema = policy.schemas().next().unwrap();
    assert_eq!(schema.on_violation, Action::Allow);
    let SchemaSource::Policy { text: kept, digest } = &schema.source else { panic!("a schema file expected") };
    assert_eq!((kept.as_str(), digest.len()), (text, 64));
    let policy = accepted("schemas: [{id: a, schema: from_request}]");
    let schema = policy.schemas().next().unwrap();
    assert_eq!(schema.source, SchemaSource::FromRequest);
    assert_eq!(schema.on_violation, Action::Block);
}

#[test]
fn a_schema_file_is_json_with_each_key_once() {
    for (text, part) in [
        ("{", "EOF while parsing"),
        ("{\"a\": 1, \"a\": 2}", "duplicate key `a`"),
        ("{\"a\": [{\"b\": 1, \"b\": 2}]}", "duplicate key `b`"),
        ("{} {}", "trailing characters"),
        ("[]", "an object, true or false"),
        ("\u{feff}{}", "expected value"),
        ("{\"a\": 1e999}", "out of range"),
    ] {
        let error = with_schema(text).unwrap_err();
        assert_eq!(error.code(), Code::SchemaFile);
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(with_schema(&format!("{{\"a\": {deep}}}")).is_err());
    assert!(with_schema(&format!("{{\"a\": \"{}\"}}", "x".repeat(1 << 20))).is_err());
}

#[test]
fn the_meaning_of_a_schema_is_in_the_hash_and_its_layout_is_not() {
    let hash = |text: &str| with_schema(text).unwrap().hash().to_owned();
    let digest = |text: &str| match &with_schema(text).unwrap().schemas().next().unwrap().source {
        SchemaSource::Policy { digest, .. } => digest.clone(),
        other => panic!("a schema file expected, not {other:?}"),
    };
    for function in [&hash as &dyn Fn(&str) -> String, &digest] {
        assert_eq!(function("{\"a\":1,\"b\":[1,2]}"), function("{ \"b\": [1, 2],\n \"a\": 1.0 }"));
        assert_ne!(function("{\"a\":1}"), function("{\"a\":2}"));
        assert_ne!(function("{\"a\":[1,2]}"), function("{\"a\":[2,1]}"));
        // Equal once rounded to doubles, as RFC 8785 does.
        assert_ne!(function("{\"maximum\":9007199254740993}"), function("{\"maximum\":9007199254740992}"));
    }
}

#[test]
fn files_are_read_below_the_policy_only() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.json"), "{}").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join("..data/schemas")).unwrap();
    fs::write(root.join("..data/a.json"), "{\"type\":\"object\"}").unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    std::os::unix::fs::symlink(root.join("..data/a.json"), root.join("linked.json")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.json"), root.join("out.json")).unwrap();
    let load = |path: &str| {
        let file = root.join("policy.yaml");
        let text = format!("version: 1\nschemas: [{{id: a, schema: \"{path}\"}}]\n");
        fs::write(&file, text).unwrap();
        Policy::load(&file)
    };
    assert!(load("linked.json").is_ok());
    let absolute = outside.path().join("secret.json");
    for (path, part) in [
        ("out.json", "outside the policy's directory"),
        ("missing.json", "cannot be read"),
        ("dir", "not a regular file"),
        (absolute.to_str().unwrap(), "must be below"),
        ("dir/../../x.json", "must be below"),
        ("./linked.json", "must be below"),
        ("dir//x.json", "must be below"),
        ("C:x.json", "must be below"),
    ] {
        let error = load(path).unwrap_err();
        assert_eq!(error.code(), Code::SchemaFile);
        assert!(error.to_string().contains(part), "{path}: {error}");
    }
    let error = Policy::load(&root.join("absent.yaml")).unwrap_err();
    assert_eq!(error.code(), Code::Unreadable);
    assert!(error.to_string().contains("absent.yaml: the file cannot be read"), "{error}");
    let error = Policy::load(root).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    fs::write(root.join("latin.yaml"), b"version: 1 # \xe9\n").unwrap();
    let error = Policy::load(&root.join("latin.yaml")).unwrap_err();
    assert!(error.to_string().contains("not UTF-8: byte 13"), "{error}");
    fs::write(root.join("big.yaml"), " ".repeat((1 << 20) + 1)).unwrap();
    let error = Policy::load(&root.join("big.yaml")).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
}

#[test]
fn the_packs_load_without_advice() {
    for (name, text) in [("observe", packs::OBSERVE), ("baseline", packs::BASELINE)] {
        let policy = Policy::parse(text, name, &no_files).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(policy.lint(0), [], "{name}");
    }
    let observe = Policy::parse(packs::OBSERVE, "observe.yaml", &no_files).unwrap();
    assert_eq!(observe.canonical(), Policy::observe().canonical());
    assert_eq!(observe.mode(), Mode::Observe);
    assert_eq!(observe.defaults().unknown_surface, UnknownSurface::Bypass);
}

#[test]
fn the_canonical_form_is_pinned() {
    // If this fails, every policy's hash has changed: then `version` in the canonical form must change as well.
    assert_eq!(
        Policy::observe().canonical(),
        "{\"callers\":[],\"defaults\":{\"block_style\":\"error\",\"body_storage\":\"hmac\",\"budget_ms\":{\"request\":250,\"response_event\":50},\
         \"on_error\":\"block\",\"on_timeout\":\"block\",\"stream\":\"buffer\",\"unknown_surface\":\"bypass\"},\
         \"detectors\":{\"patterns\":[],\"settings\":{},\"versions\":{}},\"exceptions\":[],\
         \"metadata\":{\"name\":\"observe\",\"owner\":null,\"revision\":null},\"mode\":\"observe\",\"rules\":[],\"schemas\":[],\
         \"threat_map\":{\"exfiltration\":{\"atlas\":\"AML.T0086\",\"owasp\":\"LLM02:2026\"},\
         \"indirect_injection\":{\"atlas\":\"AML.T0051.001\",\"owasp\":\"LLM01:2026\"},\
         \"jailbreak\":{\"atlas\":\"AML.T0054\",\"owasp\":\"LLM01:2026\"},\
         \"pii\":{\"atlas\":\"AML.T0057\",\"owasp\":\"LLM02:2026\"},\
         \"prompt_injection\":{\"atlas\":\"AML.T0051\",\"owasp\":\"LLM01:2026\"},\
         \"restricted\":{\"atlas\":\"AML.T0057\",\"owasp\":\"LLM02:2026\"},\
         \"schema_violation\":{\"atlas\":null,\"owasp\":\"LLM10:2026\"},\
         \"secret\":{\"atlas\":\"AML.T0057\",\"owasp\":\"LLM02:2026\"},\
         \"system_prompt_leak\":{\"atlas\":\"AML.T0056\",\"owasp\":\"LLM08:2026\"},\
         \"tool_abuse\":{\"atlas\":\"AML.T0053\",\"owasp\":\"LLM03:2026\"}},\"version\":1}"
    );
}

#[test]
fn detector_versions_are_in_the_hash() {
    let plain = Policy::observe();
    let versions = |version: &str| [("secrets".to_owned(), version.to_owned())].into();
    let first = Policy::observe().with_detectors(&versions("1"));
    let second = Policy::observe().with_detectors(&versions("2"));
    assert_ne!(plain.hash(), first.hash());
    assert_ne!(first.hash(), second.hash());
    assert_eq!(first.hash(), Policy::observe().with_detectors(&versions("1")).hash());
    assert_eq!(first.hash().len(), 64);
}

/// One policy as (path of maps, key, value) lines, so that it can be written in any order.
#[derive(Debug, Clone)]
struct Sketch {
    sections: Vec<(&'static str, String)>,
    rules: Vec<Vec<(&'static str, String)>>,
}

impl Sketch {
    fn arbitrary() -> impl Strategy<Value = Self> {
        let rule = (
            "[a-z][a-z0-9_.-]{0,10}",
            0..4_usize,
            prop_oneof![
                Just("findings.exists(f, f.class == \"secret\")"),
                Just("request.model == \"m\""),
                Just("true"),
            ],
            0..3_usize,
            "[A-Za-z ]{1,20}[a-z]",
        )
            .prop_map(|(id, phase, when, action, reason)| {
                vec![
                    ("id", format!("\"{id}\"")),
                    ("phase", Phase::ALL[phase].as_str().to_owned()),
                    ("when", format!("'{when}'")),
                    ("action", ["allow", "redact", "block"][action].to_owned()),
                    ("reason", format!("\"{reason}\"")),
                ]
            });
        (
            proptest::collection::vec(rule, 1..5),
            prop_oneof![Just("enforce"), Just("observe")],
            1..1000_u32,
            0..=1_000_000_u32,
        )
            .prop_map(|(mut rules, mode, budget, threshold)| {
                rules.sort_by(|a, b| a[0].cmp(&b[0]));
                rules.dedup_by(|a, b| a[0] == b[0]);
                let threshold = f64::from(threshold) / 1e6;
                Self {
                    sections: vec![
                        ("version", "1".to_owned()),
                        ("mode", mode.to_owned()),
                        ("metadata", "{ name: n, owner: o, revision: 3 }".to_owned()),
                        ("defaults", format!("{{ budget_ms: {{ request: {budget} }}, on_error: allow }}")),
                        ("detectors", format!("{{ pii: {{ threshold: {threshold} }} }}")),
                        ("threat_map", "{ pii: { owasp: LLM02:2026, atlas: AML.T0057 } }".to_owned()),
                    ],
                    rules,
                }
            })
    }

    /// As YAML, with keys rotated and comments and blank lines thrown in.
    fn write(&self, rotation: usize, noise: bool) -> String {
        let comment = if noise { "  # a comment\n\n" } else { "\n" };
        let mut sections: Vec<String> =
            self.sections.iter().map(|(key, value)| format!("{key}: {value}{comment}")).collect();
        let mut rules = String::from("rules:\n");
        for rule in &self.rules {
            let mut keys = rule.clone();
            keys.rotate_left(rotation % rule.len());
            for (index, (key, value)) in keys.iter().enumerate() {
                let dash = if index == 0 { "  - " } else { "    " };
                rules.push_str(&format!("{dash}{key}: {value}{comment}"));
            }
        }
        sections.push(rules);
        let count = sections.len();
        sections.rotate_left(rotation % count);
        sections.concat()
    }

    fn hash(&self) -> String {
        hash_of(&self.write(0, false))
    }
}

fn hash_of(text: &str) -> String {
    Policy::parse(text, "p", &no_files).unwrap_or_else(|error| panic!("{text}\n{error}")).hash().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Order of keys, comments and blank lines mean nothing.
    #[test]
    fn the_hash_is_of_the_meaning(sketch in Sketch::arbitrary(), rotation in 0..12_usize) {
        prop_assert_eq!(sketch.hash(), hash_of(&sketch.write(rotation, true)));
    }

    /// Any change of any rule is another hash.
    #[test]
    fn the_hash_follows_every_change(sketch in Sketch::arbitrary(), at in any::<prop::sample::Index>()) {
        let before = sketch.hash();
        let at = at.index(sketch.rules.len());
        for (field, value) in [
            (0, "\"another-id\""),
            (1, if sketch.rules[at][1].1 == "request" { "response" } else { "request" }),
            (2, "'request.model == \"another\"'"),
            (3, if sketch.rules[at][3].1 == "block" { "redact" } else { "block" }),
            (4, "\"another reason 1\""),
        ] {
            let mut changed = sketch.clone();
            changed.rules[at][field].1 = value.to_owned();
            prop_assert_ne!(&before, &changed.hash(), "{}", changed.write(0, false));
        }
        let mut fewer = sketch.clone();
        fewer.rules.remove(at);
        if fewer.rules.is_empty() {
            fewer.rules.push(vec![("id", "z1".to_owned()), ("phase", "request".to_owned()), ("action", "block".to_owned())]);
        }
        prop_assert_ne!(&before, &fewer.hash());
        for section in 1..sketch.sections.len() {
            let mut fewer = sketch.clone();
            let (key, value) = fewer.sections.remove(section);
            if key == "mode" && value == "enforce" {
                continue;
            }
            // Writing a default out is no change of meaning.
            if fewer.hash() == before {
                prop_assert!(value.contains("threshold: 0.5 ") || key == "threat_map", "{}", key);
            }
        }
    }

    /// No input makes the loader panic.
    #[test]
    fn any_text_loads_or_is_refused(text in "[-a-z0-9:{}\\[\\], \n#'\"&*!|>?%@`~]{0,200}") {
        let _ = Policy::parse(&text, "p", &no_files);
        let _ = Policy::parse(&format!("version: 1\nrules: {text}"), "p", &no_files);
        let _ = Policy::parse(&format!("version: 1\n{text}"), "p", &no_files);
    }
}
