//! What receipts cost: `cargo bench -p clyra-receipts`.
//!
//! - `cpu`: processor time of a whole exchange (attempt and outcome: written out, placed, chained, signed, framed, written and
//!   acknowledged, with all thread hand-overs) with the journal in memory, so that no disk is waited for. Read from the
//!   kernel's account of this process, whatever else the machine does.
//! - `durable`: time from append to acknowledgement with sixteen callers at once, on the disk of the temporary directory.
//! - `verify`: one receipt of a bundle, all checks.

// A bench that cannot run has nobody to report to.
#![allow(clippy::unwrap_used)]

#[path = "sample/mod.rs"]
mod sample;

use std::path::Path;
use std::time::{Duration, Instant};

use clyra_receipts::{Log, Sealer, VerifyOptions};
use criterion::{Criterion, criterion_group, criterion_main};
use sample::{attempt, open, outcome, processor_time};

fn exchange(log: &Log) {
    let attempt = attempt();
    let token = log.append_blocking(attempt.clone()).unwrap();
    log.append_blocking(outcome(&attempt, token.seq)).unwrap();
}

fn concurrently(log: &Log, callers: u64, exchanges: u64) {
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let share = exchanges / callers + u64::from(caller < exchanges % callers);
            scope.spawn(move || (0..share).for_each(|_| exchange(log)));
        }
    });
}

fn cpu(criterion: &mut Criterion) {
    let memory = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    let directory = tempfile::tempdir_in(memory).unwrap();
    let log = open(directory.path());
    criterion.bench_function("cpu per exchange (two receipts)", |bencher| {
        bencher.iter_custom(|iterations| {
            // At least 500 exchanges, because the kernel counts in steps of 10 ms.
            let factor = 500 / iterations.min(500) + 1;
            let before = processor_time();
            concurrently(&log, 16, iterations * factor);
            (processor_time() - before) / u32::try_from(factor).unwrap_or(1)
        });
    });
}

fn durable(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    criterion.bench_function("durable exchange, 16 callers (time of one caller)", |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            concurrently(&log, 16, iterations * 16);
            start.elapsed()
        });
    });
}

fn verify(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    concurrently(&log, 16, 500);
    let mut sealer = Sealer::open(directory.path()).unwrap();
    let sealed = sealer.seal(log.status().durable_count, &[]).unwrap();
    let Some(sealed) = sealed else { return };
    criterion.bench_function("verify a bundle of 1,002 receipts", |bencher| {
        bencher.iter(|| clyra_receipts::verify(&[&sealed.path], &VerifyOptions::default()).map(|verdict| verdict.ok));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    targets = cpu, durable, verify
}
criterion_main!(benches);
