use proptest::prelude::*;
use serde_json::{Value, json};

use super::declare::VARIABLES;
use super::*;
use crate::diagnostic::Report;
use crate::facts::{Facts, FindingFacts, MessageFacts, RequestFacts, ResponseFacts, SchemaFacts, ToolFacts};
use crate::model::{Caller, Phase};
use crate::yaml::Mark;

fn compile(text: &str, scope: Scope) -> Result<Program, String> {
    let mut report = Report::new("test", text);
    let mut compiler = Compiler::default();
    let Some(id) = compiler.add(text, scope, Mark::default(), "when", &mut report) else {
        return Err(report.into_error().to_string());
    };
    let mut programs = compiler.compile(&mut report);
    match programs.take(id) {
        Some(program) => {
            assert!(report.is_clean());
            Ok(program)
        }
        None => Err(report.into_error().diagnostics()[0].message.clone()),
    }
}

fn refusal(text: &str, phase: Phase) -> String {
    match compile(text, Scope::Rule(phase)) {
        Ok(_) => panic!("accepted: {text}"),
        Err(message) => message,
    }
}

struct World {
    caller: Caller,
    request: RequestFacts,
    findings: Vec<FindingFacts<'static>>,
    args: Value,
    now_unix_s: i64,
}

impl World {
    fn new() -> Self {
        Self {
            caller: Caller { id: "checkout".into(), tenant: "shop".into() },
            request: RequestFacts {
                surface: "openai.chat".into(),
                route: "/v1/chat/completions".into(),
                model: "gpt-x".into(),
                stream: true,
                tools: vec!["refund".into(), "search".into()],
                app: "shop".into(),
                run_id: "r1".into(),
                bytes: 1200,
            },
            findings: vec![finding("secret", 800_000), finding("pii", 300_000)],
            args: json!({
                "amount": 501, "ratio": 0.5, "note": "Hello", "flag": true, "none": null,
                "big": u64::MAX, "items": ["a", "b", {"k": [1, 2]}], "map": {"x": 1, "y": {"z": "deep"}},
            }),
            // Saturday, 2027-01-02 03:04:05 UTC.
            now_unix_s: 1_798_859_045,
        }
    }

    fn eval(&self, text: &str) -> Result<bool, EvalFailure> {
        self.eval_in(text, Phase::ToolCall)
    }

    fn eval_in(&self, text: &str, phase: Phase) -> Result<bool, EvalFailure> {
        let program = compile(text, Scope::Rule(phase)).unwrap_or_else(|e| panic!("{text}: {e}"));
        eval(&program, &self.facts(), Subject::All)
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            caller: &self.caller,
            request: &self.request,
            message: Some(MessageFacts { role: "assistant" }),
            tool: Some(ToolFacts { name: "refund", args: &self.args }),
            tool_args_pending: false,
            response: Some(ResponseFacts { model: "gpt-x-1", finish_reason: "tool_calls", status: 200 }),
            findings: &self.findings,
            schema: Some(SchemaFacts { id: "invoice", verdict: "violation" }),
            now_unix_s: self.now_unix_s,
        }
    }
}

