//! Known bugs, put one after the other into a copy of the journal, the seals and the verifier. Each must be caught by the test
//! or the campaign that its file in `tests/campaigns/bugs/` names; a bug that no longer fits the code is an error, not a pass.
//!
//! A file says what the bug is in its first line, then `caught by: test FILTER` (tests of `clyra-receipts` with that in their
//! names) or `caught by: order` (the audit of syncs), then `file: PATH`, and for each place the text as it is between `<<<<` and
//! `====` and the text as it is to be between `====` and `>>>>`. The lines of the former must occur exactly once, however far
//! they are indented.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest run of a check: the slowest takes a minute on a machine under load. A bug that makes it hang is caught.
const CHECK_MAX: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bug {
    name: String,
    what: String,
    check: Check,
    file: PathBuf,
    edits: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Check {
    Test(String),
    Order,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub total: usize,
    pub caught: usize,
    /// Bugs that nothing caught.
    pub missed: Vec<String>,
}

fn wrong(name: &str, what: &str) -> io::Error {
    io::Error::other(format!("bugs/{name}: {what}"))
}

fn parse(name: &str, text: &str) -> io::Result<Bug> {
    let (head, places) = text.split_once("<<<<\n").ok_or_else(|| wrong(name, "it has no place"))?;
    let mut lines = head.lines();
    let what = lines.next().unwrap_or_default().to_owned();
    let mut field = |label: &str| {
        let value = lines.next().and_then(|line| line.strip_prefix(label)).map(|rest| rest.trim().to_owned());
        value.ok_or_else(|| wrong(name, &format!("no line {label:?}")))
    };
    let check = match field("caught by:")?.split_once(' ') {
        Some(("test", filter)) => Check::Test(filter.to_owned()),
        None => Check::Order,
        Some((other, _)) => return Err(wrong(name, &format!("unknown check {other:?}"))),
    };
    let file = PathBuf::from(field("file:")?);
    let mut edits = Vec::new();
    for place in places.split("<<<<\n") {
        let edit = place.split_once("====\n").and_then(|(from, rest)| Some((from, rest.split_once(">>>>")?.0)));
        let (from, to) = edit.ok_or_else(|| wrong(name, "a place without its two texts"))?;
        edits.push((from.to_owned(), to.to_owned()));
    }
    Ok(Bug { name: name.to_owned(), what, check, file, edits })
}

impl Bug {
    /// The file with the bug in it.
    fn put_into(&self, source: &str) -> io::Result<String> {
        let mut out: Vec<&str> = source.lines().collect();
        for (from, to) in &self.edits {
            let from: Vec<&str> = from.lines().map(str::trim).collect();
            let is_here = |lines: &[&str]| lines.iter().map(|line| line.trim()).eq(from.iter().copied());
            let places: Vec<usize> =
                out.windows(from.len()).enumerate().filter(|(_, lines)| is_here(lines)).map(|(at, _)| at).collect();
            let [place] = places[..] else {
                let (count, file, text) = (places.len(), self.file.display(), from.join("\n"));
                let what = format!("its text occurs {count} times in {file}; bring it up to date:\n{text}");
                return Err(wrong(&self.name, &what));
            };
            out.splice(place..place + from.len(), to.lines());
        }
        Ok(out.join("\n") + "\n")
    }
}

/// Reads the bugs, puts each into a copy of `root` below `place`, and sees whether it is caught. With `only`, those whose
/// names contain it.
pub fn run(root: &Path, place: &Path, only: &str) -> io::Result<Summary> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(root.join("tests/campaigns/bugs"))?
        .map(|e| e.map(|e| e.path()))
        .collect::<io::Result<_>>()?;
    names.sort();
    let mut bugs = Vec::new();
    for path in names {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        bugs.push(parse(&name, &std::fs::read_to_string(&path)?)?);
    }
    // All of them must fit before any time is spent.
    for bug in &bugs {
        bug.put_into(&std::fs::read_to_string(root.join(&bug.file))?)?;
    }
    bugs.retain(|bug| bug.name.contains(only));
    let tree = place.join("tree");
    copy_tree(root, &tree)?;
    let copy = Copy { tree, target: place.join("target") };
    // What is to catch the bugs must pass without them.
    let mut checks: Vec<&Check> = Vec::new();
    bugs.iter().for_each(|bug| {
        if !checks.contains(&&bug.check) {
            checks.push(&bug.check)
        }
    });
    for check in checks {
        if copy.catches(check)? {
            return Err(io::Error::other(format!("{check:?} fails without any bug")));
        }
    }
    let mut summary = Summary { total: bugs.len(), ..Summary::default() };
    for bug in bugs {
        let path = copy.tree.join(&bug.file);
        let source = std::fs::read_to_string(&path)?;
        std::fs::write(&path, bug.put_into(&source)?)?;
        let caught = copy.catches(&bug.check);
        std::fs::write(&path, source)?;
        if caught.map_err(|error| wrong(&bug.name, &error.to_string()))? {
            summary.caught += 1;
            println!("  caught  {}: {}", bug.name, bug.what);
        } else {
            println!("  MISSED  {}: {}", bug.name, bug.what);
            summary.missed.push(bug.name);
        }
    }
    Ok(summary)
}

