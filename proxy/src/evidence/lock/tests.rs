//! The networked stores against small servers that keep to the other side's rules.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

/// Serves connections one after the other on a thread of its own, for as long as the test runs.
fn served(handle: impl Fn(TcpStream) -> Option<()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = handle(stream.unwrap());
        }
    });
    address
}

/// What every store must do.
fn holds_a_record(store: &dyn LockStore) {
    assert_eq!(store.read(), Ok(None));
    assert_eq!(store.swap(Some(b"{\"a\":1}"), b"x"), Ok(false));
    assert_eq!(store.swap(None, b"{\"a\":1}"), Ok(true));
    assert_eq!(store.swap(None, b"x"), Ok(false));
    assert_eq!(store.swap(Some(b"{\"a\":1}"), b"{\"a\":2}"), Ok(true));
    assert_eq!(store.swap(Some(b"{\"a\":1}"), b"{\"a\":3}"), Ok(false));
    assert_eq!(store.read(), Ok(Some(b"{\"a\":2}".to_vec())));
}

/// One command of RESP2.
fn command(input: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let number = |mark: char, input: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        line.trim_end().strip_prefix(mark)?.parse::<usize>().ok()
    };
    let count = number('*', input)?;
    (0..count)
        .map(|_| {
            let mut bytes = vec![0; number('$', input)? + 2];
            input.read_exact(&mut bytes).ok()?;
            bytes.truncate(bytes.len() - 2);
            Some(bytes)
        })
        .collect()
}

/// Redis with one key and a password.
fn redis() -> SocketAddr {
    let value: Mutex<Option<Vec<u8>>> = Mutex::default();
    served(move |stream| {
        let mut output = stream.try_clone().ok()?;
        let mut input = BufReader::new(stream);
        let mut known = false;
        while let Some(command) = command(&mut input) {
            let parts: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            let mut value = value.lock().unwrap();
            let answer = match parts.as_slice() {
                [b"AUTH", b"clyra", b"secret"] => {
                    known = true;
                    b"+OK\r\n".to_vec()
                }
                [b"AUTH", ..] => b"-WRONGPASS invalid username-password pair\r\n".to_vec(),
                _ if !known => b"-NOAUTH Authentication required.\r\n".to_vec(),
                [b"GET", b"log"] => match &*value {
                    Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
                    None => b"$-1\r\n".to_vec(),
                },
                [b"EVAL", script, b"1", b"log", there, before, new] => {
                    assert!(std::str::from_utf8(script).unwrap().contains("redis.call('SET', KEYS[1], ARGV[3])"));
                    let expected = (*there == b"1").then(|| before.to_vec());
                    let same = *value == expected;
                    if same {
                        *value = Some(new.to_vec());
                    }
                    format!(":{}\r\n", u8::from(same)).into_bytes()
                }
                other => panic!("{other:?}"),
            };
            output.write_all(&answer).ok()?;
        }
        None
    })
}

#[test]
fn redis_keeps_a_record() {
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let address = redis();
    let store = |password: &Path| {
        let user = Some("clyra".to_owned());
        RedisLock::new(("127.0.0.1".into(), address.port()), user, Some(password.into()), "log", WITHIN)
    };
    holds_a_record(&store(&password));
    std::fs::write(&password, "guess\n").unwrap();
    let error = store(&password).read().unwrap_err();
    assert_eq!(error.code(), "L001");
    let text = error.to_string();
    assert!(text.contains("WRONGPASS") && text.contains("redis://127.0.0.1") && !text.contains("guess"), "{text}");
}

#[test]
fn odd_answers_of_redis_are_refused() {
    for answer in ["", "+OK", "$5\r\nab", "$99999999\r\n", "$x\r\n", "*1\r\n", ":x\r\n", "-ERR no\r\n"] {
        let address = served(move |mut stream| {
            let mut input = BufReader::new(stream.try_clone().ok()?);
            command(&mut input)?;
            stream.write_all(answer.as_bytes()).ok()
        });
        let store = RedisLock::new(("127.0.0.1".into(), address.port()), None, None, "log", WITHIN);
        assert_eq!(store.read().unwrap_err().code(), "L001", "{answer:?}");
    }
}

/// One HTTP request: method, path, head and JSON body.
fn request(input: &mut BufReader<TcpStream>) -> Option<(String, String, String, serde_json::Value)> {
    let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
    while input.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
        line.clear();
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    let mut first = head.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    Some((method, path, head, serde_json::from_slice(&body).unwrap_or_default()))
}

