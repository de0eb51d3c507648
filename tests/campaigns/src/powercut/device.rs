//! A block device that records what is written to it, with a file system on it; and loop devices.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Size of the device: room for some thousand receipts and their bundles, small enough to write out for every cut.
pub(super) const DISK_BYTES: u64 = 64 * 1024 * 1024;
/// Most that is recorded; the file is sparse.
const RECORD_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Longest wait for the device to appear.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Runs a system command; an error says what it said.
pub(super) fn system(command: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(command).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| io::Error::other(format!("{command}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{command} {}: {} {said}", arguments.join(" "), output.status)))
}

fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other("a path that is no text"))
}

/// A file as a block device; gone when dropped.
#[derive(Debug)]
pub(super) struct Loop(String);

impl Loop {
    pub(super) fn new(file: &Path) -> io::Result<Loop> {
        system("losetup", &["--find", "--show", text(file)?]).map(Loop)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = system("losetup", &["--detach", &self.0]);
    }
}

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub(super) struct Mounted {
    at: PathBuf,
    /// Let go of after the file system.
    _device: Loop,
}

impl Mounted {
    pub(super) fn new(device: Loop, at: &Path, options: &str) -> io::Result<Mounted> {
        std::fs::create_dir_all(at)?;
        system("mount", &["-t", "ext4", "-o", options, &device.0, text(at)?])?;
        Ok(Mounted { at: at.to_owned(), _device: device })
    }

    pub(super) fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts, and says so when it cannot.
    pub(super) fn unmount(self) -> io::Result<()> {
        system("umount", &[text(&self.at)?]).map(drop)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if mounts().contains(&*self.at.to_string_lossy()) {
            let _ = system("umount", &["--lazy", &self.at.to_string_lossy()]);
        }
    }
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mounts").unwrap_or_default()
}

/// The daemon that records; killed when dropped.
#[derive(Debug)]
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A mounted ext4 whose device records every write. Fields are let go of in their order.
#[derive(Debug)]
pub(super) struct Recorder {
    mounted: Mounted,
    daemon: Daemon,
}

impl Recorder {
    pub(super) fn start(place: &Path, record: &Path, mount_options: &str) -> io::Result<Recorder> {
        let (disk, export) = (place.join("disk"), place.join("export"));
        File::create(&disk)?.set_len(DISK_BYTES)?;
        File::create(record)?.set_len(RECORD_BYTES)?;
        File::create(&export)?;
        let (disk, export, record) = (text(&disk)?, text(&export)?, text(record)?);
        let child = Command::new("qemu-storage-daemon")
            .args(["--blockdev", &format!("driver=file,node-name=disk,filename={disk}")])
            .args(["--blockdev", &format!("driver=file,node-name=record,filename={record}")])
            .args(["--blockdev"])
            // The count of entries is brought up to date with each entry: what was heard is held against it.
            .arg("driver=blklogwrites,node-name=log,file=disk,log=record,log-sector-size=512,log-super-update-interval=1")
            .args(["--export", &format!("type=fuse,id=export,node-name=log,mountpoint={export},writable=on")])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("qemu-storage-daemon: {error}")))?;
        let mut daemon = Daemon(child);
        let end = Instant::now() + WAIT_MAX;
        while std::fs::metadata(export)?.len() != DISK_BYTES {
            if let Some(status) = daemon.0.try_wait()? {
                return Err(io::Error::other(format!("qemu-storage-daemon ended: {status}")));
            }
            if Instant::now() > end {
                return Err(io::Error::other("qemu-storage-daemon does not export its device"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let device = Loop::new(Path::new(export))?;
        // All of it is written now, nothing by the kernel later on.
        system("mkfs.ext4", &["-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", &device.0])?;
        // What is not synced is written soon, so that a missing sync shows in the order and not only in the absence.
        let mounted = Mounted::new(device, &place.join("recorded"), &format!("commit=1,{mount_options}"))?;
        system("sync", &["-f", text(mounted.path())?])?;
        Ok(Recorder { mounted, daemon })
    }

    pub(super) fn mount_point(&self) -> &Path {
        self.mounted.path()
    }

    /// Ends the record in good order.
    pub(super) fn stop(self) -> io::Result<()> {
        let Recorder { mounted, mut daemon } = self;
        mounted.unmount()?;
        system("kill", &["-TERM", &daemon.0.id().to_string()])?;
        daemon.0.wait()?;
        Ok(())
    }
}
