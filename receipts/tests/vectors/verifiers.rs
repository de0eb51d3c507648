//! The other verifiers, each a process that answers a line of its standard input with a line: `CLYRA_VERIFIERS` names them,
//! `name=command` separated by `;`. `tests/scripts/verifiers.sh` builds them and sets it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

pub(crate) struct Verifier {
    pub(crate) name: String,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Verifier {
    /// Those that are named; none where nothing is.
    pub(crate) fn all() -> Vec<Self> {
        let named = std::env::var("CLYRA_VERIFIERS").unwrap_or_default();
        named.split(';').filter(|part| !part.is_empty()).map(Self::start).collect()
    }

    fn start(named: &str) -> Self {
        let (name, command) = named.split_once('=').expect("CLYRA_VERIFIERS: name=command");
        let mut words = command.split_whitespace();
        let mut process = Command::new(words.next().expect("CLYRA_VERIFIERS: a command"))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command}: {error}"));
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { name: name.to_owned(), process, input, output: BufReader::new(output) }
    }

    pub(crate) fn ask(&mut self, request: &Value) {
        writeln!(self.input, "{request}").unwrap();
        self.input.flush().unwrap();
    }

    /// The verdict, or `None` where nothing could be verified. A process that ended is a failure.
    pub(crate) fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).unwrap();
        assert!(read > 0, "{} ended", self.name);
        (!line.starts_with("{\"error\":")).then(|| line.trim_end_matches('\n').to_owned())
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
