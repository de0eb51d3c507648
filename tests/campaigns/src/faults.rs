//! Faults of single system calls. A writer is run again and again, and each time one call on the data directory fails: with
//! an error, with no space, interrupted, with nothing written, or with the process killed in it. `strace` does it, at every
//! index of every call that an undisturbed run makes there. And a limit on the size of files gives real short writes, at any
//! length.
//!
//! Whatever happens: the process ends by itself, what it acknowledged is there, and it does not end well without a word.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use crate::check::check;
use crate::strace;
use crate::told::Told;

/// Longest life of a writer that takes well under a second undisturbed: longer is a hang, also on a machine under load.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// Calls that change files.
const CHANGING: [&str; 18] = [
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "fdatasync",
    "fsync",
    "sync_file_range",
    "rename",
    "renameat",
    "renameat2",
    "openat",
    "ftruncate",
    "fallocate",
    "mkdir",
    "unlink",
    "unlinkat",
    "copy_file_range",
];
/// Calls that only look.
const LOOKING: [&str; 5] = ["read", "pread64", "getdents64", "flock", "statx"];

/// Calls whose failure is no failure of the journal's promise, so that nothing needs to be said.
const MAY_BE_SILENT: [(&str, &str); 3] = [
    ("fallocate", "a reserve that cannot be had is done without"),
    ("ftruncate", "a reserve that cannot be given back is space, and no evidence"),
    ("statx", "what cannot be looked at is taken for missing, which making it then shows"),
];

/// A child that is being born holds every open file for a moment, and with it the locks of a log that a check has open at
/// that time. So nothing is born while something is checked.
static BIRTHS: RwLock<()> = RwLock::new(());

/// What happens in the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The device fails.
    Io,
    /// The disk is full.
    NoSpace,
    /// The user's share of the disk is full.
    Quota,
    /// A signal came first; the call may be made again.
    Interrupted,
    /// Nothing is written, and no error given.
    Nothing,
    /// The process is killed as it makes the call.
    Kill,
}

impl Fault {
    fn injection(self) -> &'static str {
        match self {
            Self::Io => "error=EIO",
            Self::NoSpace => "error=ENOSPC",
            Self::Quota => "error=EDQUOT",
            Self::Interrupted => "error=EINTR",
            Self::Nothing => "retval=0",
            Self::Kill => "signal=KILL",
        }
    }

    /// Which faults a call can meet.
    fn of(call: &str) -> &'static [Fault] {
        match call {
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" => {
                &[Self::Io, Self::NoSpace, Self::Quota, Self::Interrupted, Self::Nothing, Self::Kill]
            }
            "fdatasync" | "fsync" | "openat" => &[Self::Io, Self::NoSpace, Self::Interrupted, Self::Kill],
            call if LOOKING.contains(&call) => &[Self::Io, Self::Kill],
            _ => &[Self::Io, Self::NoSpace, Self::Kill],
        }
    }

    /// True if the writer has to say something about it.
    fn is_an_error(self) -> bool {
        !matches!(self, Self::Interrupted | Self::Kill)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.injection().split('=').next_back().unwrap_or_default())
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Point {
    /// The `index`th such call of a thread, from 1.
    Call { name: String, index: usize, fault: Fault },
    /// No file may grow beyond this.
    FileLimit(u64),
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { name, index, fault } => write!(formatter, "{fault} at {name} {index}"),
            Self::FileLimit(bytes) => write!(formatter, "short write at {bytes} bytes"),
        }
    }
}

/// Where a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// No data directory.
    First,
    /// What a crash left, with a torn end.
    AfterCrash,
}

/// What came of all runs.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub points: usize,
    /// Points at which the fault struck a file of the data directory.
    pub struck: usize,
    /// Points by call and fault.
    pub by_kind: BTreeMap<(String, String), usize>,
    /// Receipts that were acknowledged, over all runs.
    pub acknowledged: usize,
    pub torn: usize,
    /// What went wrong.
    pub failures: Vec<String>,
}

/// How many points are tried.
#[derive(Debug, Clone, clap::Args)]
pub struct Reach {
    /// Try only each n-th point
    #[arg(long, default_value_t = 1)]
    pub every: usize,
    /// Runs at the same time
    #[arg(long, default_value_t = 2)]
    pub jobs: usize,
}

struct Campaign<'a> {
    program: &'a Path,
    place: &'a Path,
    told_before: Told,
}

