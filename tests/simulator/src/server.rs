//! Listens on loopback and answers each request; every task it starts ends with the `Simulator`.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::directive::Directive;
use crate::outgoing::{Call, Outgoing};
use crate::prompt::Prompt;
use crate::provider_error::Surface;
use crate::record::{Attendance, Record, SeenRequest};
use crate::script::{SCRIPT_HEADER, Scripted, Scripts};
use crate::transmission::Transmission;
use crate::{CHAT_MODEL, EMBEDDING_MODEL, GEMINI_MODEL, MESSAGES_MODEL, MODERATION_MODEL, OLLAMA_MODEL};
use crate::{SIMULATED_BY, SIMULATED_HEADER};
use crate::{bedrock, chat, cohere, completions, embeddings, gemini, messages, moderations, ollama, responses};

/// The largest request body: twice what Anthropic takes, so that Clyra's limit is met first.
const REQUEST_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most connections at once; further ones wait in the accept queue.
const CONNECTIONS_MAX: usize = 8192;

/// The pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How to start a [`Simulator`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. The default is a free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// How many of the last requests [`Simulator::requests`] remembers; their bodies together are also bounded
    /// at 256 MiB.
    pub requests_recorded_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), requests_recorded_max: 8192 }
    }
}

/// A running simulated provider. Dropped, it stops as abruptly as a provider that crashes.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    record: Arc<Record>,
    scripts: Scripts,
    calls: AtomicU64,
}

