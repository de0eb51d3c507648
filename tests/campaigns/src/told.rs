//! What the writer said before it died: one line each, in the order in which it was said. It is said over a pipe, which is
//! outside whatever the campaign breaks.

use std::collections::BTreeMap;

/// Everything that was promised, over any number of processes on one data directory.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Verifier key of the root, once a log was open.
    pub root: Option<String>,
    /// Chain values of the acknowledged receipts.
    pub acknowledged: BTreeMap<u64, String>,
    /// Roots of the checkpoints that were published, by size.
    pub sealed: BTreeMap<u64, String>,
    /// Codes of what was refused or failed, and said so.
    pub errors: Vec<String>,
    /// What must never be said.
    pub violations: Vec<String>,
    /// The last process ended in good order.
    pub ended: bool,
}

impl Told {
    /// Takes in a line.
    pub fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (what, mut next) = (words.next().unwrap_or_default(), || words.next().unwrap_or_default().to_owned());
        self.ended = what == "end";
        match what {
            "open" => {
                let root = next();
                if self.root.as_ref().is_some_and(|known| *known != root) {
                    self.violations.push("the log has another root key than before".to_owned());
                }
                self.root = Some(root);
            }
            "ack" => {
                let (seq, chain) = (next().parse().expect("a sequence number"), next());
                if self.acknowledged.insert(seq, chain).is_some() {
                    self.violations.push(format!("receipt {seq} was acknowledged twice"));
                }
            }
            "sealed" => {
                let (size, root) = (next().parse().expect("a size"), next());
                if self.sealed.insert(size, root).is_some() {
                    self.violations.push(format!("size {size} was sealed twice"));
                }
            }
            "error" => self.errors.push(line["error ".len()..].to_owned()),
            "violation" => self.violations.push(line["violation ".len()..].to_owned()),
            "end" => {}
            _ => panic!("not a line of the writer: {line}"),
        }
    }

    /// Takes in all that a process said. A last line that was cut off by its death is nothing.
    pub fn hear_all(&mut self, said: &[u8]) {
        let said = String::from_utf8_lossy(said);
        let whole = said.rfind('\n').map_or("", |at| &said[..at]);
        for line in whole.lines() {
            self.hear(line);
        }
    }
}
