//! The cases: what is handed to a verifier, and the codes that SPEC asks for. Codes are written by hand; a `?` marks a warning.

mod anchors;
mod artifacts;
mod container;
mod documents;
mod journals;
mod keys;
pub(crate) mod odd;
mod order;
mod proofs;
mod readings;
mod receipts;
mod valid;

use crate::forge::Files;
use crate::forge::bundle::Bundle;
use crate::forge::key::Key;
use crate::forge::log::{Log, ORIGIN};

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) files: Files,
    pub(crate) inputs: Vec<String>,
    pub(crate) root: Option<String>,
    pub(crate) checkpoint: Option<String>,
    pub(crate) witness_policy: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) exit: u8,
    pub(crate) codes: Vec<(String, &'static str)>,
}

impl Case {
    pub(crate) fn new(name: &str, about: &str) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            files: Files::new(),
            inputs: Vec::new(),
            root: Some(Key::new(&format!("{ORIGIN}/root"), "root").vkey()),
            checkpoint: None,
            witness_policy: None,
            event: None,
            exit: 0,
            codes: Vec::new(),
        }
    }

    /// Codes that the verdict has, and no others: `E503`, or `E507?` for a warning.
    pub(crate) fn finds(mut self, codes: &str) -> Self {
        for code in codes.split_whitespace() {
            match code.strip_suffix('?') {
                Some(code) => self.codes.push((code.to_owned(), "warning")),
                None => {
                    self.codes.push((code.to_owned(), "error"));
                    self.exit = 1;
                }
            }
        }
        self
    }

    pub(crate) fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), bytes.into());
        self
    }

    pub(crate) fn files(mut self, files: Files) -> Self {
        self.files.extend(files);
        self
    }

    pub(crate) fn input(mut self, path: &str) -> Self {
        self.inputs.push(path.to_owned());
        self
    }

    /// A file that is an input.
    pub(crate) fn given(self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.file(path, bytes).input(path)
    }

    pub(crate) fn bundle(self, name: &str, bundle: &Bundle) -> Self {
        self.given(name, bundle.pef())
    }

    /// Files below one directory, which is the input.
    pub(crate) fn directory(self, name: &str, files: Files) -> Self {
        self.files(files).input(name)
    }

    pub(crate) fn remembers(mut self, note: Vec<u8>) -> Self {
        self.checkpoint = Some("remembered".into());
        self.file("remembered", note)
    }

    pub(crate) fn trusting(mut self, root: Option<String>) -> Self {
        self.root = root;
        self
    }

    pub(crate) fn witnessed(mut self, policy: &str) -> Self {
        self.witness_policy = Some("witnesses.policy".into());
        self.file("witnesses.policy", policy)
    }
}

/// A log with one exchange, stopped in good order: genesis, boot, attempt, outcome, shutdown.
pub(crate) fn small() -> Log {
    let mut log = Log::started();
    log.exchange();
    log.shutdown();
    log
}

/// The only bundle of a log.
pub(crate) fn sealed(log: &Log) -> Bundle {
    log.bundle(0, log.receipts.len())
}

/// A case of a log whose only bundle holds all of it.
pub(crate) fn of_log(name: &str, about: &str, log: &Log) -> Case {
    Case::new(name, about).bundle(&format!("0-{}.pef", log.receipts.len()), &sealed(log))
}

/// A case of [`small`]'s bundle with a change to it.
pub(crate) fn of_small(name: &str, about: &str, change: impl FnOnce(&mut Bundle)) -> Case {
    let mut bundle = sealed(&small());
    change(&mut bundle);
    Case::new(name, about).bundle("0-5.pef", &bundle)
}

/// All cases, in no order.
pub(crate) fn cases() -> Vec<Case> {
    [
        valid::cases(),
        journals::cases(),
        container::cases(),
        documents::cases(),
        receipts::cases(),
        keys::cases(),
        order::cases(),
        anchors::cases(),
        artifacts::cases(),
        proofs::cases(),
        readings::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
