//! A client's TCP connection as pingora sees it: writes are collected until they are flushed, bytes that were read to
//! tell the protocol are read again, a request head must be complete within [`HEAD_MAX`], and chunks must be well framed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::framing::Framing;
use super::limits::HEAD_MAX;

/// Collects the pieces of one message (chunk size, data, line end) into one packet; larger writes pass by.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;

#[derive(Debug)]
pub(super) struct ClientSocket {
    io: BufWriter<TcpStream>,
    again: Bytes,
    digest: Arc<SocketDigest>,
    in_head: AtomicBool,
    /// Counts heads, so that a deadline is never taken for that of the head before.
    heads: AtomicU64,
    deadline: Option<(u64, Pin<Box<Sleep>>)>,
    /// Follows HTTP/1.
    framing: Option<Framing>,
    /// A byte came that cannot stand where it stands; it was not passed on, and nothing is any more.
    malformed: AtomicBool,
}

impl ClientSocket {
    /// Takes over a connection of which `again` has been read already.
    pub(super) fn new(tcp: TcpStream, peer: SocketAddr, again: Bytes) -> Self {
        let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
        // Failing is impossible on a new cell, and would only cost a system call later.
        let _ = digest.peer_addr.set(Some(peer.into()));
        Self {
            io: BufWriter::with_capacity(WRITE_BUFFER_BYTES, tcp),
            again,
            digest: Arc::new(digest),
            in_head: AtomicBool::new(true),
            heads: AtomicU64::new(0),
            deadline: None,
            framing: Some(Framing::default()),
            malformed: AtomicBool::new(false),
        }
    }

    /// The connection does not speak HTTP/1.
    pub(super) fn without_framing(mut self) -> Self {
        self.framing = None;
        self
    }

    /// Whether a request line came that pingora may have rewritten.
    pub(super) fn has_odd_line(&self) -> bool {
        self.framing.as_ref().is_some_and(Framing::has_odd_line)
    }

    /// Whether the client has broken the framing of a body.
    pub(super) fn is_malformed(&self) -> bool {
        self.malformed.load(Ordering::Relaxed)
    }

    /// The socket behind a pingora stream of ours.
    pub(super) fn of(stream: &Stream) -> Option<&Self> {
        (**stream).as_any().downcast_ref()
    }

    /// The next bytes are another request head: its time runs from its first byte.
    pub(super) fn expect_head(&self) {
        self.heads.fetch_add(1, Ordering::Relaxed);
        self.in_head.store(true, Ordering::Relaxed);
    }

    /// The head is complete; what is read now has limits of its own.
    pub(super) fn head_complete(&self) {
        self.in_head.store(false, Ordering::Relaxed);
    }

    /// The head that is being read.
    fn current_head(&self) -> Option<u64> {
        self.in_head.load(Ordering::Relaxed).then(|| self.heads.load(Ordering::Relaxed))
    }

    fn is_too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        let current = self.current_head();
        match self.deadline.as_mut() {
            Some((head, deadline)) if Some(*head) == current => deadline.as_mut().poll(cx).is_ready(),
            _ => {
                self.deadline = None;
                false
            }
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_too_slow(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.is_malformed() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buf.filled().len();
        if self.again.is_empty() {
            ready!(Pin::new(self.io.get_mut()).poll_read(cx, buf))?;
        } else {
            let count = self.again.len().min(buf.remaining());
            buf.put_slice(&self.again.split_to(count));
        }
        if let Some(framing) = &mut self.framing {
            let new = buf.filled().get(before..).unwrap_or_default();
            let (came, good) = (new.len(), framing.follow(new));
            if good < came {
                self.malformed.store(true, Ordering::Relaxed);
                buf.set_filled(before + good);
                if good == 0 {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
            }
        }
        if self.deadline.is_none()
            && let Some(head) = self.current_head()
        {
            self.deadline = Some((head, Box::pin(tokio::time::sleep(HEAD_MAX))));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for ClientSocket {
    async fn shutdown(&mut self) {
        // The client may be gone already, which is just as well.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for ClientSocket {
    fn id(&self) -> UniqueIDType {
        self.io.get_ref().as_raw_fd()
    }
}

impl Ssl for ClientSocket {}

impl Peek for ClientSocket {}

impl GetTimingDigest for ClientSocket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for ClientSocket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for ClientSocket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}
