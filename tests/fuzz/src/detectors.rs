//! The detectors' streams: any chunking the same findings, and none begins before what was called settled.

use std::sync::{Arc, LazyLock};

use clyra_detectors::{Engine, EngineConfig, Finding, Matcher, Rule, View};

use crate::choice;
use crate::cuts::Cuts;

static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| {
    let rule = |id: &str, matcher| Rule { id: id.into(), class: "restricted".into(), score_ppm: 1_000_000, matcher };
    let rules = vec![
        rule("word", Matcher::Literal { text: "Nightjar".into(), case_insensitive: true }),
        rule("pattern", Matcher::Regex("b[aé]rn( |\\n)owl[0-9]{0,4}".into())),
    ];
    Arc::new(Engine::compile(EngineConfig { rules, ..EngineConfig::default() }).expect("good rules"))
});

fn run(view: View, pieces: &[&str]) -> (Vec<Finding>, bool) {
    let mut stream = ENGINE.stream(view);
    let (mut found, mut settled) = (Vec::new(), 0);
    for piece in pieces {
        let before = found.len();
        stream.feed(piece, &mut found);
        assert!(found[before..].iter().all(|finding| finding.start >= settled), "found in what was settled");
        assert!(stream.settled() >= settled && stream.settled() <= stream.fed());
        settled = stream.settled();
    }
    let before = found.len();
    stream.finish(&mut found);
    assert!(found[before..].iter().all(|finding| finding.start >= settled), "found in what was settled");
    (found, stream.failed().is_some())
}

/// View and chunking are the first byte.
pub fn detectors(input: &[u8]) {
    let Some((seed, bytes)) = choice(input) else { return };
    let text = crate::text(bytes);
    let view = if seed % 2 == 0 { View::Plain } else { View::Json };
    let [whole, others @ ..] = Cuts::all(seed);
    let whole = run(view, &whole.of_text(text));
    for finding in &whole.0 {
        assert!(finding.start < finding.end && finding.end <= text.len() as u64);
    }
    for cuts in others {
        assert_eq!(run(view, &cuts.of_text(text)), whole, "cut as {cuts:?}");
    }
}
