//! Opens a bundle, as a file or as a directory of its members, within fixed bounds.
//!
//! A file is read in one pass and in bounded memory; nothing is ever extracted to disk, so a path in an archive can do no harm.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use super::tar::{Entry, TarError, TarReader, is_member_path};
use super::{
    ARTIFACTS, ARTIFACTS_MAX_BYTES, LINEAGE, MEMBER_MAX_BYTES, MEMBERS_MAX, MEMBERS_MAX_BYTES, RECEIPTS,
    STREAMED_MAX_BYTES, ZSTD_WINDOW_LOG,
};

/// Most bytes that a compressed byte may become, beyond the first MiB. Receipts compress some five to twenty times.
const RATIO_MAX: u64 = 400;

/// Why a bundle cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerFault {
    /// E106.
    #[error("more or larger members than a bundle may have")]
    Limit,
    /// E107.
    #[error("a member path that is not allowed or not in ascending order")]
    Path,
    /// E108.
    #[error("not a zstd-compressed tar in the one form of a bundle")]
    Form,
}

/// A member whose content comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: String,
    pub(crate) size: u64,
}

type ZstdReader = zstd::Decoder<'static, BufReader<File>>;

enum Source {
    /// Not a frame as it must be, by its first bytes.
    Unsound,
    Archive(Box<TarReader<Metered>>),
    Directory {
        root: PathBuf,
        paths: std::vec::IntoIter<String>,
        open: Option<File>,
    },
}

/// A bundle being read.
pub(crate) struct Container {
    source: Source,
    members: usize,
    /// Bytes of the members that are read whole.
    bytes: u64,
    artifact_bytes: u64,
    current: Option<Member>,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Container").field("current", &self.current).finish_non_exhaustive()
    }
}

/// Opens a `.pef` file, or a directory with the members of one.
pub(crate) fn open_bundle(path: &Path) -> io::Result<Container> {
    let source = if path.is_dir() {
        let mut paths = Vec::new();
        collect(path, "", 0, &mut paths)?;
        paths.sort();
        Source::Directory { root: path.to_owned(), paths: paths.into_iter(), open: None }
    } else {
        let mut file = File::open(path)?;
        if !has_checksum(&mut file)? {
            return Ok(Container::new(Source::Unsound));
        }
        let compressed = file.metadata()?.len();
        let mut decoder = zstd::Decoder::new(file)?.single_frame();
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        let budget = compressed.saturating_mul(RATIO_MAX).saturating_add(1024 * 1024);
        Source::Archive(Box::new(TarReader::new(Metered { input: Some(decoder), left: budget })))
    };
    Ok(Container::new(source))
}

/// True for a frame whose header says that a checksum follows the content: without one, damage could go unnoticed.
fn has_checksum(file: &mut File) -> io::Result<bool> {
    const CHECKSUM_FLAG: u8 = 1 << 2;
    let mut start = Vec::new();
    file.by_ref().take(5).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start.get(4).is_some_and(|descriptor| descriptor & CHECKSUM_FLAG != 0))
}

/// Files below a directory, as member paths. Two levels are what a bundle has; links and other things count as files with
/// their own name, and are refused when they are opened.
fn collect(root: &Path, prefix: &str, depth: usize, paths: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(prefix))? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() && depth < 2 {
            collect(root, &format!("{name}/"), depth + 1, paths)?;
        } else {
            paths.push(name);
        }
        if paths.len() > MEMBERS_MAX + 1 {
            return Ok(());
        }
    }
    Ok(())
}

/// Decompression within a budget, and nothing after the one frame.
struct Metered {
    input: Option<ZstdReader>,
    left: u64,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(input) = &mut self.input else { return Ok(0) };
        let read = input.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            let mut rest = self.input.take().map(zstd::Decoder::finish);
            let trailing = rest.as_mut().map_or(Ok(0), |rest| rest.read(&mut [0]))?;
            return if trailing == 0 { Ok(0) } else { Err(io::ErrorKind::InvalidData.into()) };
        }
        self.left = match self.left.checked_sub(read as u64) {
            Some(left) => left,
            None => return Err(io::ErrorKind::FileTooLarge.into()),
        };
        Ok(read)
    }
}

