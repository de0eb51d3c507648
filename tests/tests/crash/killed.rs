//! `kill -9` under load, again and again on one data directory: every answer that a client saw complete has its attempt and
//! its outcome in the journal, with the chain value of the token that the client was given, as the kill left it and after every
//! restart; and the evidence verifies. Bundles are sealed all the while; of eight kills one waits for a seal to be half done,
//! and one for a checkpoint to be published.
//!
//! `CLYRA_CRASH_CYCLES` sets the number of kills, `CLYRA_CRASH_SECONDS` ends the campaign earlier. A kill loses nothing that
//! the kernel has taken over; what a power cut loses is another campaign's question.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clyra_simulator::{Options, Simulator, directive_line};
use clyra_tests::client::{Answer, try_post};
use clyra_tests::process::Process;
use clyra_tests::recorded::Random;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::growing::Journal;
use crate::{Log, POLICY, assert_verifies, number};

/// Clients that send one request after the other.
const CLIENTS: usize = 32;
/// A kill comes after at most so many complete answers.
const ANSWERS_MAX: usize = 100;
/// The whole evidence is verified as a kill left it after every so many.
const VERIFY_EVERY: usize = 5;
/// Kills of one log; then it is ended in good order, verified, and another one begun.
const LOG_CYCLES: usize = 50;
const SEED: u64 = 9;
/// Longest wait for a seal to begin: they come every second.
const SEAL_WAIT_MAX: Duration = Duration::from_secs(30);

/// An exchange that takes some time: chat or messages, plain or streamed.
fn request(number: usize, random: &mut Random) -> (&'static str, Value) {
    let stream = number.is_multiple_of(2);
    let text = "All is well, and it goes on for a while. ".repeat(1 + random.below(4));
    let mut directive = json!({"content": text, "first_delay_ms": random.below(40)});
    if stream {
        directive["delay_ms"] = json!(1 + random.below(6));
        directive["split"] = json!(8);
    }
    let prompt = format!("Go on.\n{}", directive_line(&directive));
    let mut body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]});
    if number % 4 < 2 {
        return ("/v1/chat/completions", body);
    }
    body["max_tokens"] = json!(100);
    ("/v1/messages", body)
}

/// True if an SDK would take this answer for a complete one.
fn is_complete(answer: &Answer) -> bool {
    let text = answer.text();
    let plain = serde_json::from_str::<Value>(&text).is_ok();
    answer.status == 200 && (plain || text.contains("data: [DONE]") || text.contains("event: message_stop"))
}

/// What a client holds when its answer is complete: the id of the exchange and the token of a receipt.
#[derive(Debug, Clone)]
struct Held {
    id: String,
    token: String,
}

impl Held {
    /// Sequence number and chain value of the token.
    fn receipt(&self) -> (u64, &str) {
        let part = |name: &str| self.token.split(';').find_map(|part| part.strip_prefix(name));
        (part("seq=").unwrap().parse().unwrap(), part("chain=").unwrap())
    }

    /// Everything that the client holds is there.
    fn is_in(&self, journal: &Journal) -> Result<(), String> {
        journal.pairs(&self.id)?;
        let (seq, chain) = self.receipt();
        match journal.chain(seq) {
            Some(found) if found == chain => Ok(()),
            found => Err(format!("receipt {seq}, whose token a client holds, is {found:?}")),
        }
    }
}

/// True while a bundle or a checkpoint is being made.
fn is_sealing(data_dir: &Path) -> bool {
    ["bundles", "checkpoints"].iter().any(|directory| {
        let entries = std::fs::read_dir(data_dir.join(directory)).into_iter().flatten();
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".tmp"))
    })
}

/// What a kill waits for, after the answers that it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    AtOnce,
    /// A bundle or a checkpoint is being made.
    InSeal,
    /// A checkpoint more than before is there.
    AfterSeal,
}

impl Moment {
    /// Of eight kills, one for each of the two that have to wait.
    fn of(kill: usize) -> Moment {
        match kill % 8 {
            3 => Self::InSeal,
            7 => Self::AfterSeal,
            _ => Self::AtOnce,
        }
    }

    fn wait(self, data_dir: &Path) {
        let checkpoints = || std::fs::read_dir(data_dir.join("checkpoints")).into_iter().flatten().count();
        let (end, before) = (Instant::now() + SEAL_WAIT_MAX, checkpoints());
        let has_come = || match self {
            Self::AtOnce => true,
            Self::InSeal => is_sealing(data_dir),
            Self::AfterSeal => checkpoints() > before && !is_sealing(data_dir),
        };
        while !has_come() {
            assert!(Instant::now() < end, "no seal begins");
            std::thread::yield_now();
        }
    }
}

#[derive(Debug, Default)]
struct Cycle {
    held: Vec<Held>,
    cut: usize,
}

