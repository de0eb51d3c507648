//! Reads what `strace -f -y -xx` wrote: which thread called what, on which file, with which bytes, and how it ended.

/// One system call. Calls that were interrupted by others' lines are put together again; they stand where they began.
#[derive(Debug, Clone)]
pub struct Call {
    pub thread: u32,
    pub name: String,
    /// The arguments as `strace` writes them, with hexadecimal escapes.
    pub arguments: String,
    /// What it returned; `None` when its thread died in it.
    pub result: Option<i64>,
    /// It was made to fail.
    pub injected: bool,
    /// Position among all beginnings and ends of calls.
    pub began: usize,
    pub ended: usize,
}

impl Call {
    /// The file that the call's first descriptor stands for, or the first path among its arguments.
    pub fn path(&self) -> Option<String> {
        self.paths().into_iter().next()
    }

    /// Every path named: of descriptors and in arguments (the last of them is the new name of a rename).
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        let text = &self.arguments;
        for (at, open) in text.char_indices().filter(|(_, c)| *c == '<' || *c == '"') {
            let close = if open == '<' { '>' } else { '"' };
            let Some(length) = text[at + 1..].find(close) else { continue };
            let decoded = unescape(&text[at + 1..at + 1 + length]);
            if decoded.first() == Some(&b'/') {
                out.push(String::from_utf8_lossy(&decoded).into_owned());
            }
        }
        out
    }

    /// The bytes of every text among the arguments, one after another: what a write wrote.
    pub fn bytes(&self) -> Vec<u8> {
        let texts = self.arguments.split('"').skip(1).step_by(2);
        texts.flat_map(unescape).collect()
    }

    pub fn succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }
}

/// `\x2f` and the like.
fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len() / 4), text.as_bytes());
    while let Some(first) = rest.first() {
        if rest.starts_with(b"\\x") && rest.len() >= 4 {
            let digits = std::str::from_utf8(&rest[2..4]).unwrap_or_default();
            out.extend(u8::from_str_radix(digits, 16));
            rest = &rest[4..];
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    out
}

/// Reads a trace.
pub fn read(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: Vec<(u32, usize)> = Vec::new();
    for (position, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let (Ok(thread), rest) = (thread.parse::<u32>(), rest.trim_start()) else { continue };
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some(place) = unfinished.iter().position(|(other, _)| *other == thread) else { continue };
            let call = &mut calls[unfinished.swap_remove(place).1];
            let tail = resumed.split_once("resumed>").map_or("", |(_, tail)| tail);
            end(call, tail, position);
            continue;
        }
        let Some((name, tail)) = rest.split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let mut call = Call {
            thread,
            name: name.to_owned(),
            arguments: String::new(),
            result: None,
            injected: false,
            began: position,
            ended: usize::MAX,
        };
        match tail.strip_suffix("<unfinished ...>") {
            Some(arguments) => {
                call.arguments = arguments.to_owned();
                unfinished.push((thread, calls.len()));
            }
            None => end(&mut call, tail, position),
        }
        calls.push(call);
    }
    calls
}

fn end(call: &mut Call, tail: &str, position: usize) {
    let (arguments, result) = tail.rsplit_once(" = ").unwrap_or((tail, ""));
    call.arguments.push_str(arguments);
    call.injected = result.ends_with("(INJECTED)");
    call.result = result.split([' ', '<']).next().and_then(|number| number.parse().ok());
    call.ended = position;
}

/// True if this system can trace a program; says why not where it cannot, which CI does not accept.
pub fn is_there() -> bool {
    let tried = std::process::Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if tried.is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must not skip: strace is missing or may not trace");
    println!("skipped: strace is missing or may not trace here");
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_put_together_with_their_files_bytes_and_ends() {
        let trace = "\
7  openat(AT_FDCWD<\\x2f>, \"\\x2f\\x61\", O_RDONLY) = 3<\\x2f\\x61>
7  write(3<\\x2f\\x61>, \"\\x50\\x45\", 2 <unfinished ...>
8  fsync(4<\\x2f\\x62>) = -1 EIO (Input/output error) (INJECTED)
7  <... write resumed>) = 2
8  fdatasync(4<\\x2f\\x62> <unfinished ...>
8  +++ killed by SIGKILL +++
";
        let calls = read(trace);
        let shown: Vec<_> = calls.iter().map(|c| (c.thread, c.name.as_str(), c.result, c.injected)).collect();
        assert_eq!(
            shown,
            [
                (7, "openat", Some(3), false),
                (7, "write", Some(2), false),
                (8, "fsync", Some(-1), true),
                (8, "fdatasync", None, false)
            ]
        );
        assert_eq!(calls[0].paths(), ["/", "/a"]);
        assert_eq!((calls[1].bytes(), calls[1].path()), (b"PE".to_vec(), Some("/a".to_owned())));
        assert_eq!((calls[1].began, calls[1].ended), (1, 3));
        assert!(calls[0].succeeded() && !calls[2].succeeded() && !calls[3].succeeded());
    }
}
