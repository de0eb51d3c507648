//! Results go to stdout and hints to stderr; a reader who has seen enough (`| head`) is the end of the work, not an
//! error.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

use super::exit::Exit;

/// Where a command keeps its data.
#[derive(Debug, clap::Args)]
pub(super) struct DataDir {
    /// Where journal, bundles and keys live
    #[arg(
        long = "data-dir",
        env = "CLYRA_DATA_DIR",
        hide_env_values = true,
        value_name = "DIR",
        default_value = "./clyra-data",
        value_parser = target()
    )]
    pub(super) path: PathBuf,
}

/// A path to write at. A bare name is one in the current directory: what is made durable is the directory above it,
/// and so it must have one.
pub(super) fn target() -> impl TypedValueParser<Value = PathBuf> {
    let located = |path: PathBuf| if path.parent() == Some(Path::new("")) { Path::new(".").join(path) } else { path };
    PathBufValueParser::new().map(located)
}

/// Stdout, buffered: whoever streams flushes when there is nothing more to do at once.
pub(super) fn stdout() -> BufWriter<Stdout> {
    BufWriter::new(io::stdout())
}

/// Writes a whole result.
pub(super) fn result(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Exit> {
    let mut out = stdout();
    written(write(&mut out).and_then(|()| out.flush()))
}

/// What a write to stdout means for the command.
pub(super) fn written(result: io::Result<()>) -> Result<(), Exit> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Exit::internal(format!("cannot write the result to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Something for people. That nobody reads it is no reason to fail.
pub(super) fn hint(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Text out of evidence or file names, safe for a terminal: control characters could repaint what was printed before.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// `a 1, b 2`; `none` for nothing.
pub(super) fn counts(counts: &BTreeMap<String, u64>) -> String {
    let all: Vec<String> = counts.iter().map(|(name, number)| format!("{} {number}", plain(name))).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

/// `1 receipt`, `2 receipts`.
pub(super) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_leaves_is_no_error() {
        assert_eq!(written(Ok(())), Ok(()));
        assert_eq!(written(Err(io::ErrorKind::BrokenPipe.into())), Ok(()));
        assert_eq!(written(Err(io::ErrorKind::StorageFull.into())).unwrap_err().status, 3);
    }

    #[test]
    fn evidence_cannot_paint_on_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Kb\r\nç"), "a\u{fffd}[2Kb\u{fffd}\u{fffd}ç");
        let by_name = BTreeMap::from([("x\u{7}".to_owned(), 2), ("a".to_owned(), 1)]);
        assert_eq!((counts(&by_name), counts(&BTreeMap::new())), ("a 1, x\u{fffd} 2".to_owned(), "none".to_owned()));
    }

    #[test]
    fn a_path_to_write_at_has_a_directory() {
        let command = clap::Command::new("x");
        let located = |given: &str| target().parse_ref(&command, None, given.as_ref()).unwrap();
        let expected = ["./d", "./d", "e/d", "/d", "."].map(PathBuf::from);
        assert_eq!(["d", "./d", "e/d", "/d", "."].map(located), expected);
    }

    #[test]
    fn things_are_counted_in_words() {
        assert_eq!((count(0, "bundle"), count(1, "bundle")), ("0 bundles".to_owned(), "1 bundle".to_owned()));
    }
}
