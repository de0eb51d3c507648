//! Makes a log of a million receipts, seals it into one bundle and verifies that: how long each step takes, and how much
//! memory.
//!
//! ```text
//! cargo run --release -p clyra-receipts --example million -- [RECEIPTS] [DIRECTORY]
//! ```
//!
//! The receipts go through the real log, each made durable before the next of its exchange. Peak memory is `VmHWM` of
//! `/proc/self/status`, set back before each step; elsewhere it is not known.

use std::error::Error;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clyra_receipts::receipt::{Attempt, BuildInfo, Outcome};
use clyra_receipts::{Keys, Log, LogOptions, Sealer, VerifyOptions, verify};
use serde_json::{Value, json};

/// Exchanges whose outcome is not written yet: enough that groups of receipts are made durable together.
const IN_FLIGHT: u64 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let receipts: u64 = args.next().map_or(Ok(1_000_000), |number| number.parse())?;
    let place = match args.next() {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let data = place.path();
    println!("{receipts} receipts, {} cores", std::thread::available_parallelism()?);
    step("made", || make(data, receipts))?;
    let mut bundles = Vec::new();
    step("sealed", || {
        let (mut sealer, count) = Sealer::open_offline(data)?;
        while let Some(sealed) = sealer.seal(count, &[])? {
            bundles.push(sealed.path);
        }
        Ok(())
    })?;
    for bundle in &bundles {
        let name = bundle.file_name().unwrap_or_default().to_string_lossy().into_owned();
        println!("         {name}: {} bytes", std::fs::metadata(bundle)?.len());
    }
    let options = VerifyOptions { trusted_root: Some(Keys::open(data)?.root().clone()), ..VerifyOptions::default() };
    step("verified", || good(&bundles, &options))?;
    step("verified as a journal", || good(&[data.join("journal")], &options))?;
    Ok(())
}

fn good<P: AsRef<Path>>(inputs: &[P], options: &VerifyOptions) -> Result<(), Box<dyn Error>> {
    let verdict = verify(inputs, options)?;
    if !verdict.ok {
        return Err(String::from_utf8_lossy(&verdict.to_json()).into());
    }
    println!("         {} receipts are good", verdict.stats.receipts);
    Ok(())
}

/// Runs a step and tells its time and peak memory.
fn step(name: &str, work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    // 5 sets the peak back; what cannot do that tells the peak so far.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let start = Instant::now();
    work()?;
    let took = start.elapsed();
    println!("{name}: {:.1} s, peak memory {}", took.as_secs_f64(), peak().unwrap_or_else(|| "unknown".to_owned()));
    Ok(())
}

fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(format!("{} MiB", kib / 1024))
}

/// Writes exchanges until there are so many receipts.
fn make(data: &Path, receipts: u64) -> Result<(), Box<dyn Error>> {
    let build = BuildInfo { digest: None, version: "million".to_owned() };
    let (log, _) = Log::open(LogOptions::new(data, "million.example/log", build))?;
    // The log's own first and last receipts count too.
    let exchanges = receipts.saturating_sub(4) / 2;
    let (tell, told) = mpsc::channel();
    let (mut begun, mut ended, mut done) = (0, 0, 0);
    while done < exchanges {
        while begun < exchanges && begun - done < IN_FLIGHT {
            let attempt = attempt(begun)?;
            let (tell, kept) = (tell.clone(), attempt.clone());
            log.append(attempt, Box::new(move |token| drop(tell.send(token.map(|token| Some((kept, token.seq)))))));
            begun += 1;
        }
        match told.recv_timeout(Duration::from_secs(60))?? {
            Some((attempt, seq)) => {
                let tell = tell.clone();
                log.append(outcome(&attempt, seq, ended)?, Box::new(move |token| drop(tell.send(token.map(|_| None)))));
                ended += 1;
            }
            None => done += 1,
        }
    }
    log.shutdown()?;
    Ok(())
}

fn uuid(number: u64) -> String {
    format!("01990000-{:04x}-7000-8000-{number:012x}", number % 0xffff)
}

fn policy() -> Value {
    json!({"decision": "allow", "exceptions": [], "hash": "0".repeat(64), "rules": [{"action": "allow", "id": "all"}], "shadow": []})
}

fn checks(number: u64) -> Value {
    let check = |id: &str| json!({"bytes": 800 + number % 997, "channel": "request.user", "id": id, "outcome": "pass", "reason": null, "us": 40 + number % 97, "version": "1.0.0"});
    json!([check("secrets"), check("injection")])
}

fn caller() -> Value {
    json!({"app": "checkout", "sdk": "openai-python/1.99", "tenant": "shop"})
}

fn digest(number: u64) -> Value {
    let mut text = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    text = text.repeat(4);
    json!({"alg": "hmac-sha256", "salt": null, "value": text})
}

fn attempt(number: u64) -> Result<Attempt, serde_json::Error> {
    serde_json::from_value(json!({
        "id": uuid(number), "run": null, "caller": caller(), "policy": policy(), "checks": checks(number), "findings": [],
        "coverage": {"level": "full", "reasons": []},
        "request": {
            "bytes": 800 + number % 997, "commit": digest(number), "messages": [{"count": 2, "kind": "text", "role": "user"}],
            "method": "POST", "model": "gpt-5", "route": "/v1/chat/completions", "stream": true, "surface": "openai.chat",
            "tools": [],
        },
    }))
}

fn outcome(attempt: &Attempt, seq: u64, number: u64) -> Result<Outcome, serde_json::Error> {
    serde_json::from_value(json!({
        "id": attempt.id, "attempt_seq": seq, "run": null, "caller": caller(), "request": null, "policy": policy(),
        "checks": checks(number), "findings": [], "coverage": {"level": "full", "reasons": []}, "schema": null,
        "upstream": {
            "attempts": 1, "first_byte_us": 200_000 + number % 99_991, "model": "gpt-5-2026", "name": "openai",
            "request_id": format!("req_{number}"), "status": 200, "total_us": 900_000 + number % 999_983,
        },
        "response": {
            "cost_microusd": 420, "finish_reason": "stop", "received": {"bytes": 3000, "commit": digest(number + 1)},
            "released": {"bytes": 3000, "commit": digest(number + 2)},
            "usage": {"cached": 1, "input": 200, "output": 300, "reasoning": 4},
        },
        "stream": {"events": 20, "held_max_bytes": 64, "root": "01".repeat(32)}, "verdict": "executed",
    }))
}