/// Puts a sidecar under load, kills it at the `moment` that comes after so many complete answers, and gives what the clients
/// hold.
async fn cycle(process: Process, data_dir: &Path, answers: usize, moment: Moment, random: &mut Random) -> Cycle {
    let (report, mut ends) = mpsc::unbounded_channel();
    let (address, killed) = (process.address, Arc::new(AtomicBool::new(false)));
    for client in 0..CLIENTS {
        let (report, killed, mut random) =
            (report.clone(), Arc::clone(&killed), Random(random.below(usize::MAX) as u64));
        tokio::spawn(async move {
            for turn in client.. {
                let (path, body) = request(turn, &mut random);
                let answer = try_post(address, path, &[], body.to_string().into_bytes()).await;
                let held = answer.ok().filter(is_complete).map(|answer| Held {
                    id: answer.header("x-clyra-request-id").to_owned(),
                    token: answer.header("x-clyra-receipt").to_owned(),
                });
                let goes_on = held.is_some();
                // An answer may fail before the kill only if the sidecar is at fault.
                let _ = report.send((held, killed.load(Ordering::SeqCst)));
                if !goes_on {
                    return;
                }
            }
        });
    }
    drop(report);
    let (mut done, mut process, mut killer) = (Cycle::default(), Some(process), None);
    while let Some((held, was_killed)) = ends.recv().await {
        match held {
            Some(held) => done.held.push(held),
            None => {
                assert!(was_killed, "an exchange failed although nothing was killed");
                done.cut += 1;
            }
        }
        if done.held.len() >= answers
            && let Some(process) = process.take()
        {
            let (killed, data_dir) = (Arc::clone(&killed), data_dir.to_owned());
            killer = Some(tokio::task::spawn_blocking(move || {
                moment.wait(&data_dir);
                killed.store(true, Ordering::SeqCst);
                process.kill();
            }));
        }
    }
    killer.expect("the clients ended before the kill").await.unwrap();
    done
}

#[derive(Debug, Default)]
struct Totals {
    kills: usize,
    in_seal: usize,
    answers: usize,
    cut: usize,
    torn: usize,
    bundles: usize,
    verified: usize,
    logs: usize,
}

/// Kills the sidecars of one log, then ends it in good order.
async fn one_log(kills: usize, end: Instant, upstream: &str, random: &mut Random, totals: &mut Totals) {
    let log = Log::new(POLICY, upstream);
    let data_dir = log.data_dir();
    let (mut journal, mut held, mut killed) = (Journal::default(), Vec::new(), 0);
    while killed < kills && Instant::now() < end {
        let number = totals.kills;
        let moment = Moment::of(number);
        let done = cycle(log.start(), &data_dir, 1 + random.below(ANSWERS_MAX), moment, random).await;
        held.extend(done.held);
        // What was durable is there before anybody has repaired anything.
        journal.read(&data_dir);
        held.iter().for_each(|held| held.is_in(&journal).unwrap_or_else(|what| panic!("kill {number}: {what}")));
        if number % VERIFY_EVERY == VERIFY_EVERY - 1 {
            assert_verifies(&data_dir, &format!("as kill {number} left it"));
            totals.verified += 1;
        }
        (totals.kills, killed) = (totals.kills + 1, killed + 1);
        (totals.cut, totals.in_seal) = (totals.cut + done.cut, totals.in_seal + usize::from(moment == Moment::InSeal));
        if totals.kills.is_multiple_of(100) {
            println!("{totals:?}");
        }
    }
    log.end();
    journal.read(&data_dir);
    held.iter().for_each(|held| held.is_in(&journal).unwrap_or_else(|what| panic!("at the end: {what}")));
    assert_verifies(&data_dir, "at the end");
    let unclean: usize = journal.segments().map(|segment| segment.unclean_starts).sum();
    assert_eq!(unclean, killed, "each restart says on record that the process before it did not end in good order");
    let bundles = std::fs::read_dir(data_dir.join("bundles")).unwrap().count();
    assert!(bundles > 0, "nothing was sealed");
    let names = std::fs::read_dir(data_dir.join("journal")).unwrap().map(|entry| entry.unwrap().file_name());
    totals.torn += names.filter(|name| name.to_string_lossy().contains(".torn-")).count();
    totals.bundles += bundles;
    totals.answers += held.len();
    totals.verified += 1;
    totals.logs += 1;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sidecar_loses_no_completed_answer() {
    let kills = number("CLYRA_CRASH_CYCLES").unwrap_or(20);
    // A year is no limit.
    let seconds = number("CLYRA_CRASH_SECONDS").unwrap_or(365 * 24 * 3600);
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let (mut random, mut totals) = (Random(SEED), Totals::default());
    while totals.kills < kills && Instant::now() < end {
        let of_this_log = LOG_CYCLES.min(kills - totals.kills);
        one_log(of_this_log, end, &simulator.url(), &mut random, &mut totals).await;
    }
    let Totals { kills, in_seal, answers, cut, torn, bundles, verified, logs } = totals;
    println!(
        "{kills} kills ({in_seal} of them in the middle of a seal) of {logs} logs under {CLIENTS} clients: {answers} completed \
         answers, 0 without their receipts; {cut} exchanges cut; {torn} torn ends; {bundles} bundles; verified {verified} \
         times, 0 errors"
    );
    assert!(cut > 0, "no exchange was cut: the kills came too late to show anything");
    simulator.stop().await;
}
