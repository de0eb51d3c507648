//! `clyra coverage`: what is inspected, surface by surface.

use std::process::ExitCode;

use super::exit::Outcome;
use super::print;
use crate::surface::SURFACES;
use crate::surface::coverage::{Part, map, page};

/// Show what is inspected: each endpoint, each channel, in requests, plain answers and streams.
///
/// "inspected": every text of the channel is looked at. "declared": media that no text detector reads; it passes, and each
/// receipt says so. Names and values that no table knows are inspected as metadata. An endpoint that is not listed is refused
/// or passes on record, as `defaults.unknown_surface` of the policy says. A running sidecar serves the same map at
/// /api/v1/coverage of its admin port.
///
/// Example: clyra coverage --json | jq '.surfaces[] | select(.surface == "openai.chat").channels'
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON document
    #[arg(long, conflicts_with = "page")]
    json: bool,
    /// The page docs/coverage.md, in Markdown
    #[arg(long)]
    page: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    if args.page {
        print::result(|out| write!(out, "{}", page()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.json {
        print::result(|out| writeln!(out, "{}", map("as the policy says")))?;
        return Ok(ExitCode::SUCCESS);
    }
    print::result(|out| {
        for surface in SURFACES {
            writeln!(out, "{}", surface.id)?;
            for route in surface.routes {
                writeln!(out, "  {route}")?;
            }
            writeln!(out, "    {:<18}{:<12}{:<12}stream", "channel", "request", "answer")?;
            for (channel, parts) in surface.seen() {
                let cell = |part| parts.get(&part).map_or("-", |seen| seen.as_str());
                let (request, answer) = (cell(Part::Request), cell(Part::Answer));
                writeln!(out, "    {:<18}{request:<12}{answer:<12}{}", channel.as_str(), cell(Part::Stream))?;
            }
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
