//! Lines to files in the background, rotated by size; the traffic never waits for them.
//!
//! The queue is bounded: where the disk cannot follow, lines are dropped and counted, and the next line that is written
//! says how many are missing. The journal is the evidence; this is the news.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// Lines that may wait for the disk.
const QUEUE_LINES_MAX: usize = 8_192;

#[derive(Debug, Clone)]
pub struct WriterOptions {
    pub dir: PathBuf,
    /// File name without extension; the current file is `<stem>.ndjson`.
    pub stem: &'static str,
    /// Size at which the current file is put aside.
    pub rotate_bytes: u64,
    /// Files put aside that are kept; the oldest go first. `None` keeps all.
    pub keep_files: Option<usize>,
}

/// Counters that the metrics read.
#[derive(Debug, Default)]
pub struct WriterStats {
    pub written: AtomicU64,
    pub dropped: AtomicU64,
    pub errors: AtomicU64,
}

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

/// Handle to a background writer. Cheap to clone; the thread ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct LineWriter {
    queue: SyncSender<Message>,
    stats: Arc<WriterStats>,
    /// Keeps the handle of the thread with the writers that feed it.
    _thread: Arc<JoinHandle<()>>,
}

impl LineWriter {
    /// Opens the current file and starts the thread.
    pub fn start(options: WriterOptions) -> io::Result<LineWriter> {
        std::fs::create_dir_all(&options.dir)?;
        let files = Files::open(options)?;
        let (queue, lines) = sync_channel(QUEUE_LINES_MAX);
        let stats = Arc::new(WriterStats::default());
        let in_thread = Arc::clone(&stats);
        let thread =
            std::thread::Builder::new().name("clyra-lines".into()).spawn(move || write(files, &lines, &in_thread))?;
        Ok(LineWriter { queue, stats, _thread: Arc::new(thread) })
    }

    /// Puts a line (without its line feed) on its way; never waits.
    pub fn send(&self, line: String) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(Message::Line(line)) {
            self.stats.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until every line sent before is in the file.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }

    pub fn stats(&self) -> &WriterStats {
        &self.stats
    }
}

fn write(mut files: Files, lines: &Receiver<Message>, stats: &WriterStats) {
    let mut reported = 0;
    while let Ok(message) = lines.recv() {
        match message {
            Message::Line(line) => {
                let dropped = stats.dropped.load(Ordering::Relaxed);
                if dropped > reported {
                    let missing = super::notice_line("lines_dropped", &(dropped - reported).to_string());
                    if files.append(&missing).is_ok() {
                        reported = dropped;
                    }
                }
                match files.append(&line) {
                    Ok(()) => stats.written.fetch_add(1, Ordering::Relaxed),
                    Err(_) => {
                        stats.errors.fetch_add(1, Ordering::Relaxed);
                        stats.dropped.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
            Message::Flush(done) => {
                let _ = files.file.flush();
                let _ = done.send(());
            }
        }
    }
    let _ = files.file.flush();
}

struct Files {
    options: WriterOptions,
    file: File,
    bytes: u64,
}

impl Files {
    fn open(options: WriterOptions) -> io::Result<Files> {
        let path = current(&options);
        // Events name callers and rules: not for everybody on the machine.
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Files { options, file, bytes })
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 + 1 > self.options.rotate_bytes {
            self.rotate()?;
        }
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        // One call for one line: a reader never sees half of one, unless the disk is full.
        self.file.write_all(&bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let name = uuid::Uuid::now_v7();
        let aside = self.options.dir.join(format!("{}-{name}.ndjson", self.options.stem));
        std::fs::rename(current(&self.options), aside)?;
        let fresh = Files::open(self.options.clone())?;
        *self = fresh;
        self.prune()
    }

    /// Deletes the oldest files put aside; their names sort by time.
    fn prune(&self) -> io::Result<()> {
        let Some(keep) = self.options.keep_files else { return Ok(()) };
        let mut aside = put_aside(&self.options.dir, self.options.stem)?;
        aside.sort();
        let surplus = aside.len().saturating_sub(keep);
        aside.iter().take(surplus).try_for_each(std::fs::remove_file)
    }
}

fn current(options: &WriterOptions) -> PathBuf {
    options.dir.join(format!("{}.ndjson", options.stem))
}

fn put_aside(dir: &Path, stem: &str) -> io::Result<Vec<PathBuf>> {
    let prefix = format!("{stem}-");
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with(&prefix) && name.ends_with(".ndjson")
    };
    let entries: io::Result<Vec<_>> = std::fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect();
    Ok(entries?.into_iter().filter(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dir: &Path, rotate_bytes: u64, keep_files: Option<usize>) -> WriterOptions {
        WriterOptions { dir: dir.into(), stem: "events", rotate_bytes, keep_files }
    }

    #[test]
    fn lines_rotate_by_size_and_old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let writer = LineWriter::start(options(dir.path(), 100, Some(2))).unwrap();
        for i in 0..50 {
            writer.send(format!("{{\"n\":{i:020}}}"));
        }
        writer.flush();
        assert_eq!(put_aside(dir.path(), "events").unwrap().len(), 2);
        let last = std::fs::read_to_string(dir.path().join("events.ndjson")).unwrap();
        assert!(last.ends_with("49}\n"), "{last}");
        assert!(last.len() <= 100);
        assert_eq!(writer.stats().written.load(Ordering::Relaxed), 50);
    }

    #[test]
    fn a_restart_appends() {
        let dir = tempfile::tempdir().unwrap();
        for line in ["a", "b"] {
            let writer = LineWriter::start(options(dir.path(), 100, None)).unwrap();
            writer.send(line.into());
            writer.flush();
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("events.ndjson")).unwrap(), "a\nb\n");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(LineWriter::start(options(&file, 100, None)).is_err());
    }
}
