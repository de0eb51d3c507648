//! A file system in memory that can fail and lose power, for tests.
//!
//! Content and names are durable only after their sync. A power cut keeps what is durable, and of the rest any prefix of what
//! was appended, possibly torn, and any of the renames, as a seed decides.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::storage::{Lock, Storage, StorageFile};

/// What happens at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Error,
    NoSpace,
    /// Half of the bytes are written, then the error comes.
    ShortWrite,
    /// The power fails: this and every later operation fails.
    PowerCut,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    /// Space is taken up to here, if that is beyond the content.
    reserved: usize,
}

impl Inode {
    fn space(&self) -> usize {
        self.content.len().max(self.reserved)
    }
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    locks: BTreeSet<PathBuf>,
    operations: usize,
    syncs: usize,
    fault: Option<(usize, Fault)>,
    dead: bool,
    lying_syncs: bool,
    held: bool,
    /// Bytes that the disk takes; without, as many as come.
    capacity: Option<usize>,
    /// The file system knows no reservations.
    unreservable: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Simulated(Arc<(Mutex<State>, Condvar)>);

/// A small generator: tests must be repeatable by their seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

impl Simulated {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    /// Sets a fault at an operation, counted from now.
    pub(crate) fn fail_at(&self, operation: usize, fault: Fault) {
        let mut state = self.state();
        state.operations = 0;
        state.fault = Some((operation, fault));
    }

    pub(crate) fn operations(&self) -> usize {
        self.state().operations
    }

    pub(crate) fn syncs(&self) -> usize {
        self.state().syncs
    }

    /// From now on syncs report success and keep nothing.
    pub(crate) fn lie_about_syncs(&self) {
        self.state().lying_syncs = true;
    }

    /// Makes syncs wait until released.
    pub(crate) fn hold_syncs(&self, held: bool) {
        self.state().held = held;
        self.0.1.notify_all();
    }

    /// From now on the disk takes this many bytes more than it holds, or as many as come.
    pub(crate) fn set_free(&self, bytes: Option<usize>) {
        let mut state = self.state();
        state.capacity = bytes.map(|bytes| bytes + state.used());
    }

    /// A file system without reservations, like some on a network.
    pub(crate) fn without_reservations(self) -> Self {
        self.state().unreservable = true;
        self
    }

    /// The disk after the power came back.
    pub(crate) fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let state = self.state();
        let mut names = state.durable_names.clone();
        for (name, inode) in &state.names {
            // An unsynced creation or rename may have reached the disk or not.
            if names.get(name) != Some(inode) && dice.roll(2) == 0 {
                names.insert(name.clone(), *inode);
            }
        }
        let mut after = State { ..State::default() };
        for (name, inode) in names {
            let inode = &state.inodes[inode];
            let mut content = inode.durable.clone();
            let unsynced = inode.content.get(content.len()..).unwrap_or_default();
            let kept = dice.roll(unsynced.len() + 1);
            content.extend_from_slice(&unsynced[..kept]);
            if kept > 0 && dice.roll(3) == 0 {
                // The last sector did not make it: its bytes are something else.
                let torn = kept.min(512).min(1 + dice.roll(512));
                let from = content.len() - torn;
                content[from..].iter_mut().for_each(|byte| *byte ^= 0x5a);
            }
            after.inodes.push(Inode { durable: content.clone(), content, reserved: 0 });
            let inode = after.inodes.len() - 1;
            after.names.insert(name.clone(), inode);
            after.durable_names.insert(name, inode);
        }
        Self(Arc::new((Mutex::new(after), Condvar::new())))
    }

    /// The same files for another process on the same machine: the page cache is still there.
    pub(crate) fn after_kill(&self) -> Self {
        let state = self.state();
        let after = State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            unreservable: state.unreservable,
            ..State::default()
        };
        Self(Arc::new((Mutex::new(after), Condvar::new())))
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        state.names.iter().map(|(path, inode)| (name(path), state.inodes[*inode].content.clone())).collect()
    }

    /// Puts a file there, durably; or takes it away.
    pub(crate) fn set(&self, path: &Path, content: Option<Vec<u8>>) {
        let mut state = self.state();
        match content {
            Some(content) => {
                state.inodes.push(Inode { durable: content.clone(), content, reserved: 0 });
                let inode = state.inodes.len() - 1;
                state.names.insert(path.to_owned(), inode);
                state.durable_names.insert(path.to_owned(), inode);
            }
            None => {
                state.names.remove(path);
                state.durable_names.remove(path);
            }
        }
    }
}

