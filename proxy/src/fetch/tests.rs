use std::convert::Infallible;

use http::StatusCode;
use hyper::service::service_fn;
use tokio::net::TcpListener;

use super::*;
use crate::upstream::tests::identity::{Identity, small_trust_store};

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(20), answer: 1000 };

/// Serves one connection with this answer; says under which name and path it was asked.
async fn server(answer: fn(&str) -> Response<Full<Bytes>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
            let asked = format!("{} {}", request.headers()[HOST].to_str().unwrap(), request.uri());
            Ok::<_, Infallible>(answer(&asked))
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
    format!("http://{address}")
}

/// For calls without TLS.
fn plain() -> Fetch {
    Fetch::new(Some(&small_trust_store())).unwrap()
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

#[tokio::test]
async fn an_answer_comes_whole_with_its_status() {
    let base = server(|asked| {
        let mut answer = Response::new(Full::from(asked.to_owned()));
        *answer.status_mut() = StatusCode::NOT_FOUND;
        answer
    })
    .await;
    let answer = plain().call(get(&format!("{base}/a?b=c")), BOUNDS).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(*answer.body(), format!("{} /a?b=c", base.trim_start_matches("http://")));
}

#[tokio::test]
async fn a_long_answer_is_refused() {
    let base = server(|_| Response::new(Full::from(vec![0; 1001]))).await;
    let error = plain().call(get(&base), BOUNDS).await.unwrap_err();
    assert!(matches!(error, FetchError::TooLong { bytes_max: 1000, .. }), "{error}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let base = server(|_| {
        let answer = Response::builder().status(StatusCode::FOUND).header("location", "http://127.0.0.1:1/");
        answer.body(Full::default()).unwrap()
    })
    .await;
    let answer = plain().call(get(&base), BOUNDS).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn who_does_not_answer_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move { listener.accept().await });
    let bounds = Bounds { time: Duration::from_millis(50), ..BOUNDS };
    let error = plain().call(get(&uri), bounds).await.unwrap_err();
    assert!(matches!(error, FetchError::Timeout { .. }), "{error}");
    drop(silent);
    let error = plain().call(get("http://127.0.0.1:1"), BOUNDS).await.unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn an_address_has_a_scheme_and_a_host_and_no_password() {
    let fetch = plain();
    for uri in ["/path", "ftp://host/", "http://name:password@host/", "localhost:80"] {
        let error = fetch.call(get(uri), BOUNDS).await.unwrap_err();
        assert!(matches!(error, FetchError::Address(_)), "{uri}: {error}");
    }
}

#[tokio::test]
async fn https_is_spoken_with_whom_the_trusted_authority_vouches_for() {
    let (identity, stranger) = (Identity::new(), Identity::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let acceptor = identity.acceptor(&[b"http/1.1"]);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("yes"))) });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    });
    let error = Fetch::new(Some(&stranger.ca_file())).unwrap().call(get(&uri), BOUNDS).await.unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
    let answer = Fetch::new(Some(&identity.ca_file())).unwrap().call(get(&uri), BOUNDS).await.unwrap();
    assert_eq!(*answer.body(), "yes");
}
