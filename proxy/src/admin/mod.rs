//! The admin port: health, metrics and the API, on `hyper` behind `tower` layers, loopback unless configured otherwise.
//!
//! It answers GET only, changes nothing, and shows no content of any exchange.

mod openapi;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder};

use crate::exchange::gateway::Gateway;
use crate::surface::coverage;

/// Time for one answer; all of them come from memory.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Requests at one time: scrapers and probes, not traffic.
const IN_FLIGHT_MAX: usize = 64;

/// A bound admin port.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    gateway: Arc<Gateway>,
}

impl Admin {
    /// Binds the port; the error says which.
    pub async fn bind(address: SocketAddr, gateway: Arc<Gateway>) -> io::Result<Admin> {
        Ok(Admin { listener: TcpListener::bind(address).await?, gateway })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped.
    pub async fn serve(self) {
        let gateway = self.gateway;
        let layers = ServiceBuilder::new().load_shed().concurrency_limit(IN_FLIGHT_MAX).timeout(ANSWER_MAX).service(
            tower::service_fn(move |request: Request<Incoming>| {
                let gateway = Arc::clone(&gateway);
                async move { Ok::<_, BoxError>(answer(&gateway, request.method(), request.uri().path())) }
            }),
        );
        let service = Rescue(BoxCloneSyncService::new(layers));
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors: give the ones in use a moment to come back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(ANSWER_MAX)
                    .max_buf_size(16 * 1024)
                    .serve_connection(TokioIo::new(stream), service);
                // A scraper that goes away is no event.
                let _ = connection.await;
            });
        }
    }
}

/// Turns what the layers refuse into an HTTP answer.
#[derive(Debug, Clone)]
struct Rescue(BoxCloneSyncService<Request<Incoming>, Response<Full<Bytes>>, BoxError>);

impl tower::Service<Request<Incoming>> for Rescue {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        // `load_shed` is always ready; what it sheds comes as an error of the call.
        self.0.poll_ready(context).map(|_| Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let busy = |_| page(StatusCode::SERVICE_UNAVAILABLE, JSON, json!({"error": "busy"}).to_string());
            Ok(answer.await.unwrap_or_else(busy))
        })
    }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn answer(gateway: &Gateway, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return page(StatusCode::METHOD_NOT_ALLOWED, JSON, json!({"error": "only GET is served here"}).to_string());
    }
    match path {
        "/livez" => page(StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" => ready(gateway),
        "/metrics" => {
            gateway.refresh_metrics();
            page(StatusCode::OK, OPENMETRICS, gateway.metrics.text())
        }
        "/api/v1/openapi.json" => page(StatusCode::OK, JSON, openapi::document().to_string()),
        "/api/v1/status" => page(StatusCode::OK, JSON, status(gateway).to_string()),
        "/api/v1/coverage" => {
            page(StatusCode::OK, JSON, coverage::map(gateway.policy.defaults().unknown_surface.as_str()).to_string())
        }
        _ => page(StatusCode::NOT_FOUND, JSON, json!({"error": "no such page; see /api/v1/openapi.json"}).to_string()),
    }
}

/// Ready to take traffic: the journal takes receipts.
fn ready(gateway: &Gateway) -> Response<Full<Bytes>> {
    let status = gateway.ledger.log().status();
    let reason = match status.poisoned {
        Some(reason) => format!("the journal has failed: {reason}"),
        None if status.full => "the disk is full; receipts are taken again when there is space".into(),
        None => return page(StatusCode::OK, TEXT, format!("ready\n{}", unready_upstreams(gateway))),
    };
    page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {reason}\n"))
}

/// A line for each upstream of which no endpoint can be called. Clyra stays ready: it answers for them, on record, and
/// taking it out of service would help nobody.
fn unready_upstreams(gateway: &Gateway) -> String {
    let away = gateway.upstreams.iter().filter(|upstream| !upstream.is_ready());
    away.map(|upstream| format!("upstream {}: no endpoint can be called\n", upstream.name)).collect()
}

fn status(gateway: &Gateway) -> serde_json::Value {
    let log = gateway.ledger.log().status();
    let free = gateway.in_flight.available_permits();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "policy": {"hash": gateway.policy.hash(), "mode": gateway.policy.mode().as_str()},
        "in_flight": gateway.limits.in_flight_max.saturating_sub(free),
        "journal": {
            "receipts": log.durable_count,
            "durable_seq": log.durable_seq,
            "poisoned": log.poisoned,
            "full": log.full,
        },
        "upstreams": gateway.upstreams.iter().map(|u| &*u.name).collect::<Vec<_>>(),
        "endpoints": gateway.upstreams.iter().flat_map(|u| u.states().map(|e| json!({
            "upstream": &*u.name,
            "endpoint": &*e.name,
            "healthy": e.is_healthy,
            "circuit": e.circuit.as_str(),
        }))).collect::<Vec<_>>(),
    })
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