/// Tries every point, below `place`.
pub fn run(program: &Path, place: &Path, reach: &Reach) -> io::Result<Summary> {
    let mut campaign = Campaign { program, place, told_before: Told::default() };
    campaign.prepare()?;
    let mut work = VecDeque::new();
    for start in [Start::First, Start::AfterCrash] {
        let points = campaign.points(start)?;
        work.extend(points.into_iter().step_by(reach.every.max(1)).map(|point| (start, point)));
    }
    let (total, work, summary) = (work.len(), Mutex::new(work), Mutex::new(Summary::default()));
    std::thread::scope(|scope| {
        for job in 0..reach.jobs.max(1) {
            let (campaign, work, summary) = (&campaign, &work, &summary);
            scope.spawn(move || {
                loop {
                    let Some((start, point)) = work.lock().unwrap().pop_front() else { return };
                    let result = campaign.try_point(start, &point, job);
                    let mut summary = summary.lock().unwrap();
                    summary.add(start, &point, result);
                    if summary.points.is_multiple_of(200) {
                        println!("  {} of {total} points, {} failures", summary.points, summary.failures.len());
                    }
                }
            });
        }
    });
    Ok(summary.into_inner().unwrap())
}

/// What came of one run.
struct Outcome {
    struck: bool,
    acknowledged: usize,
    torn: bool,
}

impl Summary {
    fn add(&mut self, start: Start, point: &Point, result: Result<Outcome, String>) {
        self.points += 1;
        let kind = match point {
            Point::Call { name, fault, .. } => (name.clone(), fault.to_string()),
            Point::FileLimit(_) => ("write".to_owned(), "short".to_owned()),
        };
        *self.by_kind.entry(kind).or_default() += 1;
        match result {
            Ok(outcome) => {
                self.struck += usize::from(outcome.struck);
                self.acknowledged += outcome.acknowledged;
                self.torn += usize::from(outcome.torn);
            }
            Err(what) => {
                println!("  FAILED: {start:?}, {point}: {what}");
                self.failures.push(format!("{start:?}, {point}: {what}"));
            }
        }
    }
}

