//! The lock record under a key of Redis. Two commands are needed, and a script for the swap, so the protocol (RESP2) is
//! spoken here: a client library would be some fifteen crates more.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use clyra_receipts::lock::{LOCK_RECORD_MAX_BYTES, LockError, LockStore};

/// Longest password file.
const PASSWORD_BYTES_MAX: u64 = 4096;
/// Longest line of an answer: an error text.
const LINE_BYTES_MAX: u64 = 4096;

/// Compare and swap in one step: Redis runs a script as a whole. `ARGV[1]` says whether there was a record.
const SWAP: &str = "local is = redis.call('GET', KEYS[1]) \
    if (is == false and ARGV[1] == '0') or (ARGV[1] == '1' and is == ARGV[2]) then \
    redis.call('SET', KEYS[1], ARGV[3]) return 1 end return 0";

/// A lock record in Redis. Without TLS: for a network that is one's own, or through a tunnel.
#[derive(Debug)]
pub struct RedisLock {
    address: (String, u16),
    user: Option<String>,
    password_file: Option<PathBuf>,
    key: String,
    within: Duration,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Text(String),
    Number(i64),
    Bytes(Option<Vec<u8>>),
}

impl RedisLock {
    pub fn new(
        address: (String, u16),
        user: Option<String>,
        password_file: Option<PathBuf>,
        key: &str,
        within: Duration,
    ) -> RedisLock {
        RedisLock { address, user, password_file, key: key.into(), within }
    }

    fn fault(&self, what: impl ToString) -> LockError {
        LockError::Unavailable { place: self.place(), what: what.to_string() }
    }

    /// A connection for one command: one a minute.
    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let (host, port) = &self.address;
        let mut last = io::Error::other("no address");
        for address in (host.as_str(), *port).to_socket_addrs()?.take(4) {
            match TcpStream::connect_timeout(&address, self.within) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(self.within))?;
                    stream.set_write_timeout(Some(self.within))?;
                    let mut connection = BufReader::new(stream);
                    self.authenticate(&mut connection)?;
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn authenticate(&self, connection: &mut BufReader<TcpStream>) -> io::Result<()> {
        let Some(path) = &self.password_file else { return Ok(()) };
        let mut password = String::new();
        std::fs::File::open(path)?.take(PASSWORD_BYTES_MAX).read_to_string(&mut password)?;
        let password = password.trim_end_matches(['\r', '\n']);
        let mut command = vec![b"AUTH".as_slice()];
        command.extend(self.user.as_deref().map(str::as_bytes));
        command.push(password.as_bytes());
        ask(connection, &command).map(drop)
    }

    fn command(&self, command: &[&[u8]]) -> Result<Answer, LockError> {
        let mut connection = self.connect().map_err(|error| self.fault(error))?;
        ask(&mut connection, command).map_err(|error| self.fault(error))
    }
}

impl LockStore for RedisLock {
    fn read(&self) -> Result<Option<Vec<u8>>, LockError> {
        match self.command(&[b"GET", self.key.as_bytes()])? {
            Answer::Bytes(record) => Ok(record),
            _ => Err(self.fault("an answer of another kind")),
        }
    }

    fn swap(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<bool, LockError> {
        let (there, before): (&[u8], _) = expected.map_or((b"0", b"".as_slice()), |expected| (b"1", expected));
        match self.command(&[b"EVAL", SWAP.as_bytes(), b"1", self.key.as_bytes(), there, before, new])? {
            Answer::Number(swapped) => Ok(swapped == 1),
            _ => Err(self.fault("an answer of another kind")),
        }
    }

    fn place(&self) -> String {
        format!("redis://{}:{}/{}", self.address.0, self.address.1, self.key)
    }
}

fn ask(connection: &mut BufReader<TcpStream>, command: &[&[u8]]) -> io::Result<Answer> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for part in command {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    connection.get_mut().write_all(&bytes)?;
    answer(connection)
}

fn answer(connection: &mut impl io::BufRead) -> io::Result<Answer> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "not an answer of Redis");
    let mut line = String::new();
    connection.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)?;
    let line = line.strip_suffix("\r\n").ok_or_else(odd)?;
    let mut text = line.chars();
    match (text.next(), text.as_str()) {
        (Some('+'), text) => Ok(Answer::Text(text.to_owned())),
        (Some(':'), number) => number.parse().map(Answer::Number).map_err(|_| odd()),
        (Some('$'), "-1") => Ok(Answer::Bytes(None)),
        (Some('$'), length) => {
            let length: usize = length.parse().map_err(|_| odd())?;
            if length > LOCK_RECORD_MAX_BYTES {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the value is longer than a lock record"));
            }
            let mut bytes = vec![0; length + 2];
            connection.read_exact(&mut bytes)?;
            bytes.truncate(length);
            Ok(Answer::Bytes(Some(bytes)))
        }
        // The server's own words; they name no value.
        (Some('-'), text) => Err(io::Error::other(text.to_owned())),
        _ => Err(odd()),
    }
}