impl State {
    /// Bytes that the named files take.
    fn used(&self) -> usize {
        self.names.values().filter_map(|inode| self.inodes.get(*inode)).map(Inode::space).sum()
    }

    /// True when a file may come to take this much space.
    fn has_room(&self, inode: usize, space: usize) -> bool {
        let grows = space.saturating_sub(self.inodes[inode].space());
        grows == 0 || self.capacity.is_none_or(|capacity| self.used() + grows <= capacity)
    }

    /// Counts an operation that changes the disk; fails where a fault is set.
    fn operate(&mut self) -> Result<(), (io::Error, Fault)> {
        let now = self.operations;
        self.operations += 1;
        if self.dead {
            return Err((io::ErrorKind::Other.into(), Fault::PowerCut));
        }
        match self.fault {
            Some((at, fault)) if at == now => {
                self.dead = fault == Fault::PowerCut;
                let kind = if fault == Fault::NoSpace { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
                Err((kind.into(), fault))
            }
            _ => Ok(()),
        }
    }
}

impl Storage for Simulated {
    fn create_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let inode = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(state.inodes[*inode].content.clone())))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        let inode = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.inodes[*inode].content.len() as u64)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let mut state = self.state();
        state.operate().map_err(|(error, _)| error)?;
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_owned(), inode);
        Ok(Box::new(Open { storage: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate().map_err(|(error, _)| error)?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate().map_err(|(error, _)| error)?;
        state.names.remove(path);
        Ok(())
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let inode = *self.state().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Open { storage: self.clone(), inode }.sync()
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate().map_err(|(error, _)| error)?;
        let state = &mut *state;
        if state.lying_syncs {
            return Ok(());
        }
        state.durable_names.retain(|path, _| path.parent() != Some(directory));
        let inside = state.names.iter().filter(|(path, _)| path.parent() == Some(directory));
        state.durable_names.extend(inside.map(|(path, inode)| (path.clone(), *inode)));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let taken = !self.state().locks.insert(path.to_owned());
        Ok((!taken).then(|| Box::new(Held { storage: self.clone(), path: path.to_owned() }) as Box<dyn Lock>))
    }
}

struct Held {
    storage: Simulated,
    path: PathBuf,
}

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.storage.state().locks.remove(&self.path);
    }
}

struct Open {
    storage: Simulated,
    inode: usize,
}

impl StorageFile for Open {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.storage.state();
        let mut result = state.operate();
        let length = state.inodes[self.inode].content.len() + bytes.len();
        if result.is_ok() && !state.has_room(self.inode, length) {
            result = Err((io::ErrorKind::StorageFull.into(), Fault::NoSpace));
        }
        let written = match &result {
            Ok(()) => bytes,
            Err((_, Fault::ShortWrite | Fault::PowerCut)) => &bytes[..bytes.len() / 2],
            Err(_) => &[],
        };
        state.inodes[self.inode].content.extend_from_slice(written);
        result.map_err(|(error, _)| error)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.storage.state();
        while state.held {
            state = self.storage.0.1.wait(state).unwrap();
        }
        state.operate().map_err(|(error, _)| error)?;
        state.syncs += 1;
        if !state.lying_syncs {
            let inode = &mut state.inodes[self.inode];
            inode.durable.clone_from(&inode.content);
        }
        Ok(())
    }
    fn reserve(&mut self, _: u64, to: u64) -> io::Result<bool> {
        let mut state = self.storage.state();
        if state.unreservable {
            return Ok(false);
        }
        state.operate().map_err(|(error, _)| error)?;
        let to = usize::try_from(to).unwrap();
        if !state.has_room(self.inode, to) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut state.inodes[self.inode];
        inode.reserved = inode.reserved.max(to);
        Ok(true)
    }

    fn release(&mut self) {
        self.storage.state().inodes[self.inode].reserved = 0;
    }
}
