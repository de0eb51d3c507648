use super::*;
use crate::receipt::{Attempt, BuildInfo, Caller, Coverage, CoverageRecord, PolicyRecord, Request};

fn options(directory: &std::path::Path) -> LogOptions {
    LogOptions::new(directory, "test.example/log", BuildInfo { digest: None, version: "0.0.0".into() })
}

fn attempt() -> Attempt {
    Attempt {
        id: uuid::Uuid::now_v7(),
        run: None,
        caller: Caller::default(),
        request: Request { surface: "openai.chat".into(), ..Request::default() },
        policy: PolicyRecord { decision: "allow".into(), hash: "0".repeat(64), ..PolicyRecord::default() },
        checks: Vec::new(),
        findings: Vec::new(),
        coverage: CoverageRecord { level: Coverage::Full, reasons: Vec::new() },
        ext: crate::receipt::Ext::default(),
    }
}

#[test]
fn a_log_is_made_written_closed_and_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let (log, report) = Log::open(options(directory.path())).unwrap();
    assert!(report.first_start && report.clean && report.epoch == 1 && report.last_seq.is_none());
    let token = log.append_blocking(attempt()).unwrap();
    assert_eq!(token.seq, 2);
    assert_eq!(log.status().durable_seq, Some(2));
    log.clone().shutdown().unwrap();
    assert_eq!(log.append_blocking(attempt()), Err(AppendError::Closed));
    drop(log);
    let (log, report) = Log::open(options(directory.path())).unwrap();
    assert!(!report.first_start && report.clean);
    assert_eq!((report.epoch, report.last_seq), (2, Some(3)));
    assert!(matches!(Log::open(options(directory.path())), Err(LogError::Locked(_))));
    drop(log);
    let (_log, report) = Log::open(options(directory.path())).unwrap();
    assert!(!report.clean);
    assert_eq!((report.epoch, report.last_seq), (3, Some(4)));
}
