//! The campaigns of `docs/durability.md`, and the writer that they torment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clyra_campaigns::powercut::Cuts;
use clyra_campaigns::{bugs, faults, order, powercut, writer};

#[derive(Debug, Parser)]
#[command(name = "campaign", about = "Campaigns that show what the journal promises")]
struct Arguments {
    #[command(subcommand)]
    campaign: Campaign,
}

#[derive(Debug, Subcommand)]
enum Campaign {
    /// Record exchanges, and say what was acknowledged
    Write {
        data_dir: PathBuf,
        #[command(flatten)]
        work: writer::Work,
    },
    /// Audit the order of the writer's syncs
    Order {
        /// Leave out these calls (`fsync`, `fdatasync`), and expect that it shows
        #[arg(long)]
        without: Option<String>,
    },
    /// Let every system call of the writer fail once
    Faults {
        #[command(flatten)]
        reach: faults::Reach,
    },
    /// Put known bugs into a copy of the code, and see whether they are caught
    SeededBugs {
        /// Only those whose names contain this
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Cut the power at any point of the writer's life
    Powercut {
        #[command(flatten)]
        cuts: Cuts,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.campaign {
        Campaign::Write { data_dir, work } => return writer::run(&data_dir, &work),
        Campaign::Order { without } => order(without.as_deref()),
        Campaign::Faults { reach } => inject(&reach),
        Campaign::SeededBugs { only } => seed(&only),
        Campaign::Powercut { cuts } => cut(&cuts),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the campaign could not be run: {error}");
            ExitCode::from(3)
        }
    }
}

/// A place in memory where there is one: what matters is the order of things, not the disk below.
fn place() -> io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

fn order(without: Option<&str>) -> io::Result<bool> {
    let place = place()?;
    let audit = order::run(&std::env::current_exe()?, place.path(), without)?;
    audit.faults.iter().take(20).for_each(|fault| println!("  {fault}"));
    println!(
        "order: {} acknowledgements, {} checkpoints, {} syncs, {} renames, {} out of order",
        audit.acknowledged,
        audit.sealed,
        audit.syncs,
        audit.renames,
        audit.faults.len()
    );
    Ok(audit.faults.is_empty() == without.is_none())
}

fn inject(reach: &faults::Reach) -> io::Result<bool> {
    let place = place()?;
    let summary = faults::run(&std::env::current_exe()?, place.path(), reach)?;
    let mut calls: Vec<&String> = summary.by_kind.keys().map(|(call, _)| call).collect();
    calls.dedup();
    for call in calls {
        let kinds = summary.by_kind.iter().filter(|((name, _), _)| name == call);
        let kinds: Vec<String> = kinds.map(|((_, fault), count)| format!("{fault} {count}")).collect();
        println!("  {call}: {}", kinds.join(", "));
    }
    println!(
        "faults: {} points, {} struck the data directory, {} receipts acknowledged, {} torn ends recovered, {} failures \
         (lost, hung, silent or not taken up again)",
        summary.points,
        summary.struck,
        summary.acknowledged,
        summary.torn,
        summary.failures.len()
    );
    Ok(summary.failures.is_empty())
}

fn seed(only: &str) -> io::Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Beside what this was built into, so that the next time less is built.
    let place = std::env::current_exe()?.ancestors().nth(2).map(|target| target.join("seeded-bugs"));
    let place = place.ok_or_else(|| io::Error::other("not run by cargo"))?;
    let summary = bugs::run(&root.canonicalize()?, &place, only)?;
    println!("seeded bugs: {}/{} caught", summary.caught, summary.total);
    Ok(summary.missed.is_empty())
}

fn cut(cuts: &Cuts) -> io::Result<bool> {
    let place = place()?;
    let summary = powercut::run(&std::env::current_exe()?, place.path(), cuts)?;
    let [lost, torn, kept] = summary.fates;
    println!(
        "power cuts{}: {} points, {} with something lost or not taken up; torn ends recovered at {}; unflushed writes: {lost} \
         lost, {torn} torn, {kept} kept; {:.2} s a point",
        cuts.without.as_ref().map(|calls| format!(" without {calls}")).unwrap_or_default(),
        summary.points,
        summary.failures.len(),
        summary.torn,
        summary.seconds_per_point
    );
    if cuts.without.is_some() {
        summary.failures.iter().take(3).for_each(|failure| println!("  as it must be: {failure}"));
        return Ok(!summary.failures.is_empty());
    }
    Ok(summary.failures.is_empty())
}
