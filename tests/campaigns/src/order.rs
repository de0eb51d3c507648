//! The order of syncs, read from a trace of the writer's system calls. Whatever the file system: a receipt is acknowledged
//! only after its bytes were written, synced, and the name of its segment was made durable; nothing gets its name before its
//! content is durable; a checkpoint is published after its bundle and the lock record, and announced after all are durable; and
//! what a process before left in the page cache is synced before anything is built upon it.
//!
//! This needs no power cut: a sync that is missing shows even where the file system would have forgiven it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::journal;
use crate::strace::{self, Call};

/// What is traced: every call that changes a file or makes it durable.
const TRACED: &str = "trace=openat,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,rename,renameat,renameat2,\
                      link,linkat,ftruncate,fallocate";
const WRITES: [&str; 5] = ["write", "pwrite64", "writev", "pwritev", "pwritev2"];
const SYNCS: [&str; 2] = ["fsync", "fdatasync"];
const RENAMES: [&str; 3] = ["rename", "renameat", "renameat2"];

/// What was seen in a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    pub acknowledged: usize,
    pub sealed: usize,
    pub syncs: usize,
    pub renames: usize,
    /// What was out of order.
    pub faults: Vec<String>,
}

/// Runs two writers on a new directory below `place`, the first of which ends without a word, and audits both. With `without`
/// (names of calls), these are left out and reported as good: then there must be faults.
pub fn run(program: &Path, place: &Path, without: Option<&str>) -> io::Result<Audit> {
    let data_dir = place.join("data");
    let mut whole = Audit::default();
    for (number, extra) in [&["--crash"][..], &[]].into_iter().enumerate() {
        let left = journal::segments(&data_dir).unwrap_or_default().pop();
        let trace = place.join(format!("trace-{number}"));
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-xx", "-s", "1048576", "-e", TRACED, "-o"]).arg(&trace);
        if let Some(calls) = without {
            command.args(["-e", &format!("inject={calls}:retval=0")]);
        }
        command.arg(program).arg("write").arg(&data_dir).args(["--rounds", "3"]).args(extra);
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
        if output.stdout.is_empty() {
            return Err(io::Error::other("the writer said nothing"));
        }
        let calls = strace::read(&std::fs::read_to_string(&trace)?);
        let part = audit(&calls, &data_dir, left.as_deref());
        whole.acknowledged += part.acknowledged;
        whole.sealed += part.sealed;
        whole.syncs += part.syncs;
        whole.renames += part.renames;
        whole.faults.extend(part.faults);
    }
    Ok(whole)
}

/// What is known of a file.
#[derive(Debug, Default)]
struct File {
    /// Writes that no sync has made durable yet: where they ended, and the receipts in them.
    unsynced: Vec<(usize, Vec<u64>)>,
    /// Receipts that are durable in it.
    synced: BTreeSet<u64>,
    /// What was written to it, if it is a lock record.
    text: String,
}

struct Auditor<'a> {
    data_dir: &'a Path,
    lock_record: String,
    files: BTreeMap<String, File>,
    /// Names that their directory's sync has not made durable yet, and since when they are there.
    names: BTreeMap<String, usize>,
    audit: Audit,
}

/// Audits the calls of one process. `left` is the last segment of the process before it.
pub fn audit(calls: &[Call], data_dir: &Path, left: Option<&Path>) -> Audit {
    let lock_record = crate::writer::lock_record(data_dir).to_string_lossy().into_owned();
    let mut auditor =
        Auditor { data_dir, lock_record, files: BTreeMap::new(), names: BTreeMap::new(), audit: Audit::default() };
    let mut left = left.map(|path| path.to_string_lossy().into_owned());
    // A sync counts from its end, and only for what had ended when it began. What is said counts from its beginning.
    let at = |call: &Call| if call.name == "writev" && says(call).is_some() { call.began } else { call.ended };
    let mut ordered: Vec<&Call> = calls.iter().collect();
    ordered.sort_by_key(|call| at(call));
    for call in ordered {
        let name = call.name.as_str();
        if let Some(said) = says(call) {
            auditor.hear(&said, left.as_deref());
            continue;
        }
        if !call.succeeded() || call.injected {
            continue;
        }
        let inside = |path: &String| Path::new(path).starts_with(data_dir) || path.starts_with(&auditor.lock_record);
        let at_the_lock = |path: &String| Path::new(path) == data_dir.parent().unwrap_or(data_dir);
        let paths: Vec<String> = call.paths().into_iter().filter(|path| inside(path) || at_the_lock(path)).collect();
        let (Some(path), Some(last)) = (paths.first(), paths.last()) else { continue };
        if name == "openat" && call.arguments.contains("O_CREAT") {
            auditor.names.insert(last.clone(), call.ended);
            auditor.files.insert(last.clone(), File::default());
        } else if WRITES.contains(&name) {
            let receipts = journal::frames_in(&call.bytes()).iter().map(|frame| frame.seq).collect();
            let is_lock_record = path.starts_with(&auditor.lock_record);
            let file = auditor.files.entry(path.clone()).or_default();
            file.unsynced.push((call.ended, receipts));
            if is_lock_record {
                file.text.push_str(&String::from_utf8_lossy(&call.bytes()));
            }
        } else if SYNCS.contains(&name) {
            auditor.sync(path, call.began);
            if left.as_ref() == Some(path) {
                left = None;
            }
        } else if RENAMES.contains(&name) {
            auditor.rename(path, last, call.ended);
            if left.as_ref() == Some(last) {
                left = None;
            }
        }
    }
    auditor.audit
}

