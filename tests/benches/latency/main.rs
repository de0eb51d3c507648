//! What Clyra adds to an answer's latency: `cargo bench -p clyra-tests --bench latency`.
//!
//! One process runs the simulated provider, a plain pingora pass-through in front of it and sidecars in front of it, and
//! sends the same requests through each, one at a time on connections that are kept alive. Every round goes once through
//! each path in random order, so that whatever else the machine does hits all alike.
//!
//! Sidecars keep their evidence once on disk and once in memory (`/dev/shm`): the difference is the disk's, and every
//! receipt is synced in both. `--test`, or running it without cargo's `--bench`, makes only a few rounds, to see that it
//! works; `--rounds N` makes N.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod client;
mod figures;
mod servers;

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use clyra_simulator::directive_line;
use clyra_tests::recorded::Random;
use serde_json::{Value, json};

use client::Client;
use figures::{Figures, filesystem, load, print_table};
use servers::Sidecar;

const ROUNDS: usize = 1_000;
const ROUNDS_SMOKE: usize = 3;
/// Rounds before anything is counted: connections, pools and caches are warm then.
const WARM_UP: usize = 100;

const REQUEST_BYTES: usize = 2 * 1024;
/// Events of a stream; the opening one, the one with the finish reason and `[DONE]` are among them.
const EVENTS: usize = 20;
/// Text of one event.
const DELTA: &str = "settled on Friday, a";
/// A provider that thinks: short beside a real one, long beside what an attempt's receipt needs.
const THINK_MS: u64 = 10;

const PASS_THROUGH: &str = "pass-through";
const OBSERVE: &str = include_str!("../../../policy/packs/observe.yaml");
const BASELINE: &str = include_str!("../../../policy/packs/baseline.yaml");
const MEMORY: &str = "/dev/shm";

/// One kind of request.
struct Workload {
    title: String,
    body: Bytes,
    events: usize,
}

impl Workload {
    fn new(title: &str, directive: &Value, events: usize) -> Workload {
        let mut prompt = format!("\n{}", directive_line(directive));
        let request = |prompt: &str| {
            json!({"model": "gpt-5", "stream": events > 0, "messages": [
                {"role": "system", "content": "You answer in short sentences."},
                {"role": "user", "content": prompt},
            ]})
            .to_string()
        };
        let room = REQUEST_BYTES - request(&prompt).len();
        let filler: String = "Please read what follows. ".chars().cycle().take(room).collect();
        prompt.insert_str(0, &filler);
        let body = request(&prompt);
        assert_eq!(body.len(), REQUEST_BYTES);
        Workload { title: title.into(), body: body.into(), events }
    }
}

fn workloads() -> Vec<Workload> {
    let text = DELTA.repeat(EVENTS - 3);
    let stream = json!({"content": text, "split": DELTA.len()});
    let mut thinking = stream.clone();
    thinking["first_delay_ms"] = json!(THINK_MS);
    vec![
        Workload::new("plain answer", &json!({"content": text}), 0),
        Workload::new(&format!("stream of {EVENTS} events at once"), &stream, EVENTS),
        Workload::new(&format!("stream of {EVENTS} events after {THINK_MS} ms of thinking"), &thinking, EVENTS),
    ]
}

/// One way from the client to the provider.
struct Way {
    name: &'static str,
    client: Client,
    /// Per workload: first byte, and total.
    figures: Vec<(Figures, Figures)>,
}

/// Rounds to make; `None` if other benchmarks are meant.
fn rounds() -> Option<usize> {
    let (mut measured, mut asked, mut meant) = (false, None, true);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => measured = true,
            "--test" | "--quick" => asked = Some(ROUNDS_SMOKE),
            "--rounds" => {
                let number = arguments.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                asked = Some(number.expect("--rounds needs a number above 0"));
            }
            // Filters, as the other benchmarks understand them.
            name if !name.starts_with('-') => meant &= "latency".contains(name),
            _ => {}
        }
    }
    meant.then(|| asked.unwrap_or(if measured { ROUNDS } else { ROUNDS_SMOKE }))
}