impl Container {
    fn new(source: Source) -> Self {
        Self { source, members: 0, bytes: 0, artifact_bytes: 0, current: None }
    }

    /// After a fault: a frame that is not good in itself is that, whatever was met in it before. Reads on to its end, as far
    /// as it may be decompressed.
    pub(crate) fn judge(mut self, fault: ContainerFault) -> ContainerFault {
        let Source::Archive(archive) = &mut self.source else { return fault };
        match io::copy(archive.input(), &mut io::sink()) {
            Err(error) if error.kind() != io::ErrorKind::FileTooLarge => ContainerFault::Form,
            _ => fault,
        }
    }

    /// The next member, in ascending order of paths; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, ContainerFault> {
        let member = match &mut self.source {
            Source::Unsound => return Err(ContainerFault::Form),
            Source::Archive(archive) => match archive.next() {
                Ok(Entry::End) => None,
                Ok(Entry::Member { path, size }) => Some(Member { path, size }),
                Err(TarError::Path) => return Err(ContainerFault::Path),
                Err(TarError::Form) => return Err(ContainerFault::Form),
                Err(TarError::Io(error)) => return Err(io_fault(&error)),
            },
            Source::Directory { root, paths, open } => match paths.next() {
                None => None,
                Some(path) => {
                    let full = root.join(&path);
                    let plain = is_member_path(&path) && full.symlink_metadata().is_ok_and(|meta| meta.is_file());
                    if !plain {
                        return Err(ContainerFault::Path);
                    }
                    let file = File::open(&full).map_err(|_| ContainerFault::Form)?;
                    let size = file.metadata().map_err(|_| ContainerFault::Form)?.len();
                    *open = Some(file);
                    Some(Member { path, size })
                }
            },
        };
        if let Some(member) = &member {
            self.members += 1;
            let (sum, sum_max, size_max) = match member.path.as_str() {
                RECEIPTS | LINEAGE => (&mut 0, u64::MAX, STREAMED_MAX_BYTES),
                path if path.starts_with(ARTIFACTS) => (&mut self.artifact_bytes, ARTIFACTS_MAX_BYTES, u64::MAX),
                _ => (&mut self.bytes, MEMBERS_MAX_BYTES, MEMBER_MAX_BYTES),
            };
            *sum += member.size;
            if self.members > MEMBERS_MAX || member.size > size_max || *sum > sum_max {
                return Err(ContainerFault::Limit);
            }
            // What is attached may be as compressible as it likes; it has its own limit.
            if let Source::Archive(archive) = &mut self.source
                && member.path.starts_with(ARTIFACTS)
            {
                let metered = archive.input();
                metered.left = metered.left.saturating_add(member.size);
            }
        }
        self.current.clone_from(&member);
        Ok(member)
    }

    /// True when the current member may be larger than memory: it is read in passing.
    pub(crate) fn is_streamed(&self) -> bool {
        self.current.as_ref().is_some_and(|member| is_streamed(&member.path))
    }

    /// The content of the current member: any but those that are read in passing.
    pub(crate) fn read_member(&mut self) -> Result<Vec<u8>, ContainerFault> {
        let mut bytes = Vec::new();
        self.by_ref().take(MEMBER_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| io_fault(&error))?;
        if bytes.len() as u64 > MEMBER_MAX_BYTES {
            return Err(ContainerFault::Limit);
        }
        Ok(bytes)
    }
}

/// True for the members that may be large.
pub(crate) fn is_streamed(path: &str) -> bool {
    path == RECEIPTS || path == LINEAGE || path.starts_with(ARTIFACTS)
}

/// What an error while reading a member means.
pub(crate) fn io_fault(error: &io::Error) -> ContainerFault {
    if error.kind() == io::ErrorKind::FileTooLarge { ContainerFault::Limit } else { ContainerFault::Form }
}

impl Read for Container {
    /// Reads the current member.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Unsound => Ok(0),
            Source::Archive(archive) => archive.read(buffer),
            Source::Directory { open, .. } => open.as_mut().map_or(Ok(0), |file| file.read(buffer)),
        }
    }
}
