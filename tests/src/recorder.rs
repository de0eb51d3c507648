//! An upstream that keeps every byte that reaches it, and answers each request that it can read by the letter.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One request as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Request>,
    bytes: Vec<u8>,
}

/// A listening upstream.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    server: JoinHandle<()>,
}

/// What it answers.
const ANSWER: &str = r#"{"id":"c","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"well"},"finish_reason":"stop"}]}"#;

impl Recorder {
    pub async fn start() -> Recorder {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::clone(&seen);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Recorder { address, seen, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come since the last time: whole requests, and all bytes.
    pub fn take(&self) -> (Vec<Request>, Vec<u8>) {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        (seen.requests, seen.bytes)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Reads requests by the letter; what is none stays unread bytes, and gets no answer.
async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let (mut pending, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        while let Some(request) = next(&mut pending) {
            seen.lock().unwrap().requests.push(request);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                ANSWER.len()
            );
            if stream.write_all(format!("{head}{ANSWER}").as_bytes()).await.is_err() {
                return;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                seen.lock().unwrap().bytes.extend_from_slice(&buffer[..read]);
                pending.extend_from_slice(&buffer[..read]);
            }
        }
    }
}

fn next(pending: &mut Vec<u8>) -> Option<Request> {
    let at = pending.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&pending[..at]).into_owned();
    let lower = head.to_ascii_lowercase();
    let fields = |name: &str| lower.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
    let (body, end) = match (fields("content-length:").as_slice(), fields("transfer-encoding:").as_slice()) {
        ([], []) => (Vec::new(), at + 4),
        ([length], []) => {
            let end = at + 4 + length.trim().parse::<usize>().ok()?;
            (pending.get(at + 4..end)?.to_vec(), end)
        }
        ([], [coding]) if coding.trim() == "chunked" => chunks(pending, at + 4)?,
        _ => return None,
    };
    pending.drain(..end);
    Some(Request { head, body })
}

/// A body in chunks without extensions or trailers, and where it ends.
fn chunks(bytes: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    loop {
        let rest = bytes.get(at..)?;
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
        let chunk = rest.get(line + 2..line + 2 + size)?;
        (rest.get(line + 2 + size..line + 4 + size)? == b"\r\n").then_some(())?;
        at += line + 4 + size;
        if size == 0 {
            return Some((body, at));
        }
        body.extend_from_slice(chunk);
    }
}