/// What a call says to whoever listens, if it does.
fn says(call: &Call) -> Option<String> {
    if call.name != "writev" || call.paths().iter().any(|path| path.starts_with('/')) {
        return None;
    }
    let text = String::from_utf8(call.bytes()).ok()?;
    ["open ", "ack ", "sealed ", "end\n"].iter().any(|word| text.starts_with(word)).then_some(text)
}

impl Auditor<'_> {
    fn fault(&mut self, what: String) {
        self.audit.faults.push(what);
    }

    fn sync(&mut self, path: &str, began: usize) {
        self.audit.syncs += 1;
        if let Some(file) = self.files.get_mut(path) {
            let (done, later) = std::mem::take(&mut file.unsynced).into_iter().partition(|(ended, _)| *ended < began);
            file.unsynced = later;
            let done: Vec<(usize, Vec<u64>)> = done;
            file.synced.extend(done.into_iter().flat_map(|(_, receipts)| receipts));
        }
        self.names.retain(|name, since| Path::new(name).parent() != Some(Path::new(path)) || *since >= began);
    }

    fn rename(&mut self, from: &str, to: &str, ended: usize) {
        self.audit.renames += 1;
        let file = self.files.remove(from).unwrap_or_default();
        if !file.unsynced.is_empty() {
            self.fault(format!("{to} got its name before its content was synced"));
        }
        self.files.insert(to.to_owned(), file);
        self.names.remove(from);
        self.names.insert(to.to_owned(), ended);
        let published = Path::new(to).strip_prefix(self.data_dir.join("checkpoints")).ok();
        if let Some(size) = published.and_then(|name| name.to_str()?.parse::<u64>().ok()) {
            self.bundle_is_durable(size);
            self.lock_record_is_durable(size);
        }
    }

    /// The bundle that ends at a checkpoint must be on disk, under some name, when the checkpoint gets its own.
    fn bundle_is_durable(&mut self, size: u64) {
        let bundles = self.data_dir.join("bundles");
        let named = |path: &str| {
            let name = Path::new(path).strip_prefix(&bundles).ok()?.to_str()?.to_owned();
            let (_, to) = name.strip_suffix(".tmp").unwrap_or(&name).strip_suffix(".pef")?.split_once('-')?;
            (to.parse() == Ok(size)).then_some(name)
        };
        let bundle = self.files.iter().find(|(path, _)| named(path).is_some());
        let fault = match bundle {
            None => Some("there is no bundle"),
            Some((_, file)) if !file.unsynced.is_empty() => Some("its bundle is not synced"),
            Some((path, _)) if self.names.contains_key(path) => Some("its bundle's name is not durable"),
            Some(_) => None,
        };
        if let Some(fault) = fault {
            self.fault(format!("checkpoint {size} was published while {fault}"));
        }
    }

    /// The lock record must be that of a checkpoint, and durable, when the checkpoint gets its name.
    fn lock_record_is_durable(&mut self, size: u64) {
        let record = self.files.get(&self.lock_record);
        let good =
            record.is_some_and(|file| file.unsynced.is_empty() && file.text.contains(&format!("\"size\":\"{size}\"")));
        if !good || self.names.contains_key(&self.lock_record) {
            self.fault(format!("checkpoint {size} was published before the lock record was replaced"));
        }
    }

    fn hear(&mut self, said: &str, left: Option<&str>) {
        let mut words = said.split_whitespace();
        match (words.next(), words.next().and_then(|number| number.parse::<u64>().ok())) {
            (Some("open"), _) => {
                if let Some(path) = left {
                    self.fault(format!("the log was taken up although {path} was never synced again"));
                }
                self.all_is_durable("when the log was open", &["journal", "keys"]);
            }
            (Some("ack"), Some(seq)) => {
                self.audit.acknowledged += 1;
                let holder = self.files.iter().find(|(_, file)| file.synced.contains(&seq)).map(|(path, _)| path);
                match holder {
                    None => self.fault(format!("receipt {seq} was acknowledged before it was synced")),
                    Some(path) if self.names.contains_key(path) => {
                        self.fault(format!(
                            "receipt {seq} was acknowledged before the name of its segment was durable"
                        ));
                    }
                    Some(_) => {}
                }
            }
            (Some("sealed"), Some(_)) => {
                self.audit.sealed += 1;
                self.all_is_durable("when a checkpoint was announced", &["checkpoints", "bundles"]);
            }
            (Some("end"), _) => {
                self.all_is_durable("when the log ended", &["journal", "keys", "checkpoints", "bundles"])
            }
            _ => {}
        }
    }

    /// Nothing in these directories waits for a sync, but for what has no lasting name or no content.
    fn all_is_durable(&mut self, when: &str, directories: &[&str]) {
        let lasting = |path: &str| {
            let inside = directories.iter().any(|name| Path::new(path).starts_with(self.data_dir.join(name)));
            inside && !path.ends_with(".tmp") && !path.ends_with("/LOCK")
        };
        let content = self.files.iter().filter(|(path, file)| lasting(path) && !file.unsynced.is_empty());
        let names = self.names.keys().filter(|path| lasting(path));
        let faults: Vec<String> = content
            .map(|(path, _)| format!("{path} was not synced {when}"))
            .chain(names.map(|path| format!("the name {path} was not durable {when}")))
            .collect();
        self.audit.faults.extend(faults);
    }
}
