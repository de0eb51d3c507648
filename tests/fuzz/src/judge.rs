//! A judge that blocks one text and redacts another.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use clyra::exchange::gateway::engine;
use clyra::exchange::judge::{Context, PolicyJudge};
use clyra_detectors::Engine;
use clyra_policy::{Policy, RequestFacts};

pub(crate) const FORBIDDEN: &str = "Nightjar";
/// No letter at its beginning that a backslash would make an escape: then it would stand in the bytes but not in the text.
pub(crate) const MASKED: &str = "lone owl";

const POLICY: &str = r#"version: 1
mode: enforce
detectors:
  patterns:
    - { id: codename, literal: "Nightjar", class: forbidden, score: 1.0 }
    - { id: owl, literal: "lone owl", class: masked, score: 1.0 }
rules:
  - { id: no-codename, phase: request, when: 'findings.exists(f, f.class == "forbidden")', action: block }
  - { id: no-owls, phase: request, when: 'findings.exists(f, f.class == "masked")', action: redact }
  - { id: no-codename-out, phase: response, when: 'findings.exists(f, f.class == "forbidden")', action: block }
  - { id: no-owls-out, phase: response, when: 'findings.exists(f, f.class == "masked")', action: redact }
  - { id: no-shell, phase: tool_call, when: 'tool.name == "shell"', action: block }
"#;

pub(crate) struct Setup {
    policy: Arc<Policy>,
    pub(crate) engine: Arc<Engine>,
}

pub(crate) static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let policy = Policy::parse(POLICY, "policy.yaml", &|_| Err("no files".into())).expect("a good policy");
    let engine = Arc::new(engine(&policy).expect("good patterns"));
    Setup { policy: Arc::new(policy), engine }
});

fn context() -> Arc<Context> {
    let request = RequestFacts {
        surface: "s".into(),
        route: "/".into(),
        model: "m".into(),
        stream: true,
        bytes: 1,
        ..RequestFacts::default()
    };
    let policy = Arc::clone(&SETUP.policy);
    Arc::new(Context {
        caller: policy.caller(None),
        policy,
        request,
        now_unix_s: 0,
        calls: false,
        kept: None,
        pins: None,
    })
}

pub(crate) fn of_request() -> PolicyJudge {
    PolicyJudge::request(context())
}

pub(crate) fn of_answer() -> PolicyJudge {
    PolicyJudge::response(context(), 200, BTreeMap::new())
}

/// Whether `bytes` hold what must not pass, in so many words.
pub(crate) fn holds(bytes: &[u8], words: &str) -> bool {
    bytes.windows(words.len()).any(|window| window == words.as_bytes())
}