impl Campaign<'_> {
    fn template(&self) -> PathBuf {
        self.place.join("template")
    }

    /// Makes what a crash leaves, with half a frame at its end.
    fn prepare(&mut self) -> io::Result<()> {
        let output = Command::new(self.program).arg("write").arg(self.template()).args(["--crash"]).output()?;
        self.told_before.hear_all(&output.stdout);
        let last = crate::journal::segments(&self.template())?.pop().ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = std::fs::read(&last)?;
        let frames = &bytes[4096..];
        let half = frames[..frames.len().min(300)].to_vec();
        bytes.extend_from_slice(&half);
        std::fs::write(&last, bytes)
    }

    fn directory(&self, start: Start, job: usize) -> io::Result<PathBuf> {
        let data_dir = self.place.join(format!("data-{job}"));
        let lock_record = crate::writer::lock_record(&data_dir);
        if data_dir.exists() {
            std::fs::remove_dir_all(&data_dir)?;
        }
        if lock_record.exists() {
            std::fs::remove_file(&lock_record)?;
        }
        if start == Start::AfterCrash {
            copy(&self.template(), &data_dir)?;
            std::fs::copy(crate::writer::lock_record(&self.template()), &lock_record)?;
        }
        Ok(data_dir)
    }

    /// Every call of an undisturbed run that concerns the data directory, with every fault that it can meet.
    fn points(&self, start: Start) -> io::Result<Vec<Point>> {
        let data_dir = self.directory(start, 0)?;
        let trace = self.place.join("trace-0");
        let names: Vec<&str> = CHANGING.iter().chain(&LOOKING).copied().collect();
        let traced = format!("trace={}", names.join(","));
        let status = Command::new("strace")
            .args(["-f", "-y", "-xx", "-s", "0", "-e", &traced, "-o"])
            .arg(&trace)
            .arg(self.program)
            .arg("write")
            .arg(&data_dir)
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("the undisturbed run failed: {status}")));
        }
        let (mut counts, mut indices) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<usize>>::new());
        for call in strace::read(&std::fs::read_to_string(&trace)?) {
            let count: &mut usize = counts.entry((call.thread, call.name.clone())).or_default();
            *count += 1;
            if concerns(&call, &data_dir) {
                indices.entry(call.name).or_default().insert(*count);
            }
        }
        let mut points = Vec::new();
        for (name, mut indices) in indices {
            // Groups form differently each time: a few more than this run had.
            let last = indices.last().copied().unwrap_or_default();
            indices.extend(last + 1..last + 4);
            for index in indices {
                let faults = Fault::of(&name).iter();
                points.extend(faults.map(|fault| Point::Call { name: name.clone(), index, fault: *fault }));
            }
        }
        let largest = 20 * 1024;
        points.extend((1..largest).step_by(509).map(Point::FileLimit));
        Ok(points)
    }

    fn try_point(&self, start: Start, point: &Point, job: usize) -> Result<Outcome, String> {
        let text = |error: io::Error| format!("the campaign itself failed: {error}");
        let data_dir = self.directory(start, job).map_err(text)?;
        let trace = self.place.join(format!("trace-{job}"));
        let mut told = if start == Start::AfterCrash { self.told_before.clone() } else { Told::default() };
        let before = told.acknowledged.len();
        let mut command = match point {
            Point::Call { name, index, fault } => {
                let mut command = Command::new("strace");
                let inject = format!("inject={name}:{}:when={index}", fault.injection());
                command.args(["-f", "-y", "-xx", "-s", "0", "-e", &format!("trace={name}"), "-e", &inject, "-o"]);
                command.arg(&trace).arg(self.program);
                command
            }
            Point::FileLimit(bytes) => {
                let mut command = Command::new("sh");
                // The write is to fail, and not its process.
                let script = format!("trap '' XFSZ; exec prlimit --fsize={bytes} \"$@\"");
                command.args(["-c", &script, "sh"]).arg(self.program);
                command
            }
        };
        command.arg("write").arg(&data_dir);
        let (status, said) = run_bounded(&mut command).map_err(text)?.ok_or("it hangs")?;
        told.hear_all(&said);
        let struck = match point {
            Point::Call { .. } => {
                let calls = strace::read(&std::fs::read_to_string(&trace).map_err(text)?);
                let here = |call: &&strace::Call| (call.injected || call.result.is_none()) && concerns(call, &data_dir);
                calls.iter().find(here).map(|call| (call.paths().pop().unwrap_or_default(), looks_at_a_tile(call)))
            }
            Point::FileLimit(_) => (!status.success() || !told.errors.is_empty()).then(|| ("a file".to_owned(), false)),
        };
        let unheard = status.success() && told.errors.is_empty();
        if unheard && !told.ended {
            return Err("it ended well without having said so".to_owned());
        }
        let silent = unheard && !says_on_record(&data_dir);
        if let Point::Call { name, fault, .. } = point {
            let excused = MAY_BE_SILENT.iter().any(|(call, _)| call == name);
            if let Some((path, is_tile)) = &struck
                && silent
                && fault.is_an_error()
                && !excused
                && !is_tile
            {
                return Err(format!("the fault struck {path}, and nothing was said"));
            }
            let killed = status.signal() == Some(9) || status.code() == Some(128 + 9);
            if struck.is_some() && *fault == Fault::Kill && !killed {
                return Err(format!("it was not killed: {status}"));
            }
        }
        let found = {
            let _no_births = BIRTHS.read().unwrap();
            check(&data_dir, &told)?
        };
        Ok(Outcome { struck: struck.is_some(), acknowledged: told.acknowledged.len() - before, torn: found.torn })
    }
}

/// True if a call only looks at a tile of the tree, which is made again from the journal when it cannot be read.
fn looks_at_a_tile(call: &strace::Call) -> bool {
    let looks = LOOKING.contains(&call.name.as_str()) || call.name == "openat" && !call.arguments.contains("O_CREAT");
    looks && call.paths().iter().any(|path| path.contains("/tlog/"))
}

/// True if a call is on something in the data directory, or on the lock record beside it.
fn concerns(call: &strace::Call, data_dir: &Path) -> bool {
    let lock_record = crate::writer::lock_record(data_dir).to_string_lossy().into_owned();
    call.paths().iter().any(|path| Path::new(path).starts_with(data_dir) || path.starts_with(&lock_record))
}

/// True if a receipt in the journal says that something was wrong.
fn says_on_record(data_dir: &Path) -> bool {
    let frames = crate::journal::frames(data_dir).unwrap_or_default();
    frames.iter().any(|frame| String::from_utf8_lossy(&frame.body).contains("\"kind\":\"degraded\""))
}

/// Runs a command to its end and gives what it said; `None` when it does not end, and then it is killed with all its
/// children.
fn run_bounded(command: &mut Command) -> io::Result<Option<(ExitStatus, Vec<u8>)>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = {
        let _nothing_is_checked = BIRTHS.write().unwrap();
        command.spawn()?
    };
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let listener = std::thread::spawn(move || {
        let mut said = Vec::new();
        stdout.read_to_end(&mut said).map(|_| said)
    });
    let end = Instant::now() + LIFE_MAX;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let said = listener.join().map_err(|_| io::ErrorKind::Other)??;
    Ok(Some((status, said)))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
