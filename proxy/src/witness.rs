//! Serves a witness over HTTP: `POST /add-checkpoint`, and for monitors `GET /<origin hash>/checkpoint`.
//!
//! Bounded in connections, bytes and time; what is decided about a checkpoint is `clyra_receipts::witness`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use clyra_receipts::witness::{AddCheckpoint, Answer, Witness};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Time for a request's head and for its body: a few kilobytes from a log nearby.
const READ_MAX: Duration = Duration::from_secs(10);
/// Connections at one time: a log makes one a minute, and keeps it.
const CONNECTIONS_MAX: usize = 256;
/// A connection is let go after this long without a request, so that the places are not held by the idle.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// A bound witness.
#[derive(Debug)]
pub struct WitnessServer {
    listener: TcpListener,
    witness: Arc<Witness>,
}

impl WitnessServer {
    pub async fn bind(address: SocketAddr, witness: Arc<Witness>) -> io::Result<WitnessServer> {
        Ok(WitnessServer { listener: TcpListener::bind(address).await?, witness })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until SIGTERM or SIGINT. What was answered is on disk, so it may end at any time.
    pub async fn serve_until_stopped(self) -> io::Result<()> {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            () = self.serve() => Ok(()),
            _ = terminate.recv() => Ok(()),
            interrupted = tokio::signal::ctrl_c() => interrupted,
        }
    }

    pub async fn serve(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors: give the ones in use a moment to come back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let witness = Arc::clone(&self.witness);
            tokio::spawn(async move {
                let _ = tokio::time::timeout(CONNECTION_MAX, connection(stream, witness)).await;
                drop(place);
            });
        }
    }
}

async fn connection(stream: TcpStream, witness: Arc<Witness>) {
    let service = service_fn(move |request| {
        let witness = Arc::clone(&witness);
        async move { Ok::<_, Infallible>(answer(request, witness).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_MAX)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // A log that goes away is no event.
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, witness: Arc<Witness>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let monitored = parts.uri.path().strip_prefix('/').and_then(|path| path.strip_suffix("/checkpoint"));
    match (&parts.method, parts.uri.path(), monitored) {
        (&Method::POST, "/add-checkpoint", _) => {
            let body = Limited::new(body, AddCheckpoint::BYTES_MAX);
            let Ok(Ok(body)) = tokio::time::timeout(READ_MAX, body.collect()).await else {
                return text(StatusCode::BAD_REQUEST, "the body is too long, or did not come");
            };
            let body = body.to_bytes();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            // Checks and keeps on disk: not on a worker of the runtime.
            let answered = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, now)).await;
            answered.map_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed"), page)
        }
        (&Method::GET, _, Some(origin)) => match witness.checkpoint(origin) {
            Some(note) => response(StatusCode::OK, "text/plain; charset=utf-8", note.into()),
            None => text(StatusCode::NOT_FOUND, "no checkpoint of such a log"),
        },
        (_, "/add-checkpoint", _) => text(StatusCode::METHOD_NOT_ALLOWED, "POST it"),
        _ => text(StatusCode::NOT_FOUND, "this is a witness: POST /add-checkpoint"),
    }
}

fn page(answer: Answer) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response(status, answer.content_type, answer.body.into())
}

fn text(status: StatusCode, what: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", format!("{what}\n").into())
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
