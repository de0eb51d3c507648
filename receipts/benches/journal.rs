//! What the journal bears: `cargo bench -p clyra-receipts --bench journal`, on the disk of the temporary directory (`TMPDIR`).
//!
//! So many callers append one receipt after another, each waiting until its own is on disk. `cpu/receipt` is processor time
//! of all threads, the callers' included, as the kernel accounts it. Then the cost of taking up a long log: every receipt's
//! checksum and chain value are read again.

// A bench that cannot run has nobody to report to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "sample/mod.rs"]
mod sample;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clyra_receipts::{Log, LogOptions};
use sample::{attempt, open, processor_time};

/// Time that each number of callers is measured.
const MEASURE: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_millis(500);

/// Size of the log that is taken up again; `CLYRA_BENCH_LOG_MIB` sets another.
const LOG_MIB: u64 = 256;

fn main() {
    // `cargo test --benches` runs this too, and wants to see that it works.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let (warm_up, measure) = if measures { (WARM_UP, MEASURE) } else { (Duration::ZERO, Duration::from_millis(50)) };
    println!(
        "{:>7} {:>12} {:>9} {:>9} {:>9} {:>12} {:>14}",
        "waiters", "receipts/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "cpu/receipt us"
    );
    for waiters in [1, 16, 64, 256] {
        row(waiters, warm_up, measure);
    }
    let mib = std::env::var("CLYRA_BENCH_LOG_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(LOG_MIB);
    take_up(if measures { mib } else { 1 });
}

fn row(waiters: usize, warm_up: Duration, measure: Duration) {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    appending(&log, waiters, warm_up);
    let (before, started) = (processor_time(), Instant::now());
    let mut waits = appending(&log, waiters, measure);
    let (elapsed, cpu) = (started.elapsed(), processor_time() - before);
    log.shutdown().unwrap();
    waits.sort_unstable();
    let count = waits.len().max(1);
    let quantile = |percent: usize| waits.get((count * percent / 100).min(count - 1)).copied().unwrap_or_default();
    let ms = |wait: Duration| wait.as_secs_f64() * 1e3;
    println!(
        "{waiters:>7} {:>12.0} {:>9.2} {:>9.2} {:>9.2} {:>12.2} {:>14.1}",
        count as f64 / elapsed.as_secs_f64(),
        ms(quantile(50)),
        ms(quantile(90)),
        ms(quantile(99)),
        ms(quantile(100)),
        cpu.as_secs_f64() * 1e6 / count as f64,
    );
}

/// So many callers for so long; how long each receipt took.
fn appending(log: &Log, waiters: usize, measure: Duration) -> Vec<Duration> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let append = || {
            let mut waits = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let started = Instant::now();
                log.append_blocking(attempt()).unwrap();
                waits.push(started.elapsed());
            }
            waits
        };
        let callers: Vec<_> = (0..waiters).map(|_| scope.spawn(append)).collect();
        std::thread::sleep(measure);
        stop.store(true, Ordering::Relaxed);
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    })
}

fn take_up(mib: u64) {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let journal = directory.path().join("journal");
    std::thread::scope(|scope| {
        for _ in 0..256 {
            scope.spawn(|| {
                while bytes(&journal) < mib << 20 {
                    (0..64).for_each(|_| drop(log.append_blocking(attempt())));
                }
            });
        }
    });
    log.shutdown().unwrap();
    let bytes = bytes(&journal);
    let (before, started) = (processor_time(), Instant::now());
    let (log, report) = Log::open(LogOptions::new(directory.path(), sample::ORIGIN, sample::build())).unwrap();
    let (elapsed, cpu) = (started.elapsed(), processor_time() - before);
    log.shutdown().unwrap();
    let gib = bytes as f64 / f64::from(1 << 30);
    println!(
        "\ntaking up a log of {:.0} MiB ({} receipts): {:.2} s, {:.2} s of processor time; per GiB {:.2} s",
        gib * 1024.0,
        report.last_seq.unwrap_or(0) + 1,
        elapsed.as_secs_f64(),
        cpu.as_secs_f64(),
        elapsed.as_secs_f64() / gib,
    );
}

fn bytes(journal: &Path) -> u64 {
    std::fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}
