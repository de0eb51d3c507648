//! The one tar that a bundle is: ustar, regular files only, names ascending, no times, no owners.
//!
//! Because there is one spelling, reading is comparing: a header must be, byte for byte, the one that would be written for its
//! name and size. Links, devices, long names, extensions and second spellings of a path cannot be expressed at all.

use std::io::{self, Read, Write};

pub(crate) const BLOCK_BYTES: usize = 512;

/// Longest member name: `policies/` and a digest need 78.
pub(crate) const NAME_MAX_BYTES: usize = 100;

/// Largest member: eleven octal digits.
pub(crate) const SIZE_MAX_BYTES: u64 = (1 << 33) - 1;

/// True for a relative path of plain names: letters, digits, `.`, `_`, `-`, with `/` between them, no `.` or `..`.
pub(crate) fn is_member_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    path.len() <= NAME_MAX_BYTES
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain))
}

/// The header of a member.
pub(crate) fn header(path: &str, size: u64) -> [u8; BLOCK_BYTES] {
    let fields: [(usize, &[u8]); 8] = [
        (0, path.as_bytes()),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, &format!("{size:011o}\0").into_bytes()),
        (136, b"00000000000\0"),
        (156, b"0"),
        (257, b"ustar\x0000"),
    ];
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in block.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    for (at, bytes) in fields {
        put(at, bytes);
    }
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    // The sum is taken with its own field as spaces.
    put(148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in block.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(148, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Writes a member from a reader that gives exactly `size` bytes.
pub(crate) fn write_member(out: &mut dyn Write, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
    if size > SIZE_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a member is larger than a tar can hold"));
    }
    out.write_all(&header(path, size))?;
    let copied = io::copy(&mut content.take(size), out)?;
    if copied != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a member became shorter while it was written"));
    }
    out.write_all(padding(size))
}

/// Writes the end of the archive.
pub(crate) fn write_end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK_BYTES])
}

fn padding(size: u64) -> &'static [u8] {
    const ZEROES: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    let used = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or(0);
    if used == 0 { &[] } else { ZEROES.get(used..).unwrap_or_default() }
}

/// What stands next in an archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Member { path: String, size: u64 },
    End,
}

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A path that is not allowed, or not in order.
    #[error("a member path that is not allowed or not in ascending order")]
    Path,
    #[error("not in the one form of a bundle's tar")]
    Form,
}

/// Reads an archive front to back.
pub(crate) struct TarReader<R> {
    input: R,
    last: Option<String>,
    /// Bytes of the current member not yet read, and its padding.
    left: u64,
    padding: usize,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, last: None, left: 0, padding: 0 }
    }

    pub(crate) fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// Passes over what is left of the current member and reads the next header.
    pub(crate) fn next(&mut self) -> Result<Entry, TarError> {
        io::copy(&mut (&mut self.input).take(self.left), &mut io::sink())?;
        self.left = 0;
        let mut block = [0; BLOCK_BYTES];
        if let Some(padding) = block.get_mut(..self.padding) {
            self.input.read_exact(padding)?;
            if padding.iter().any(|byte| *byte != 0) {
                return Err(TarError::Form);
            }
        }
        self.padding = 0;
        self.input.read_exact(&mut block)?;
        if block == [0; BLOCK_BYTES] {
            self.input.read_exact(&mut block)?;
            let ends = block == [0; BLOCK_BYTES] && self.input.read(&mut [0])? == 0;
            return if ends { Ok(Entry::End) } else { Err(TarError::Form) };
        }
        let name = block.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = name.get(..name.len().min(NAME_MAX_BYTES)).unwrap_or_default();
        let path = std::str::from_utf8(name).map_err(|_| TarError::Path)?.to_owned();
        if !is_member_path(&path) || self.last.as_ref().is_some_and(|last| *last >= path) {
            return Err(TarError::Path);
        }
        let octal = block.get(124..135).and_then(|digits| std::str::from_utf8(digits).ok());
        let size = octal.and_then(|digits| u64::from_str_radix(digits, 8).ok()).ok_or(TarError::Form)?;
        if block != header(&path, size) {
            return Err(TarError::Form);
        }
        self.left = size;
        self.padding = padding(size).len();
        self.last = Some(path.clone());
        Ok(Entry::Member { path, size })
    }
}

impl<R: Read> Read for TarReader<R> {
    /// Reads the current member.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.input).take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, content) in members {
            write_member(&mut out, path, content.len() as u64, &mut &content[..]).unwrap();
        }
        write_end(&mut out).unwrap();
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, TarError> {
        let mut reader = TarReader::new(bytes);
        let mut members = Vec::new();
        while let Entry::Member { path, .. } = reader.next()? {
            let mut content = Vec::new();
            reader.read_to_end(&mut content)?;
            members.push((path, content));
        }
        Ok(members)
    }

    #[test]
    fn the_system_tar_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar");
        std::fs::write(&path, archive(&[("a/b.json", b"{}"), ("c", &[7; 600])])).unwrap();
        let listed = std::process::Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        assert!(text.contains("-rw-r--r-- 0/0") && text.contains(" 600 1970-01-01"), "{text}");
    }

    #[test]
    fn every_flipped_bit_outside_content_is_refused() {
        let good = archive(&[("a", b"xyz"), ("b", b"")]);
        assert_eq!(read(&good).unwrap().len(), 2);
        for bit in 0..good.len() * 8 {
            let at = bit / 8;
            let mut bad = good.clone();
            bad[at] ^= 1 << (bit % 8);
            let content = (BLOCK_BYTES..BLOCK_BYTES + 3).contains(&at);
            assert_eq!(read(&bad).is_ok(), content, "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["/a", "../a", "a/../b", "a//b", "./a", "a/", "", "a b", "a\\b", "é", &"a".repeat(101)] {
            assert!(!is_member_path(path), "{path}");
        }
        assert!(matches!(read(&archive(&[("b", b""), ("a", b"")])), Err(TarError::Path)));
        assert!(matches!(read(&archive(&[("a", b""), ("a", b"")])), Err(TarError::Path)));
        assert!(matches!(read(&archive(&[("../a", b"")])), Err(TarError::Path)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
            let _ = read(&bytes);
        }
    }
}
