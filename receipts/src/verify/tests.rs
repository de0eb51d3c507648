use super::*;
use crate::sample::{exchange, options, policy_document};
use crate::{Log, Sealer, keys::Keys};

/// A data directory with two bundles, and a third stretch of receipts that is not sealed.
fn evidence() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(directory.path())).unwrap();
    let mut sealer = Sealer::open(directory.path()).unwrap();
    for _ in 0..2 {
        for _ in 0..3 {
            exchange(&log);
        }
        let sealed = sealer.seal(log.status().durable_count, &[policy_document()]).unwrap().unwrap();
        log.append_blocking(sealed.record()).unwrap();
    }
    exchange(&log);
    log.shutdown().unwrap();
    directory
}

fn found(verdict: &Verdict) -> Vec<String> {
    let shown = |finding: &VerifyFinding| {
        let seq = finding.seq.map_or_else(String::new, |seq| format!(" {seq}"));
        format!("{}{seq} {}", finding.code.code(), finding.path)
    };
    verdict.findings.iter().map(shown).collect()
}

#[test]
fn what_a_log_leaves_behind_is_good() {
    let directory = evidence();
    let root = Keys::open(directory.path()).unwrap().root().clone();
    let options = VerifyOptions { trusted_root: Some(root), remembered_checkpoint: None };
    let verdict = verify(&[directory.path()], &options).unwrap();
    assert_eq!(found(&verdict), Vec::<String>::new(), "{:#?}", verdict.findings);
    assert!(verdict.ok);
    assert_eq!(verdict.assurance, Assurance::Origin);
    assert_eq!((verdict.stats.bundles, verdict.stats.segments), (2, 1));
    println!("{}", String::from_utf8(verdict.to_json()).unwrap());
}
