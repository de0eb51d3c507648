//! Many verdicts for one start of the program: for campaigns that change evidence in thousands of ways.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clyra_receipts::verify::verify;
use serde::Deserialize;
use serde_json::json;

use super::Known;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::lines::Lines;
use crate::cli::print;

/// What a line asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    inputs: Vec<PathBuf>,
    root: Option<String>,
    checkpoint: Option<PathBuf>,
    witness_policy: Option<PathBuf>,
    event: Option<PathBuf>,
}

/// One verdict for each line of stdin. What cannot be verified is an error on its line, and the next goes on.
pub(super) fn run() -> Outcome {
    let mut lines = Lines::new(io::stdin());
    let mut out = print::stdout();
    while let Some(line) = lines.next()? {
        let asked = serde_json::from_slice(line.bytes()).map_err(Exit::usage);
        let verdict = asked.and_then(judge);
        let answer = verdict.unwrap_or_else(|exit| json!({"error": exit.message}).to_string().into_bytes());
        let written = out.write_all(&answer).and_then(|()| out.write_all(b"\n"));
        let written = written.and_then(|()| if lines.is_drained() { out.flush() } else { Ok(()) });
        if written.is_err() {
            print::written(written)?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    print::written(out.flush())?;
    Ok(ExitCode::SUCCESS)
}

fn judge(asked: Asked) -> Result<Vec<u8>, Exit> {
    let Asked { inputs, root, checkpoint, witness_policy, event } = asked;
    let known = Known { root, checkpoint, witness_policy, event };
    Ok(verify(&inputs, &known.options()?).map_err(Exit::usage)?.to_json())
}
