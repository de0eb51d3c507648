//! The program that is killed, starved and cut off: it records exchanges through the product's own [`Log`], seals now and
//! then, and says on its standard output what was acknowledged to it ([`crate::told::Told`] reads that).

use std::fs::File;
use std::io::{IoSlice, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clyra_receipts::journal::LogOptions;
use clyra_receipts::lock::{FileLock, LockStore};
use clyra_receipts::receipt::{
    Attempt, BuildInfo, Caller, Coverage, CoverageRecord, Ext, Outcome, PolicyRecord, Request, Verdict,
};
use clyra_receipts::{AppendError, Log, Publication, Sealer, Token};
use uuid::Uuid;

/// Name of the log.
pub const ORIGIN: &str = "campaign.example/log";

/// A failed write or sync: after it, nothing may be acknowledged any more.
const SYNC_FAILED: &str = "W004";

/// Receipts after which the log takes a new receipt key: some in every run.
const KEY_RECEIPTS: u64 = 25;

/// How much a writer does.
#[derive(Debug, Clone, clap::Args)]
pub struct Work {
    /// Threads that record exchanges at the same time
    #[arg(long, default_value_t = 4)]
    pub threads: usize,
    /// Exchanges of each thread in a round
    #[arg(long, default_value_t = 4)]
    pub exchanges: usize,
    /// Rounds; what is durable is sealed after each of them
    #[arg(long, default_value_t = 2)]
    pub rounds: usize,
    /// Size at which a segment is ended
    #[arg(long, default_value_t = 16 * 1024)]
    pub segment_bytes: u64,
    /// End without a word to the log, as a crash does
    #[arg(long)]
    pub crash: bool,
}

/// How every campaign opens its log.
pub fn options(data_dir: &Path, segment_bytes: u64) -> LogOptions {
    let build = BuildInfo { digest: None, version: "campaign".to_owned() };
    let new = LogOptions::new(data_dir, ORIGIN, build);
    let lock: Option<Arc<dyn LockStore>> = Some(Arc::new(FileLock::new(lock_record(data_dir))));
    LogOptions { segment_bytes, receipt_key_rotate_receipts: KEY_RECEIPTS, lock, ..new }
}

/// Where the lock record of a campaign's log is: beside the data directory, and in no copy of it.
pub fn lock_record(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("lock-record")
}

/// What every campaign's sealer publishes to besides the data directory.
pub(crate) fn publication(data_dir: &Path) -> Publication {
    Publication { lock: options(data_dir, 0).lock, ..Publication::default() }
}

/// Says lines, each whole. `writev`, so that a fault in the journal's `write` does not hit the messenger.
struct Voice(Mutex<File>);

impl Voice {
    fn new() -> Voice {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().expect("a standard output");
        Voice(Mutex::new(File::from(stdout)))
    }

    fn say(&self, line: &str) {
        let mut out = self.0.lock().unwrap();
        let text = format!("{line}\n");
        let written = out.write_vectored(&[IoSlice::new(text.as_bytes())]);
        // Whoever listened has gone; there is nobody to be kept waiting.
        assert_eq!(written.ok(), Some(text.len()), "the acknowledgement could not be said");
    }

    fn acknowledge(&self, token: &Token) {
        let chain: String = token.chain.iter().map(|byte| format!("{byte:02x}")).collect();
        self.say(&format!("ack {} {chain}", token.seq));
    }

    fn error(&self, code: &str, text: &dyn std::fmt::Display) {
        self.say(&format!("error {code} {}", text.to_string().replace('\n', " ")));
    }
}

/// Records exchanges as `work` has it. Status 1 when the log failed, which it also says.
pub fn run(data_dir: &Path, work: &Work) -> ExitCode {
    let voice = Voice::new();
    let (log, report) = match Log::open(options(data_dir, work.segment_bytes)) {
        Ok(opened) => opened,
        Err(error) => {
            voice.error(error.code(), &error);
            return ExitCode::FAILURE;
        }
    };
    voice.say(&format!("open {}", report.root_vkey));
    let (mut sealer, mut told) = (None, 0);
    for _ in 0..work.rounds {
        std::thread::scope(|scope| {
            for _ in 0..work.threads {
                scope.spawn(|| (0..work.exchanges).for_each(|number| exchange(&log, &voice, number)));
            }
        });
        seal(data_dir, &log, &mut sealer, &voice);
        let status = log.status();
        if status.rotations_failed > told {
            told = status.rotations_failed;
            voice.say("error ROTATION a new receipt key could not be had");
        }
    }
    if work.crash {
        std::process::abort();
    }
    match log.shutdown() {
        Ok(()) => {
            voice.say("end");
            ExitCode::SUCCESS
        }
        Err(error) => {
            voice.error(error.code(), &error);
            ExitCode::FAILURE
        }
    }
}

fn seal(data_dir: &Path, log: &Log, place: &mut Option<Sealer>, voice: &Voice) {
    let sealed = (|| {
        let sealer = match &mut *place {
            Some(sealer) => sealer,
            none => none.insert(Sealer::open(data_dir)?.publish_to(publication(data_dir))),
        };
        let sealed = sealer.seal(log.status().durable_count, &[]);
        if let Some(fault) = sealer.tlog_fault() {
            voice.error("TLOG", fault);
        }
        sealed
    })();
    match sealed {
        Ok(None) => {}
        Ok(Some(sealed)) => {
            let root: String = sealed.root.iter().map(|byte| format!("{byte:02x}")).collect();
            voice.say(&format!("sealed {} {root}", sealed.size));
            append(voice, || log.append_blocking(sealed.record()));
        }
        Err(error) => {
            voice.error(error.code(), &error);
            *place = None;
        }
    }
}

/// An exchange whose receipts are of different sizes.
fn exchange(log: &Log, voice: &Voice, number: usize) {
    let caller = Caller { app: Some("c".repeat(1 + 131 * number % 1000)), ..Caller::default() };
    let attempt = attempt(caller.clone());
    let Some(token) = append(voice, || log.append_blocking(attempt.clone())) else { return };
    let outcome = outcome(&attempt, token.seq);
    append(voice, || log.append_blocking(outcome.clone()));
}

/// Appends and says how it went. After a failed sync, what is tried again must fail too.
fn append(voice: &Voice, receipt: impl Fn() -> Result<Token, AppendError>) -> Option<Token> {
    match receipt() {
        Ok(token) => {
            voice.acknowledge(&token);
            Some(token)
        }
        Err(error) => {
            voice.error(error.code(), &error);
            if error.code() == SYNC_FAILED
                && let Ok(token) = receipt()
            {
                voice.say(&format!("violation receipt {} was acknowledged after {error}", token.seq));
            }
            None
        }
    }
}

fn attempt(caller: Caller) -> Attempt {
    Attempt {
        id: Uuid::now_v7(),
        run: None,
        caller,
        request: Request { bytes: 1, surface: "openai.chat".to_owned(), ..Request::default() },
        policy: PolicyRecord::default(),
        checks: Vec::new(),
        findings: Vec::new(),
        coverage: CoverageRecord { level: Coverage::Full, reasons: Vec::new() },
        ext: Ext::default(),
    }
}

fn outcome(attempt: &Attempt, attempt_seq: u64) -> Outcome {
    Outcome {
        id: attempt.id,
        attempt_seq,
        run: None,
        caller: attempt.caller.clone(),
        request: None,
        upstream: None,
        response: None,
        stream: None,
        checks: Vec::new(),
        findings: Vec::new(),
        schema: None,
        policy: PolicyRecord::default(),
        coverage: attempt.coverage.clone(),
        verdict: Verdict::Executed,
        ext: Ext::default(),
    }
}

/// One exchange more, to show that the log goes on.
pub(crate) fn one_more(log: &Log) -> Result<(), AppendError> {
    let attempt = attempt(Caller::default());
    let token = log.append_blocking(attempt.clone())?;
    log.append_blocking(outcome(&attempt, token.seq)).map(drop)
}