fn main() {
    let Some(rounds) = rounds() else { return };
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let memory = Some(Path::new(MEMORY)).filter(|place| place.is_dir());
    println!(
        "latency: {rounds} rounds on {} cores, load {}, disk is {}{}",
        std::thread::available_parallelism().map_or(0, usize::from),
        load(),
        filesystem(disk),
        if cfg!(debug_assertions) { "; NOT OPTIMISED, the figures mean nothing" } else { "" },
    );

    let (provider_runtime, provider) = servers::provider();
    let runtime = clyra::cli::serve::runtime().unwrap();
    let start = |policy, place| Sidecar::start(&runtime, policy, &provider.url(), place);
    let mut sidecars =
        vec![("Clyra, observe, disk", start(OBSERVE, disk)), ("Clyra, baseline, disk", start(BASELINE, disk))];
    match memory {
        Some(memory) => sidecars.extend([
            ("Clyra, observe, memory", start(OBSERVE, memory)),
            ("Clyra, baseline, memory", start(BASELINE, memory)),
        ]),
        None => println!("skipped: evidence in memory, because there is no {MEMORY}"),
    }
    let mut addresses = vec![("direct", provider.addr()), (PASS_THROUGH, servers::pass_through(provider.addr()))];
    addresses.extend(sidecars.iter().map(|(name, sidecar)| (*name, sidecar.address)));

    let workloads = workloads();
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ways, syncs, exchanges) = clients.block_on(measure(&addresses, &workloads, rounds, disk, memory));

    report(&workloads, &ways, &syncs);
    println!("\nload at the end: {}", load());

    drop(ways);
    for (_, sidecar) in sidecars {
        sidecar.stop(&runtime, exchanges);
    }
    provider_runtime.block_on(provider.stop());
}

/// Goes through all rounds. Also measures what one sync costs, in each place where evidence is kept, and counts the
/// exchanges of each way.
async fn measure(
    addresses: &[(&'static str, SocketAddr)],
    workloads: &[Workload],
    rounds: usize,
    disk: &Path,
    memory: Option<&Path>,
) -> (Vec<Way>, Vec<(&'static str, Figures)>, u64) {
    let mut ways = Vec::new();
    for (name, address) in addresses {
        let figures = vec![(Figures::default(), Figures::default()); workloads.len()];
        ways.push(Way { name, client: Client::connect(*address).await, figures });
    }
    let places = [("disk", Some(disk)), ("memory", memory)];
    let mut syncs: Vec<(&str, File, Figures)> = places
        .into_iter()
        .filter_map(|(name, place)| Some((name, tempfile::tempfile_in(place?).unwrap(), Figures::default())))
        .collect();
    let mut random = Random(1);
    let warm_up = WARM_UP.min(rounds);
    for round in 0..warm_up + rounds {
        for (position, workload) in workloads.iter().enumerate() {
            let mut order: Vec<usize> = (0..ways.len()).collect();
            while !order.is_empty() {
                let way = &mut ways[order.swap_remove(random.below(order.len()))];
                let sample = way.client.exchange(&workload.body, workload.events).await;
                if round >= warm_up {
                    let (first, total) = &mut way.figures[position];
                    first.push(sample.first);
                    total.push(sample.total);
                }
            }
        }
        for (_, file, figures) in &mut syncs {
            let start = Instant::now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            if round >= warm_up {
                figures.push(start.elapsed());
            }
        }
    }
    let syncs = syncs.into_iter().map(|(name, _, figures)| (name, figures)).collect();
    (ways, syncs, ((warm_up + rounds) * workloads.len()) as u64)
}

fn report(workloads: &[Workload], ways: &[Way], syncs: &[(&str, Figures)]) {
    for (position, workload) in workloads.iter().enumerate() {
        let rows = |of: fn(&(Figures, Figures)) -> &Figures| -> Vec<(&str, Figures)> {
            ways.iter().map(|way| (way.name, of(&way.figures[position]).clone())).collect()
        };
        if workload.events > 0 {
            print_table(&format!("{}: first byte", workload.title), &rows(|f| &f.0), PASS_THROUGH);
        }
        print_table(&format!("{}: whole", workload.title), &rows(|f| &f.1), PASS_THROUGH);
    }
    println!("\nfor comparison: append 4 KiB to a file and sync its data, µs");
    for (name, figures) in syncs {
        let [p50, p90, p99] = figures.percentiles();
        println!("{name:<32}{p50:>8}{p90:>8}{p99:>8}");
    }
}
