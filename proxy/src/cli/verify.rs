//! `clyra verify`: checks evidence offline, without trust in whoever handed it over.

mod batch;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clyra_receipts::PublicKey;
use clyra_receipts::verify::{Assurance, Severity, Verdict, VerifyOptions, verify};
use clyra_receipts::witness::WitnessPolicy;

use super::exit::{Exit, Outcome, bad};
use super::print::{self, plain};

/// Verify bundles, journals, data directories and proofs offline.
///
/// Reports everything that is wrong, each with a stable code, its place and what it means. Status 0 if nothing is, 1 if
/// something is, 2 if there is nothing to verify. Without --root it can tell that the evidence is whole and agrees with
/// itself, but not whose it is.
///
/// With --batch it reads JSON Lines from stdin, {"inputs": [paths], "root"?, "checkpoint"?, "witness_policy"?, "event"?}, and
/// writes a line for each: its canonical verdict, or {"error": text}.
///
/// Example: clyra verify evidence/0-1842.pef --root "$(cat root.vkey)"
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Bundles, journal directories, data directories, tlog-proofs, event proofs
    #[arg(value_name = "PATH", required_unless_present = "batch")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    known: Known,
    /// Print the canonical verdict, a JSON document
    #[arg(long)]
    json: bool,
    /// Verify what stdin names, line by line
    #[arg(long, conflicts_with_all = ["paths", "root", "checkpoint", "witness_policy", "event", "json"])]
    batch: bool,
}

/// What the reader knows from elsewhere; in a batch, of each line.
#[derive(Debug, clap::Args)]
struct Known {
    /// The log's root key that you were given apart from the evidence: a verifier key, or a file with one
    #[arg(long, value_name = "VKEY")]
    root: Option<String>,
    /// A checkpoint of the log that you kept: it must not have shrunk or changed since
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The witnesses that must have cosigned, as a C2SP tlog-policy
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// The event, byte for byte as it was received, that an event proof must be about
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
}

impl Known {
    fn options(&self) -> Result<VerifyOptions, Exit> {
        Ok(VerifyOptions {
            trusted_root: self.root.as_deref().map(root_key).transpose()?,
            remembered_checkpoint: self.checkpoint.as_deref().map(read).transpose()?,
            witness_policy: self.witness_policy.as_deref().map(witness_policy).transpose()?,
            event: self.event.as_deref().map(event).transpose()?,
        })
    }
}

/// Longest key file or checkpoint: both have a few hundred bytes, a checkpoint a few thousand with its cosignatures.
const FILE_BYTES_MAX: u64 = 64 << 10;

pub(super) fn run(args: &Args) -> Outcome {
    if args.batch {
        return batch::run();
    }
    let verdict = verify(&args.paths, &args.known.options()?).map_err(Exit::usage)?;
    print::result(|out| {
        if args.json {
            out.write_all(&verdict.to_json())?;
            return writeln!(out);
        }
        text(&verdict, out)
    })?;
    if verdict.assurance == Assurance::Integrity {
        print::hint(
            "Whose evidence it is was not checked: pass the log's root key with --root (`clyra keys export --root`).",
        );
    }
    print::hint(
        "No evidence can show a tail that was dropped after the last checkpoint that anybody kept, or a request",
    );
    print::hint("that was never logged.");
    Ok(if verdict.ok { ExitCode::SUCCESS } else { bad() })
}

fn text(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    let mut counted = [0_u64; 2];
    for finding in &verdict.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let [errors, warnings] = &mut counted;
        *(if finding.severity == Severity::Error { errors } else { warnings }) += 1;
        let seq = finding.seq.map_or(String::new(), |seq| format!(" receipt {seq}"));
        let (code, name) = (finding.code.code(), finding.name());
        writeln!(out, "{severity} {code} {name} {}{seq}: {}", plain(&finding.path), plain(&finding.detail))?;
    }
    if verdict.findings_dropped > 0 {
        writeln!(out, "… and {} more", print::count(verdict.findings_dropped, "finding"))?;
    }
    let stats = &verdict.stats;
    let [errors, warnings] = counted;
    let counts = [
        (stats.bundles, "bundle"),
        (stats.segments, "segment"),
        (stats.checkpoints, "checkpoint"),
        (stats.receipts, "receipt"),
    ];
    let looked_at = counts.map(|(number, thing)| print::count(number, thing)).join(", ");
    let logs: Vec<String> = stats.logs.iter().map(|log| plain(log)).collect();
    writeln!(out, "log        {}", if logs.is_empty() { "unknown".to_owned() } else { logs.join(", ") })?;
    writeln!(out, "looked at  {looked_at}")?;
    if let (Some(first), Some(last)) = (stats.first_seq, stats.last_seq) {
        writeln!(out, "receipts   {first} to {last}: {}", print::counts(&stats.kinds))?;
        writeln!(out, "verdicts   {}", print::counts(&stats.verdicts))?;
    }
    let established = match verdict.assurance {
        Assurance::Origin => "origin and integrity, against the root key that was named",
        Assurance::Integrity => "integrity, not origin (no root key was named)",
    };
    writeln!(out, "checked    {established}")?;
    let findings = format!("{}, {}", print::count(errors, "error"), print::count(warnings, "warning"));
    writeln!(out, "{}: {findings}", if verdict.ok { "GOOD" } else { "BAD" })
}

/// A verifier key as it is, or the file that it is in.
fn root_key(given: &str) -> Result<PublicKey, Exit> {
    let fault = match PublicKey::from_vkey(given) {
        Ok(key) => return Ok(key),
        Err(fault) => fault,
    };
    let path = Path::new(given);
    if !path.is_file() {
        return Err(Exit::usage(format!("--root: {fault}; `clyra keys export --root` prints one")));
    }
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    PublicKey::from_vkey(&text).map_err(|fault| Exit::usage(format!("--root {}: {fault}", path.display())))
}

fn witness_policy(path: &Path) -> Result<WitnessPolicy, Exit> {
    WitnessPolicy::parse(&read(path)?)
        .map_err(|error| Exit::usage(format!("--witness-policy {}: {error}", path.display())))
}

/// Longest event that is read: the largest answer that the sidecar holds by default.
const EVENT_BYTES_MAX: u64 = 64 << 20;

fn event(path: &Path) -> Result<Vec<u8>, Exit> {
    read_up_to(path, EVENT_BYTES_MAX, "no event is")
}

fn read(path: &Path) -> Result<Vec<u8>, Exit> {
    read_up_to(path, FILE_BYTES_MAX, "no verifier key, checkpoint or policy is")
}

fn read_up_to(path: &Path, bytes_max: u64, what: &str) -> Result<Vec<u8>, Exit> {
    let fail = |what: &dyn std::fmt::Display| Exit::usage(format!("{} {what}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fail(&format!("cannot be read: {error}")))?;
    let read = file.take(bytes_max + 1).read_to_end(&mut bytes);
    read.map_err(|error| fail(&format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > bytes_max {
        return Err(fail(&format!("is larger than {bytes_max} bytes: {what}")));
    }
    Ok(bytes)
}