fn finding(class: &'static str, score_ppm: u32) -> FindingFacts<'static> {
    FindingFacts {
        detector: "d".into(),
        class: class.into(),
        score_ppm,
        channel: "content".into(),
        place: "/messages/0".into(),
        owasp: Some("LLM02:2026".into()),
        atlas: None,
    }
}

#[test]
fn conditions_over_every_variable() {
    let world = World::new();
    for (text, expected) in [
        ("caller.id == 'checkout' && caller.tenant == 'shop'", true),
        ("request.route == '/v1/chat/completions'", true),
        ("request.model.startsWith('gpt-') && !request.model.endsWith('-mini')", true),
        ("request.stream && request.bytes > 1000", true),
        ("'refund' in request.tools", true),
        ("request.tools.exists(t, t == 'delete')", false),
        ("request.tools.size() == 2 && size(request.tools) == 2", true),
        ("request.tools[1] == 'search'", true),
        ("request.app in ['shop', 'desk'] && request.run_id != ''", true),
        ("request.surface.contains('chat')", true),
        ("message.role == 'assistant'", true),
        ("response.status == 200 && response.finish_reason == 'tool_calls'", true),
        ("response.model.lowerAscii() == 'gpt-x-1'", true),
        ("findings.exists(f, f.class == 'secret' && f.score >= 0.8)", true),
        ("findings.exists(f, f.class == 'secret' && f.score > 0.8)", false),
        ("findings.all(f, f.owasp == 'LLM02:2026' && f.atlas == '')", true),
        ("findings.exists_one(f, f.class == 'pii')", true),
        ("findings.filter(f, f.score > 0.5).size() == 1", true),
        ("findings.map(f, f.class) .exists(c, c == 'pii')", true),
        ("findings[0].channel == 'content' && findings[0].place != ''", true),
        ("findings.exists(f, f.detector in ['d', 'e'])", true),
        ("findings.exists(a, findings.exists(b, a.class != b.class))", true),
        ("has(findings[0].class)", true),
        ("tool.name == 'refund' && tool.args.amount > 500", true),
        ("tool.args.amount > 500.5 && tool.args.ratio < 1", true),
        ("tool.args.amount + 1 == 502 && double(tool.args.amount) * 2.0 == 1002.0", true),
        ("tool.args.note == 'Hello' && tool.args.note.matches('^H.+o$')", true),
        ("tool.args['note'].size() == 5 && tool.args.flag", true),
        ("tool.args.none == null && tool.args.big > 1", true),
        ("'a' in tool.args.items && !('c' in tool.args.items)", true),
        ("tool.args.items[2].k[1] == 2", true),
        ("tool.args.items.exists(i, i == 'b')", true),
        ("has(tool.args.map.y.z) && !has(tool.args.map.y.q) && 'x' in tool.args.map", true),
        ("tool.args.map.exists(k, k == 'y')", true),
        ("tool.args.items == tool.args.items && tool.args.map == tool.args.map", true),
        ("tool.args.items == tool.args.map", false),
        ("tool.args.amount == '501'", false),
        ("now > timestamp('2027-01-01T00:00:00Z') && now < timestamp('2027-01-02T05:00:00+01:00')", true),
        ("now.getFullYear() == 2027 && now.getMonth() == 0 && now.getDate() == 2", true),
        ("now.getDayOfMonth() == 1 && now.getDayOfYear() == 1 && now.getDayOfWeek() == 6", true),
        ("now.getHours() == 3 && now.getMinutes() == 4", true),
        ("(request.stream ? 'a' : 'b') == 'a'", true),
        ("int('7') % 4 == 3 && -1 < 0 && 2u < 3u && string(7) == '7'", true),
        ("[1, 2, 3].exists(n, n == 2)", true),
    ] {
        assert_eq!(world.eval(text), Ok(expected), "{text}");
    }
    assert_eq!(world.eval_in("schema.id == 'invoice' && schema.verdict != 'valid'", Phase::Response), Ok(true));
}

#[test]
fn absent_facts_are_empty_not_errors() {
    let world = World::new();
    let mut facts = world.facts();
    facts.message = None;
    facts.tool = None;
    facts.response = None;
    facts.schema = None;
    for (text, phase) in [
        ("message.role == '' && tool.name == '' && tool.args == null", Phase::ToolCall),
        ("response.model == '' && response.status == 0 && schema.id == ''", Phase::Response),
    ] {
        let program = compile(text, Scope::Rule(phase)).unwrap();
        assert_eq!(eval(&program, &facts, Subject::All), Ok(true), "{text}");
    }
}

#[test]
fn failures_on_traffic_are_classified_and_hold_no_content() {
    let world = World::new();
    for (text, failure) in [
        ("tool.args.absent == 1", EvalFailure::Missing),
        ("has(tool.args.absent.deeper)", EvalFailure::Missing),
        ("tool.args.items[9] == 'a'", EvalFailure::Missing),
        ("request.tools[9] == 'a'", EvalFailure::Missing),
        ("findings[9].class == 'a'", EvalFailure::Missing),
        ("tool.args.note > 3", EvalFailure::WrongType),
        ("tool.args.note.deeper == 3", EvalFailure::WrongType),
        ("tool.args.amount", EvalFailure::WrongType),
        ("tool.args.amount.contains('5')", EvalFailure::WrongType),
        ("tool.args.note + 1 == 2", EvalFailure::WrongType),
        ("int(tool.args.note) == 2", EvalFailure::WrongType),
        ("tool.args.amount / 0 == 2", EvalFailure::Arithmetic),
        ("9223372036854775807 + tool.args.amount == 2", EvalFailure::Arithmetic),
        ("5 in tool.args.map", EvalFailure::WrongType),
    ] {
        assert_eq!(world.eval(text), Err(failure), "{text}");
        assert!(!failure.to_string().contains("Hello"));
    }
}

#[test]
fn cost_is_bounded_however_the_content_is_made() {
    let mut world = World::new();
    world.findings = (0..2000).map(|_| finding("pii", 1)).collect();
    assert_eq!(world.eval("findings.all(a, findings.all(b, a.class == b.class))"), Err(EvalFailure::TooCostly));
    assert_eq!(world.eval("findings.exists(a, a.class == 'x')"), Ok(false));
    let text = "x".repeat(200_000);
    let items: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    world.args = json!({ "text": text, "items": items });
    assert_eq!(world.eval("tool.args.items.exists(i, tool.args.text.contains(i))"), Err(EvalFailure::TooCostly));
    assert_eq!(
        world.eval("tool.args.items.exists(i, tool.args.items.exists(j, i + j == ''))"),
        Err(EvalFailure::TooCostly)
    );
    // A list that ended early must not be taken for the whole list.
    assert_eq!(
        world.eval("!tool.args.items.exists(i, tool.args.items.exists(j, i + j == ''))"),
        Err(EvalFailure::TooCostly)
    );
}

#[test]
fn the_deepest_accepted_expression_fits_an_ordinary_stack() {
    // `has` and macros take most levels per character; plain operators are the other extreme.
    let sums = |terms: usize| format!("{} > 0", vec!["request.bytes"; terms].join(" + "));
    let mut accepted = 0;
    for terms in 1..120 {
        match compile(&sums(terms), Scope::Rule(Phase::Request)) {
            Ok(_) => accepted = terms,
            Err(message) => {
                assert!(message.contains("levels deep"), "{message}");
                break;
            }
        }
    }
    assert!(accepted >= 20, "{accepted}");
    let nots = format!("{}request.stream{}", "!(".repeat(21), ")".repeat(21));
    let evaluated = std::thread::Builder::new()
        .stack_size(1024 * 1024)
        .spawn(move || {
            let world = World::new();
            (world.eval_in(&sums(accepted), Phase::Request), world.eval_in(&nots, Phase::Request))
        })
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(evaluated, (Ok(true), Ok(false)));
}

#[test]
fn hostile_expressions_are_refused_in_time() {
    for text in [
        "(".repeat(2000),
        "[".repeat(2000),
        format!("{}true{}", "(".repeat(1500), ")".repeat(1500)),
        vec!["1"; 1500].join("+"),
        "a".repeat(4096),
        format!("request{}", ".a".repeat(2000)),
        "'".repeat(4001),
        "x".repeat(4097),
    ] {
        let result = compile(&text, Scope::Rule(Phase::Request));
        assert!(result.is_err(), "{text}");
    }
    // The grammar counts these instead of nesting them.
    for text in [
        format!("{}true", "!".repeat(4000)),
        format!("{}1 == 1", "-".repeat(4000)),
        vec!["request.stream"; 200].join(" && "),
        // Linear, whatever it looks like.
        format!("request.route.matches('{}')", "(a*)*".repeat(90)),
    ] {
        assert!(compile(&text, Scope::Rule(Phase::Request)).is_ok());
    }
}

#[test]
fn names_and_types_are_checked_at_load() {
    for (text, part) in [
        ("finding.exists(f, true)", "did you mean `findings`"),
        ("findings.exists(f, f.clas == 'x')", "did you mean `class`"),
        ("findings.exists(f, g.class == 'x')", "`g` is not declared"),
        ("request.rout == '/'", "did you mean `route`"),
        ("request.body == '/'", "it has: surface, route"),
        ("zebra == 1", "what is declared here: caller, request"),
        ("session.turns > 3", "`session` is not supported by this version; remove it"),
        ("budget.left > 3", "`budget` is not supported by this version; remove it"),
        ("tool.name == 'x'", "`tool` has no value in phase `request`"),
        ("response.status == 200", "`response` has no value in phase `request`"),
        ("schema.verdict == 'x'", "`schema` has no value in phase `request`"),
        ("request.model", "a string, not a condition"),
        ("findings", "not a condition"),
        ("request.model && true", "a string stands where a condition is needed"),
        ("!request.bytes", "an int stands where a condition is needed"),
        ("request.model == 3", "a string is never equal to an int"),
        ("request.stream == 'true'", "a bool is never equal to a string"),
        ("request.model == null", "a string is never equal to a null"),
        ("request.tools == ['a']", "not compared as a whole"),
        ("findings[0] == findings[1]", "not compared as a whole"),
        ("request.model > 3", "have no order between them"),
        ("request.stream > false", "have no order between them"),
        ("request.bytes + 1.5 > 2.0", "as in `double(x)`"),
        ("request.bytes + 'a' == ''", "not calculated with"),
        ("findings.class == 'a'", "a list has no member `class`"),
        ("request.model.name == 'a'", "a string has no members"),
        ("'a' in request.model", "`in` looks into lists; for text"),
        ("1 in request.tools", "an int is never equal to a string"),
        ("'a' in []", "nothing is in an empty list"),
        ("request.tools['a'] == 'b'", "indexed with a number"),
        ("request.bytes[0] == 1", "an int has no elements"),
        ("request.model.exists(c, true)", "a string has no elements to go through"),
        ("findings.exists(caller, true)", "`caller` already means something"),
        ("findings.exists(f, findings.exists(f, true))", "`f` already means something"),
        ("findings.exists(f, f.score)", "a double stands where a condition is needed"),
        ("findings.exists(f)", "`exists` is called as"),
        ("findings.exist(f, true)", "did you mean `exists`"),
        ("request.model.match('a')", "did you mean `matches`"),
        ("frobnicate(request.model)", "no function `frobnicate`"),
        ("request.model.matches(request.route)", "a text that is written out"),
        ("request.model.matches('(')", "malformed at its byte 0"),
        ("request.model.matches('(\\\\w{200}){200}')", "too big"),
        ("matches(request.model, 'a')", "`matches` is called as `text.matches(\"…\")`"),
        ("request.model.contains(3)", "`contains` does not take an int"),
        ("request.bytes.contains('3')", "`contains` does not take an int"),
        ("now > 3", "have no order"),
        ("now > timestamp('soon')", "not a time"),
        ("now.getHours('Europe/Berlin') > 3", "`getHours` is called as `time.getHours()`"),
        ("{'a': 1}['a'] == 1", "maps and messages cannot be written"),
        ("b'a' == b'a'", "bytes are not used"),
        ("request.?model == 'a'", "malformed"),
        ("type(request.model) == string", "no function `type`"),
        ("(request.stream ? 1 : 'a') == 1", "values of one type are needed"),
        ("[1, 'a'].exists(x, x == 1)", "values of one type are needed"),
        ("has(request)", "malformed"),
        ("request.model = 'a'", "malformed"),
        ("request.model == ", "it ends too early"),
        ("-request.model == ''", "cannot be negated"),
        ("@result", "malformed"),
        ("__result__ == 1", "not declared"),
        ("findings.map(f, f.class).exists(c, c.size() > c)", "have no order"),
        ("findings.filter(f, true).exists(c, c.clas == '')", "did you mean `class`"),
    ] {
        let message = refusal(text, Phase::Request);
        assert!(message.contains(part), "{text}: {message}");
    }
    let message = refusal("tool.name == 1", Phase::ToolCall);
    assert!(message.contains("never equal"), "{message}");
    let in_match = compile("findings.size() > 0", Scope::SchemaMatch).map(|_| ());
    assert!(in_match.unwrap_err().contains("in the `match` of a schema"));
    assert!(compile("caller.id == 'a' && now.getHours() > 3", Scope::SchemaMatch).is_ok());
}

#[test]
fn several_mistakes_are_reported_together() {
    let text = "findings.exists(f, f.clas == 'x') && zebra && request.modle == 'y'";
    let mut report = Report::new("test", text);
    let mut compiler = Compiler::default();
    let at = Mark { line: 1, column: 1, byte: Some(0) };
    compiler.add(text, Scope::Rule(Phase::Request), at, "when", &mut report);
    compiler.compile(&mut report);
    let error = report.into_error();
    let columns: Vec<u32> = error.diagnostics().iter().map(|d| d.column).collect();
    assert_eq!(columns, [22, 38, 55], "{error}");
}

#[test]
fn programs_know_what_they_look_at() {
    let program = |text: &str| compile(text, Scope::Rule(Phase::ToolCall)).unwrap();
    let classes = program("findings.exists(f, f.class == 'a' || 'b' == f.class || f.class in ['c'])");
    assert_eq!(classes.classes(), ["a", "b", "c"]);
    assert!(classes.uses_findings() && classes.reads_class() && !classes.is_constant());
    let args = program("tool.args.class == 'a'");
    assert!(args.classes().is_empty() && !args.uses_findings() && !args.reads_class());
    assert!(args.reads_tool_args() && !program("tool.name == 'a'").reads_tool_args());
    assert!(program("1 == 2").is_constant());
    assert!(!program("now.getHours() == 2").is_constant());
}

#[test]
fn every_declared_variable_and_member_has_a_value() {
    let world = World::new();
    for variable in &VARIABLES {
        for phase in Phase::ALL {
            let scope = Scope::Rule(phase);
            if !variable.is_visible(scope) {
                continue;
            }
            if let super::declare::Ty::Record(record) = variable.ty() {
                for (field, _) in record.fields {
                    let text = format!("has({}.{field})", variable.name);
                    assert_eq!(world.eval_in(&text, phase), Ok(true), "{text}");
                }
            }
        }
    }
    for (field, _) in super::declare::FINDING.fields {
        let text = format!("has(findings[0].{field})");
        assert_eq!(world.eval(&text), Ok(true), "{text}");
    }
}

#[test]
fn one_finding_can_be_asked_about_alone() {
    let world = World::new();
    let text = "findings.exists(f, f.class == 'pii') && findings.size() == 1";
    let program = compile(text, Scope::Rule(Phase::Request)).unwrap();
    let facts = world.facts();
    assert_eq!(eval(&program, &facts, Subject::All), Ok(false));
    assert_eq!(eval(&program, &facts, Subject::One(0)), Ok(false));
    assert_eq!(eval(&program, &facts, Subject::One(1)), Ok(true));
    assert_eq!(eval(&program, &facts, Subject::One(2)), Ok(false));
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-c]", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever a tool call carries, evaluation gives an answer or a classified failure, and is the same every time.
    #[test]
    fn any_arguments_give_an_answer(args in arbitrary_json()) {
        let mut world = World::new();
        world.args = args;
        for text in [
            "tool.args.a == tool.args.b", "tool.args.a > tool.args.b", "tool.args.a + tool.args.b == tool.args.c",
            "tool.args.exists(x, x == tool.args.a)", "tool.args.a in tool.args.b", "size(tool.args) > 1",
            "tool.args[0] == tool.args.a", "int(tool.args.a) > 0", "string(tool.args.a) == ''",
            "-tool.args.a > 0", "tool.args.a / tool.args.b > 0", "double(tool.args.a) % 2.0 == 0.0",
            "tool.args.a * tool.args.b == 0", "tool.args.a.lowerAscii().matches('[a-z]+')",
        ] {
            // Some combinations are refused at load; the rest must not panic.
            if let Ok(program) = compile(text, Scope::Rule(Phase::ToolCall)) {
                let facts = world.facts();
                let first = eval(&program, &facts, Subject::All);
                prop_assert_eq!(eval(&program, &facts, Subject::All), first);
                prop_assert_ne!(first, Err(EvalFailure::Internal), "{}", text);
            }
        }
        let reflexive = compile("tool.args == tool.args", Scope::Rule(Phase::ToolCall)).unwrap();
        let facts = world.facts();
        prop_assert_eq!(eval(&reflexive, &facts, Subject::All), Ok(true));
    }

    /// No text makes the loader panic or hang.
    #[test]
    fn any_text_compiles_or_is_refused(text in "[a-z.()&|!'=<>0-9\\[\\], f\"?:{}@`\\\\-]{0,60}") {
        let _ = compile(&text, Scope::Rule(Phase::ToolCall));
    }
}
