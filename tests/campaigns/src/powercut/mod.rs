//! Power cuts. The writer works on a real ext4 on a block device that records every write and flush; afterwards the power is
//! cut at any place of the record: what was flushed is there, and of what came after, each write is there, torn at any sector,
//! or lost. The file system is mounted as the cut left it, and everything that had been acknowledged by then must be in it.
//!
//! No device mapper is needed: `qemu-storage-daemon` records (`blklogwrites`, the format of dm-log-writes) and shows the
//! device through FUSE, a loop device makes it one for the kernel. Needs root.

mod device;
mod record;
mod replay;

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use crate::check::check;
use crate::dice::Dice;
use crate::told::Told;

use device::Recorder;
use record::{Record, entry_count};
use replay::Replay;

/// How much is recorded and cut.
#[derive(Debug, Clone, clap::Args)]
pub struct Cuts {
    /// Points at which the power is cut
    #[arg(long, default_value_t = 500)]
    pub points: usize,
    /// Decides points, losses and tears
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Processes one after the other in the record; all but the last are killed
    #[arg(long, default_value_t = 4)]
    pub processes: usize,
    /// Acknowledgements after which a process is killed, at most
    #[arg(long, default_value_t = 600)]
    pub acknowledgements: usize,
    /// Options that the file system is mounted with
    #[arg(long, default_value = "data=ordered")]
    pub mount: String,
    /// Leave out these calls of the writer (`fsync,fdatasync`), so that something must be lost: shows that the campaign would
    /// notice
    #[arg(long)]
    pub without: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub acknowledged: usize,
    pub sealed: usize,
    pub entries: usize,
    pub flushes: usize,
    pub points: usize,
    /// Points after which an acknowledged receipt or a published checkpoint was missing, or the log was not taken up.
    pub failures: Vec<String>,
    pub torn: usize,
    /// Writes after the last flush that were lost, torn, kept, over all points.
    pub fates: [usize; 3],
    pub seconds_per_point: f64,
}

/// A line of the writer, and how many entries the record had when it was heard.
type Heard = Vec<(usize, String)>;

/// Records and cuts, below `place`.
pub fn run(program: &Path, place: &Path, cuts: &Cuts) -> io::Result<Summary> {
    let mut dice = Dice(cuts.seed);
    let record_file = place.join("record");
    let recorder = Recorder::start(place, &record_file, &cuts.mount)?;
    let first = entry_count(&record_file)?;
    let heard = work(program, &recorder, &record_file, cuts, &mut dice)?;
    recorder.stop()?;
    let record = Record::read(&record_file)?;
    let window = first..record.entries.len();

    let mut summary = Summary {
        acknowledged: heard.iter().filter(|(_, line)| line.starts_with("ack ")).count(),
        sealed: heard.iter().filter(|(_, line)| line.starts_with("sealed ")).count(),
        entries: window.len(),
        flushes: record.entries[window.clone()].iter().filter(|entry| entry.flush).count(),
        ..Summary::default()
    };
    println!(
        "recorded: {} receipts acknowledged, {} checkpoints, {} writes and flushes ({} flushes)",
        summary.acknowledged, summary.sealed, summary.entries, summary.flushes
    );
    let mut points = BTreeSet::new();
    while points.len() < cuts.points.min(window.len()) {
        points.insert(window.start + 1 + dice.below(window.len()));
    }
    let began = Instant::now();
    let mut replay = Replay::new(place, record, &cuts.mount)?;
    for (number, point) in points.iter().enumerate() {
        // What was heard before the record reached the point was said before the power was cut there.
        let mut told = Told::default();
        heard.iter().take_while(|(entries, _)| entries <= point).for_each(|(_, line)| told.hear(line));
        let (mounted, fates) = replay.cut(*point, &mut dice)?;
        let result = match &mounted {
            Ok(mounted) => check(&mounted.path().join("data"), &told),
            Err(what) => Err(what.clone()),
        };
        if let Ok(mounted) = mounted {
            mounted.unmount()?;
        }
        summary.points += 1;
        summary.fates.iter_mut().zip(fates).for_each(|(sum, fate)| *sum += fate);
        match result {
            Ok(found) => summary.torn += usize::from(found.torn),
            Err(what) => {
                if cuts.without.is_none() {
                    println!("  FAILED: cut at {point}: {what}");
                }
                summary.failures.push(format!("cut at {point}: {what}"));
            }
        }
        if (number + 1).is_multiple_of(100) {
            println!("  {} of {} points, {} failures", number + 1, points.len(), summary.failures.len());
        }
    }
    summary.seconds_per_point = began.elapsed().as_secs_f64() / points.len().max(1) as f64;
    Ok(summary)
}

/// Runs the writers one after the other and notes what they say and when.
fn work(program: &Path, recorder: &Recorder, record: &Path, cuts: &Cuts, dice: &mut Dice) -> io::Result<Heard> {
    let mut heard = Heard::new();
    let data_dir = recorder.mount_point().join("data");
    for process in 1..=cuts.processes {
        let is_last = process == cuts.processes || cuts.without.is_some();
        let kill_after = if is_last { usize::MAX } else { 1 + dice.below(cuts.acknowledgements) };
        let mut child = writer(program, &data_dir, is_last, cuts)?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (say, said) = mpsc::channel();
        std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|l| say.send(l)));
        let mut acknowledged = 0;
        for line in said {
            acknowledged += usize::from(line.starts_with("ack "));
            heard.push((entry_count(record)?, line));
            if acknowledged == kill_after {
                child.kill()?;
            }
        }
        let status = child.wait()?;
        if is_last {
            if !status.success() {
                return Err(io::Error::other(format!("the last writer failed: {status}")));
            }
            break;
        }
    }
    Ok(heard)
}

fn writer(program: &Path, data_dir: &PathBuf, is_last: bool, cuts: &Cuts) -> io::Result<Child> {
    let mut command = Command::new(if cuts.without.is_some() { Path::new("strace") } else { program });
    if let Some(calls) = &cuts.without {
        // The calls return as if all were well, and the kernel never hears of them.
        command.args(["-f", "--seccomp-bpf", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:retval=0")]).arg(program);
    }
    // Segments of 64 KiB end every forty exchanges or so; the file system has room for some thousand.
    let rounds = if is_last { "6" } else { "1000" };
    command.arg("write").arg(data_dir).args(["--threads", "8", "--exchanges", "4", "--segment-bytes", "65536"]);
    command.args(["--rounds", rounds]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}