impl Simulator {
    /// Listens and answers from tasks of the caller's tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            record: Record::new(options.requests_recorded_max),
            scripts: Scripts::default(),
            calls: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` and the address, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The requests that were read to their end, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.record.requests()
    }

    /// How many responses were left by their client before the end. A response counts once it has been begun,
    /// that is, once its request was read, and no longer when its last write is handed to the connection.
    #[must_use]
    pub fn cancelled(&self) -> usize {
        self.shared.record.cancelled()
    }

    /// Waits until [`Self::cancelled`] is at least `count`, and says whether it came to that within `timeout`.
    pub async fn wait_cancelled(&self, count: usize, timeout: Duration) -> bool {
        self.shared.record.wait_cancelled(count, timeout).await
    }

    /// Answers the next request without a [`SCRIPT_HEADER`], on any path, with exactly this. Scripts queue up.
    pub fn script(&self, scripted: Scripted) {
        self.shared.scripts.add(None, scripted);
    }

    /// Answers the next request whose [`SCRIPT_HEADER`] is `key` with exactly this. Scripts of a key queue up.
    pub fn script_for(&self, key: impl Into<String>, scripted: Scripted) {
        self.shared.scripts.add(Some(key.into()), scripted);
    }

    /// Stops listening and closes every connection, finished or not.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // Aborted is what it should be; the listener and all connections are gone when this returns.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it, small writes would be put together and delayed.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.respond(request).await) }
    });
    // A client that leaves or breaks the protocol ends its own connection; there is nobody else to tell.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Shared {
    async fn respond(&self, request: Request<Incoming>) -> Response<Transmission> {
        let (head, body) = request.into_parts();
        let surface = surface(head.uri.path());
        let call_number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let body = match Limited::new(body, REQUEST_BODY_BYTES_MAX).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => {
                let status = if error.is::<LengthLimitError>() {
                    StatusCode::PAYLOAD_TOO_LARGE
                } else {
                    StatusCode::BAD_REQUEST
                };
                let message = format!("The request body cannot be read: {error}.");
                let call = Call { number: call_number, created: 0, body: &[] };
                let outgoing = Outgoing::refusal(surface, status, &message, &call.request_id());
                return transmit(outgoing, surface, &call, self.record.attend());
            }
        };
        self.record.remember(SeenRequest {
            method: head.method.clone(),
            path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            headers: head.headers.clone(),
            body: body.clone(),
            at: Instant::now(),
        });
        let attendance = self.record.attend();
        let key = head.headers.get(SCRIPT_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes()));
        if let Some(scripted) = self.scripts.take(key.as_deref()) {
            return play(&scripted, attendance);
        }
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let call = Call { number: call_number, created, body: &body };
        let outgoing = match key {
            Some(key) => {
                let message = format!("No script is left for {SCRIPT_HEADER}: {key}.");
                Outgoing::refusal(surface, StatusCode::BAD_REQUEST, &message, &call.request_id())
            }
            None => route(&head, surface, &call),
        };
        if !outgoing.first_delay.is_zero() {
            tokio::time::sleep(outgoing.first_delay).await;
        }
        transmit(outgoing, surface, &call, attendance)
    }
}

fn surface(path: &str) -> Surface {
    if path.starts_with("/v1/messages") {
        Surface::Anthropic
    } else if path.starts_with("/v1/responses") {
        Surface::Responses
    } else if path.starts_with("/v1beta/") || path.ends_with("enerateContent") {
        Surface::Gemini
    } else if path.starts_with("/v1/completions") {
        Surface::Completions
    } else if path.starts_with("/api/generate") {
        Surface::OllamaGenerate
    } else if path.starts_with("/api/") {
        Surface::OllamaChat
    } else if path.starts_with("/model/") {
        if path.contains("/invoke") { Surface::Invoke } else { Surface::Converse }
    } else if path.starts_with("/v2/") {
        Surface::Cohere
    } else {
        Surface::OpenAi
    }
}

fn route(head: &request::Parts, surface: Surface, call: &Call<'_>) -> Outgoing {
    let path = head.uri.path();
    let answered = match (&head.method, path) {
        (
            &Method::POST,
            "/v1/chat/completions"
            | "/v1/completions"
            | "/v1/messages"
            | "/v1/responses"
            | "/api/chat"
            | "/api/generate"
            | "/v2/chat",
        ) => converse(surface, call, Asked::default()),
        (&Method::POST, path) if path.ends_with("/converse") || path.ends_with("/invoke") => {
            converse(surface, call, Asked::default())
        }
        (&Method::POST, path)
            if path.ends_with("/converse-stream") || path.ends_with("/invoke-with-response-stream") =>
        {
            converse(surface, call, Asked { stream: true, array: false })
        }
        (&Method::POST, path) if path.ends_with(":generateContent") => converse(surface, call, Asked::default()),
        (&Method::POST, path) if path.ends_with(":streamGenerateContent") => {
            let array = head.uri.query().is_none_or(|query| query.split('&').all(|pair| pair != "alt=sse"));
            converse(surface, call, Asked { stream: true, array })
        }
        (&Method::POST, "/v1/embeddings") => embeddings::answer(call),
        (&Method::POST, "/v1/moderations") => moderations::answer(call),
        (&Method::POST, "/api/embed") => ollama::embed(call, false),
        (&Method::POST, "/api/embeddings") => ollama::embed(call, true),
        (&Method::GET, "/v1/models") => Ok(models()),
        (method, _) => {
            let message = format!("Unknown request URL: {method} {path} (simulated provider).");
            // Unknown addresses are answered in OpenAI's shape, whatever they look like.
            return Outgoing::refusal(Surface::OpenAi, StatusCode::NOT_FOUND, &message, &call.request_id());
        }
    };
    answered.unwrap_or_else(|message| Outgoing::refusal(surface, StatusCode::BAD_REQUEST, &message, &call.request_id()))
}

/// What the address of a request says about the answer.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    stream: bool,
    array: bool,
}

fn converse(surface: Surface, call: &Call<'_>, asked: Asked) -> Result<Outgoing, String> {
    let mut prompt = Prompt::read(surface, call.body)?;
    prompt.stream |= asked.stream;
    let directive = Directive::find(&prompt.user)?;
    if let Some(status) = directive.status {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Ok(Outgoing::directed_error(surface, status, call, &directive));
    }
    match surface {
        Surface::OpenAi => chat::answer(call, &prompt, &directive),
        Surface::Responses => responses::answer(call, &prompt, &directive),
        Surface::Anthropic => messages::answer(call, &prompt, &directive),
        Surface::Gemini => gemini::answer(call, &prompt, asked.array, &directive),
        Surface::Completions => completions::answer(call, &prompt, &directive),
        Surface::OllamaChat => ollama::answer(call, &prompt, ollama::Endpoint::Chat, &directive),
        Surface::OllamaGenerate => ollama::answer(call, &prompt, ollama::Endpoint::Generate, &directive),
        Surface::Converse => bedrock::converse(call, &prompt, &directive),
        Surface::Invoke => bedrock::invoke(call, &prompt, &directive),
        Surface::Cohere => cohere::answer(call, &prompt, &directive),
    }
}

fn models() -> Outgoing {
    let data: Vec<_> = [CHAT_MODEL, MESSAGES_MODEL, GEMINI_MODEL, OLLAMA_MODEL, EMBEDDING_MODEL, MODERATION_MODEL]
        .into_iter()
        .map(|id| json!({"id": id, "object": "model", "created": 0, "owned_by": SIMULATED_BY}))
        .collect();
    Outgoing::plain(&json!({"object": "list", "data": data}), &Directive::default())
}

fn transmit(outgoing: Outgoing, surface: Surface, call: &Call<'_>, attendance: Attendance) -> Response<Transmission> {
    let Outgoing { status, headers, steps, announced_bytes, write_bytes, .. } = outgoing;
    let mut response = Response::new(Transmission::new(steps, announced_bytes, write_bytes, attendance));
    *response.status_mut() = status;
    let id_header = match surface {
        Surface::Anthropic => "request-id",
        Surface::Converse | Surface::Invoke => "x-amzn-requestid",
        _ => "x-request-id",
    };
    for (name, value) in headers.into_iter().chain([(id_header, call.request_id())]) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    mark(&mut response);
    response
}

fn play(scripted: &Scripted, attendance: Attendance) -> Response<Transmission> {
    let mut response = Response::new(Transmission::new(scripted.steps(), None, None, attendance));
    *response.status_mut() = StatusCode::from_u16(scripted.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &scripted.headers {
        // A name or value that HTTP does not allow cannot be sent; the test that wrote it sees it missing.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            response.headers_mut().append(name, value);
        }
    }
    mark(&mut response);
    response
}

fn mark(response: &mut Response<Transmission>) {
    response.headers_mut().insert(SIMULATED_HEADER, HeaderValue::from_static(SIMULATED_BY));
}