/// Copies what git knows or would know.
fn copy_tree(root: &Path, tree: &Path) -> io::Result<()> {
    if tree.exists() {
        std::fs::remove_dir_all(tree)?;
    }
    let git = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(git).current_dir(root).output()?;
    if !listed.status.success() {
        return Err(io::Error::other("git does not list the files of this tree"));
    }
    for name in listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        let (from, to) = (root.join(&name), tree.join(&name));
        if from.is_file() {
            std::fs::create_dir_all(to.parent().unwrap_or(tree))?;
            std::fs::copy(from, to)?;
        }
    }
    Ok(())
}

struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).arg("--locked").current_dir(&self.tree).stdin(Stdio::null());
        command.env("CARGO_TARGET_DIR", &self.target).env("CARGO_INCREMENTAL", "1");
        command
    }

    /// Builds what checks, and runs it; true when it fails. What does not build is an error.
    fn catches(&self, check: &Check) -> io::Result<bool> {
        let build: &[&str] = match check {
            Check::Test(_) => &["test", "-p", "clyra-receipts", "--lib", "--no-run"],
            Check::Order => &["build", "-p", "clyra-campaigns", "--bin", "campaign"],
        };
        let built = self.cargo(build).output()?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr).into_owned();
            return Err(io::Error::other(format!("it does not build:\n{said}")));
        }
        let mut command = match check {
            Check::Test(filter) => self.cargo(&["test", "-p", "clyra-receipts", "--lib", filter]),
            Check::Order => {
                let mut command = Command::new(self.target.join("debug/campaign"));
                command.arg("order");
                command
            }
        };
        let status = bounded(command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()))?;
        Ok(status.is_none_or(|status| !status.success()))
    }
}

/// Runs a command; nothing when it had to be ended.
fn bounded(command: &mut Command) -> io::Result<Option<ExitStatus>> {
    use std::os::unix::process::CommandExt as _;
    let mut child = command.process_group(0).spawn()?;
    let end = Instant::now() + CHECK_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > end {
            Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds now instead of a failure when somebody next runs the long target.
    #[test]
    fn every_bug_still_fits_the_code() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut count = 0;
        for entry in std::fs::read_dir(root.join("tests/campaigns/bugs")).unwrap() {
            let path = entry.unwrap().path();
            let bug = parse(&path.to_string_lossy(), &std::fs::read_to_string(&path).unwrap()).unwrap();
            let source = std::fs::read_to_string(root.join(&bug.file)).unwrap();
            assert_ne!(bug.put_into(&source).unwrap(), source);
            count += 1;
        }
        assert!(count >= 10, "{count}");
    }

    #[test]
    fn a_bug_that_does_not_fit_is_an_error() {
        let bug = parse("b", "What.\ncaught by: order\nfile: f\n<<<<\nold\n====\nnew\n>>>>\n").unwrap();
        assert_eq!(bug.put_into("an\n  old\nline\n").unwrap(), "an\nnew\nline\n");
        assert!(bug.put_into("nothing").is_err());
        assert!(bug.put_into("old\nold\n").is_err());
        assert!(parse("b", "What.\nfile: f\n<<<<\n====\n>>>>\n").is_err());
    }
}
