//! An upstream that a test moves by hand: nothing is written before the test says so. What order means can be shown with
//! it without a clock.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A listening upstream.
#[derive(Debug)]
pub struct Puppet {
    listener: TcpListener,
}

/// A request that it took, and the answer in the making.
#[derive(Debug)]
pub struct Call {
    pub head: String,
    pub body: Vec<u8>,
    stream: TcpStream,
}

impl Puppet {
    pub async fn start() -> Puppet {
        Puppet { listener: TcpListener::bind(("127.0.0.1", 0)).await.unwrap() }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// The next request on a new connection, read to its end.
    pub async fn call(&self) -> Call {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut seen, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            if let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(seen[..at].to_vec()).unwrap();
                let lower = head.to_ascii_lowercase();
                let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
                let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
                if seen.len() >= at + 4 + length {
                    return Call { head, body: seen[at + 4..].to_vec(), stream };
                }
            }
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the request broke off");
            seen.extend_from_slice(&buffer[..read]);
        }
    }
}

impl Call {
    /// Sends the head of an answer in the chunked coding.
    pub async fn begin(&mut self, content_type: &str) {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n");
        self.raw(head.as_bytes()).await;
    }

    pub async fn chunk(&mut self, bytes: &[u8]) {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.raw(&chunk).await;
    }

    /// Ends the message in good order.
    pub async fn end(mut self) {
        self.raw(b"0\r\n\r\n").await;
    }

    /// Writes as it is.
    pub async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Waits until the other side has closed.
    pub async fn left(&mut self) {
        let mut buffer = [0; 1024];
        while self.stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    }
}