/// An API server with room for one Lease, which keeps to resource versions.
fn api_server(meddle: Arc<Mutex<bool>>) -> SocketAddr {
    let lease: Mutex<Option<serde_json::Value>> = Mutex::default();
    let version = Mutex::new(0);
    served(move |stream| {
        let mut output = stream.try_clone().ok()?;
        let mut input = BufReader::new(stream);
        while let Some((method, path, head, body)) = request(&mut input) {
            const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/prod/leases";
            let mut lease = lease.lock().unwrap();
            let mut version = version.lock().unwrap();
            let mut keep = |mut body: serde_json::Value, lease: &mut Option<serde_json::Value>| {
                *version += 1;
                body["metadata"]["resourceVersion"] = version.to_string().into();
                *lease = Some(body);
            };
            let authorized = head.to_ascii_lowercase().contains("authorization: bearer token-1\r\n");
            let (status, answer) = match (method.as_str(), path.strip_prefix(LEASES)) {
                _ if !authorized => (401, None),
                ("GET", Some("/clyra")) => lease.as_ref().map_or((404, None), |lease| (200, Some(lease.clone()))),
                ("POST", Some("")) if lease.is_none() => {
                    keep(body, &mut lease);
                    (201, lease.clone())
                }
                ("PUT", Some("/clyra")) => {
                    if *meddle.lock().unwrap() {
                        // Somebody else was faster.
                        let mut other = lease.clone().unwrap();
                        other["spec"]["holderIdentity"] = "other".into();
                        keep(other, &mut lease);
                    }
                    let current = lease.as_ref().unwrap()["metadata"]["resourceVersion"].clone();
                    if body["metadata"]["resourceVersion"] == current {
                        keep(body, &mut lease);
                        (200, lease.clone())
                    } else {
                        (409, None)
                    }
                }
                ("POST", Some("")) => (409, None),
                _ => (404, None),
            };
            let answer = answer.map_or(String::from("{}"), |answer| answer.to_string());
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            output.write_all((head + &answer).as_bytes()).ok()?;
        }
        None
    })
}

#[test]
fn a_lease_keeps_a_record() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "token-1\n").unwrap();
    let meddle = Arc::new(Mutex::new(false));
    let options = KubernetesOptions {
        server: format!("http://{}", api_server(Arc::clone(&meddle))),
        token_file: token.clone(),
        ca_file: None,
    };
    let store = {
        let _guard = runtime.enter();
        KubernetesLease::new(options, "prod", "clyra", WITHIN).unwrap()
    };
    holds_a_record(&store);
    *meddle.lock().unwrap() = true;
    assert_eq!(store.swap(Some(b"{\"a\":2}"), b"{\"a\":3}"), Ok(false), "another writer between look and write");
    *meddle.lock().unwrap() = false;
    assert_eq!(store.swap(Some(b"{\"a\":2}"), b"{\"a\":3}"), Ok(true));
    std::fs::write(&token, "token-2\n").unwrap();
    let error = store.read().unwrap_err().to_string();
    assert!(error.contains("401") && !error.contains("token-2"), "{error}");
}

#[test]
fn places_are_read_and_secrets_kept_out_of_them() {
    let parse = |text: &str| LockPlace::parse(text, Path::new("/etc/clyra"), None);
    assert_eq!(parse("file:/mnt/x").unwrap(), LockPlace::File("/mnt/x".into()));
    assert_eq!(parse("file:x").unwrap(), LockPlace::File("/etc/clyra/x".into()));
    let redis = parse("redis://me@cache:7000/clyra/log").unwrap();
    assert!(matches!(redis, LockPlace::Redis { port: 7000, user: Some(_), key, .. } if key == "clyra/log"));
    assert!(matches!(parse("redis://me:secret@cache/x"), Err(LockPlaceError::Password)));
    assert!(matches!(parse("kubernetes:prod/clyra").unwrap(), LockPlace::Kubernetes { .. }));
    for bad in
        ["", "file:", "redis://h", "redis:///k", "redis://h:x/k", "kubernetes:a", "kubernetes:a/../b", "https://x/y"]
    {
        assert!(matches!(parse(bad), Err(LockPlaceError::Form)), "{bad}");
    }
    let directory = tempfile::tempdir().unwrap();
    let inside = LockPlace::File(directory.path().join("record"));
    assert!(matches!(inside.store(directory.path()), Err(LockPlaceError::Inside(_))));
}
