//! Malformed and ambiguous requests over HTTP/1, byte by byte.

/// What must come of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Must {
    /// Refused or closed; it is uncertain where it ends, so nothing behind it may be read as a request.
    EndIt,
    /// Refused or closed; its end is certain, so the request behind it may be served as its own.
    Refuse,
    /// Only odd: served, and so is the request behind it.
    Serve,
    /// Served as a request for something else (a path or a method of its own), and so is the request behind it.
    Pass,
    /// It has no body, whatever the client thinks: what stands in the place of one is never a request.
    NoBody,
    /// It announces more than comes: nothing is served, and the connection ends with the client.
    Wait,
}

use Must::{EndIt, NoBody, Pass, Refuse, Serve, Wait};

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Where it is inspected.
    pub(super) must: Must,
    /// In the bypass.
    pub(super) elsewhere: Must,
}

/// The path that the table is about; another one in the bypass.
pub(super) const PATH: &str = "/v1/chat/completions";

/// The body of the request under test.
pub(super) const FIRST: &str = r#"{"model":"m","messages":[{"role":"user","content":"FIRST"}]}"#;

/// A request within a body that no upstream must ever see.
fn embedded() -> String {
    let body = FIRST.replace("FIRST", "EMBEDDED");
    format!("POST {PATH} HTTP/1.1\r\nHost: edge\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A request line, fields (each with its line end), and a body.
fn raw(line: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("{line}\r\n{fields}\r\n{body}").into_bytes()
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    raw(&format!("POST {PATH} HTTP/1.1"), &format!("Host: edge\r\n{fields}"), body)
}

/// A whole request with this field more.
fn with(field: &str) -> Vec<u8> {
    post(&format!("{field}\r\nContent-Length: {}\r\n", FIRST.len()), FIRST)
}

/// A whole request with this request line.
fn line(line: &str) -> Vec<u8> {
    raw(line, &format!("Host: edge\r\nContent-Length: {}\r\n", FIRST.len()), FIRST)
}

/// A whole request with these fields in the place of `Host`.
fn host(fields: &str) -> Vec<u8> {
    raw(&format!("POST {PATH} HTTP/1.1"), &format!("{fields}Content-Length: {}\r\n", FIRST.len()), FIRST)
}

/// A request in the chunked coding with these chunks.
fn chunked(chunks: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", chunks)
}

/// A request whose transfer coding is written like this, and whose body hides another request from who ignores it.
fn coding(field: &str) -> Vec<u8> {
    post(&format!("{field}\r\n"), &format!("{}0\r\n\r\n", chunk(FIRST)))
}

/// A request whose length is written like this.
fn length(field: &str) -> Vec<u8> {
    post(&format!("{field}\r\n"), FIRST)
}

pub(super) fn cases() -> Vec<Case> {
    let n = FIRST.len();
    let hidden = embedded();
    let whole = chunk(FIRST);
    let mut cases = Vec::new();
    let mut add =
        |must: Must, name: &'static str, bytes: Vec<u8>| cases.push(Case { name, bytes, must, elsewhere: must });

    // Two ways to say where a body ends.
    let both = |fields: &str| post(fields, &format!("0\r\n\r\n{hidden}"));
    add(
        EndIt,
        "length and chunked",
        both(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", hidden.len() + 5)),
    );
    add(
        EndIt,
        "chunked and length",
        both(&format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", hidden.len() + 5)),
    );
    add(EndIt, "chunked and a short length", both("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"));
    add(EndIt, "chunked and length 0", both("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"));
    add(EndIt, "chunked and a length that is none", both("Transfer-Encoding: chunked\r\nContent-Length: x\r\n"));
    add(EndIt, "length and an unknown coding", both(&format!("Content-Length: {n}\r\nTransfer-Encoding: x\r\n")));
    add(EndIt, "identity and length", both(&format!("Transfer-Encoding: identity\r\nContent-Length: {n}\r\n")));

    // Transfer codings that one reader knows and another does not.
    add(EndIt, "coding: xchunked", coding("Transfer-Encoding: xchunked"));
    add(EndIt, "coding: chunkedx", coding("Transfer-Encoding: chunkedx"));
    add(EndIt, "coding: gzip, chunked", coding("Transfer-Encoding: gzip, chunked"));
    add(EndIt, "coding: chunked, gzip", coding("Transfer-Encoding: chunked, gzip"));
    add(EndIt, "coding: chunked, identity", coding("Transfer-Encoding: chunked, identity"));
    add(EndIt, "coding: chunked twice in a list", coding("Transfer-Encoding: chunked, chunked"));
    add(EndIt, "coding: chunked in two fields", coding("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"));
    add(EndIt, "coding: chunked, then x", coding("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"));
    add(EndIt, "coding: x, then chunked", coding("Transfer-Encoding: x\r\nTransfer-Encoding: chunked"));
    add(EndIt, "coding: identity", coding("Transfer-Encoding: identity"));
    add(EndIt, "coding: empty", coding("Transfer-Encoding:"));
    add(EndIt, "coding: quoted", coding("Transfer-Encoding: \"chunked\""));
    add(EndIt, "coding: with a parameter", coding("Transfer-Encoding: chunked;q=1"));
    add(EndIt, "coding: vertical tab before", coding("Transfer-Encoding: \u{b}chunked"));
    add(EndIt, "coding: NUL behind", coding("Transfer-Encoding: chunked\0"));
    add(EndIt, "coding: bare CR before", coding("Transfer-Encoding: \rchunked"));
    add(EndIt, "coding: space before the colon", coding("Transfer-Encoding : chunked"));
    add(EndIt, "coding: tab before the colon", coding("Transfer-Encoding\t: chunked"));
    add(EndIt, "coding: space before the name", coding("X: y\r\n Transfer-Encoding: chunked"));
    add(EndIt, "coding: on a folded line", coding("Transfer-Encoding:\r\n chunked"));
    add(EndIt, "coding: behind a bare LF", coding("X: y\nTransfer-Encoding: chunked"));
    add(EndIt, "coding: behind a bare CR", coding("X: y\rTransfer-Encoding: chunked"));
    add(Serve, "coding: in capitals", coding("TRANSFER-ENCODING: CHUNKED"));
    add(Serve, "coding: tab before the value", coding("Transfer-Encoding:\tchunked"));
    add(EndIt, "coding: underscore in the name, no length", coding("Transfer_Encoding: chunked"));
    let old = |fields: &str| {
        raw(&format!("POST {PATH} HTTP/1.0"), &format!("Host: edge\r\n{fields}"), &format!("{whole}0\r\n\r\n"))
    };
    add(EndIt, "coding in HTTP/1.0", old("Transfer-Encoding: chunked\r\n"));
    add(EndIt, "coding in HTTP/1.0, kept alive", old("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"));

    // Lengths.
    add(EndIt, "length: two different", length(&format!("Content-Length: {n}\r\nContent-Length: 1")));
    add(EndIt, "length: two different in a list", length(&format!("Content-Length: {n}, 1")));
    add(EndIt, "length: two equal", length(&format!("Content-Length: {n}\r\nContent-Length: {n}")));
    add(EndIt, "length: two equal in a list", length(&format!("Content-Length: {n}, {n}")));
    add(EndIt, "length: plus sign", length(&format!("Content-Length: +{n}")));
    add(EndIt, "length: minus sign", length(&format!("Content-Length: -{n}")));
    add(EndIt, "length: hexadecimal", length(&format!("Content-Length: 0x{n:x}")));
    add(EndIt, "length: with a fraction", length(&format!("Content-Length: {n}.0")));
    add(EndIt, "length: with an exponent", length("Content-Length: 6e1"));
    add(EndIt, "length: space within", length("Content-Length: 6 0"));
    add(EndIt, "length: empty", length("Content-Length:"));
    add(EndIt, "length: no number", length("Content-Length: many"));
    add(EndIt, "length: above 2^64", length("Content-Length: 18446744073709551676"));
    add(EndIt, "length: digits of another script", length("Content-Length: \u{666}\u{660}"));
    add(EndIt, "length: NUL behind", length(&format!("Content-Length: {n}\0")));
    add(EndIt, "length: space before the colon", length(&format!("Content-Length : {n}")));
    add(Wait, "length: larger than is taken", length("Content-Length: 99999999999"));
    add(Serve, "length: leading zeros", length(&format!("Content-Length: 000{n}")));
    add(Serve, "length: white space around", length(&format!("Content-Length: \t {n} \t")));

    // Chunks.
    let end = "0\r\n\r\n";
    add(Serve, "chunks: several", chunked(&format!("{}{}{end}", chunk(&FIRST[..7]), chunk(&FIRST[7..]))));
    add(Serve, "chunks: an extension", chunked(&format!("{n:x};a=b\r\n{FIRST}\r\n{end}")));
    add(Serve, "chunks: leading zeros", chunked(&format!("000{n:x}\r\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: minus sign", chunked(&format!("-{n:x}\r\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: plus sign", chunked(&format!("+{n:x}\r\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: 0x before the size", chunked(&format!("0x{n:x}\r\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: size above 2^64", chunked(&format!("1000000000000003c\r\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: size of 2^63", chunked(&format!("8000000000000000\r\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: size empty", chunked(&format!("\r\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: size with an underscore", chunked(&format!("3_c\r\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: space before the size", chunked(&format!(" {n:x}\r\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: size ends in a bare LF", chunked(&format!("{n:x}\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: size ends in a bare CR", chunked(&format!("{n:x}\r{FIRST}\r\n{end}")));
    add(EndIt, "chunks: an LF in an extension", chunked(&format!("{n:x};a\nb\r\n{FIRST}\r\n{end}")));
    add(EndIt, "chunks: no line end behind the data", chunked(&format!("{n:x}\r\n{FIRST}{end}")));
    add(EndIt, "chunks: LF behind the data", chunked(&format!("{n:x}\r\n{FIRST}\n{end}")));
    add(EndIt, "chunks: other bytes behind the data", chunked(&format!("{n:x}\r\n{FIRST}xx{end}")));
    add(EndIt, "chunks: size shorter than the data", chunked(&format!("{:x}\r\n{FIRST}\r\n{end}", n - 5)));
    add(
        EndIt,
        "chunks: an extension of 64 KiB",
        chunked(&format!("{n:x};{}\r\n{FIRST}\r\n{end}", "x".repeat(64 << 10))),
    );
    add(EndIt, "chunks: the last one ends in LF", chunked(&format!("{whole}0\n\n")));
    add(Serve, "chunks: several zeros at the end", chunked(&format!("{whole}000\r\n\r\n")));

    // Trailers.
    let trailer = |fields: &str| chunked(&format!("{whole}0\r\n{fields}\r\n"));
    add(Serve, "trailer: any field", trailer("X-Trailer: EMBEDDED\r\n"));
    add(Serve, "trailer: Host", trailer("Host: EMBEDDED\r\n"));
    add(Serve, "trailer: Content-Length", trailer("Content-Length: 5\r\n"));
    add(Serve, "trailer: Transfer-Encoding", trailer("Transfer-Encoding: EMBEDDED\r\n"));
    add(Serve, "trailer: Authorization", trailer("Authorization: Bearer EMBEDDED\r\n"));
    add(EndIt, "trailer: ends in a bare LF", chunked(&format!("{whole}0\r\nX: y\n\n")));
    add(EndIt, "trailer: larger than is taken", trailer(&format!("X: {}\r\n", "v".repeat(64 << 10))));

    // Fields.
    add(EndIt, "field: folded", with("X: 1\r\n folded"));
    add(EndIt, "field: folded with a tab", with("X: 1\r\n\tfolded"));
    add(EndIt, "field: space in the name", with("X Y: 1"));
    add(EndIt, "field: space before the colon", with("X : 1"));
    add(EndIt, "field: no colon", with("X"));
    add(EndIt, "field: no name", with(": 1"));
    add(EndIt, "field: NUL in the value", with("X: a\0b"));
    add(EndIt, "field: NUL in the name", with("X\0: 1"));
    add(EndIt, "field: bare CR in the value", with("X: a\rb"));
    add(EndIt, "field: letters of another script in the name", with("\u{445}: 1"));
    add(EndIt, "field: 101 of them", with(&(0..99).map(|n| format!("X-{n}: v")).collect::<Vec<_>>().join("\r\n")));
    add(EndIt, "field: section of 40 KiB", with(&format!("X: {}", "v".repeat(40 << 10))));
    add(EndIt, "field: section of 2 MiB", with(&format!("X: {}", "v".repeat(2 << 20))));
    add(EndIt, "lines end in LF only", String::from_utf8(with("X: 1")).unwrap().replace("\r\n", "\n").into_bytes());
    add(Serve, "field: no value", with("X:"));
    add(Serve, "field: TE: trailers", with("TE: trailers"));
    add(Serve, "field: Connection names Content-Length", with("Connection: content-length"));
    add(Serve, "field: Connection names Host", with("Connection: host"));
    add(Serve, "field: Connection names Authorization", with("Connection: authorization\r\nAuthorization: Bearer k"));
    add(
        Serve,
        "field: Upgrade: h2c",
        with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"),
    );
    add(Refuse, "field: Upgrade: websocket", with("Connection: Upgrade\r\nUpgrade: websocket"));
    add(Serve, "field: Expect: something else", with("Expect: 200-ok"));
    add(Serve, "field: X-Clyra of ours", with("X-Clyra-Decision: allow"));

    // Host.
    add(Refuse, "host: missing", host(""));
    add(Refuse, "host: empty", host("Host:\r\n"));
    add(EndIt, "host: two different", host("Host: edge\r\nHost: other\r\n"));
    add(EndIt, "host: two equal", host("Host: edge\r\nHost: edge\r\n"));
    add(EndIt, "host: with user information", host("Host: user@edge\r\n"));
    add(EndIt, "host: with a path", host("Host: edge/path\r\n"));
    add(EndIt, "host: a space within", host("Host: ed ge\r\n"));
    add(EndIt, "host: a list", host("Host: edge, other\r\n"));
    add(EndIt, "host: a port that is none", host("Host: edge:http\r\n"));
    add(EndIt, "host: on a folded line", host("Host:\r\n edge\r\n"));

    // Targets and methods.
    add(Serve, "target: absolute, the same host", line(&format!("POST http://edge{PATH} HTTP/1.1")));
    add(EndIt, "target: absolute, another host", line(&format!("POST http://evil.example{PATH} HTTP/1.1")));
    add(EndIt, "target: absolute, user information", line(&format!("POST http://user@edge{PATH} HTTP/1.1")));
    add(EndIt, "target: another scheme", line("POST ftp://edge/x HTTP/1.1"));
    add(Refuse, "target: * with POST", line("POST * HTTP/1.1"));
    add(Refuse, "target: * with OPTIONS", raw("OPTIONS * HTTP/1.1", "Host: edge\r\n", ""));
    add(EndIt, "target: CONNECT", raw("CONNECT evil.example:443 HTTP/1.1", "Host: evil.example:443\r\n", ""));
    add(EndIt, "target: host and port with POST", line("POST evil.example:443 HTTP/1.1"));
    add(Refuse, "target: no slash", line("POST v1/chat/completions HTTP/1.1"));
    add(EndIt, "target: a space within", line(&format!("POST {PATH} x HTTP/1.1")));
    add(Refuse, "target: a fragment", line(&format!("POST {PATH}#x HTTP/1.1")));
    add(EndIt, "target: NUL", line(&format!("POST {PATH}\0 HTTP/1.1")));
    add(EndIt, "target: bare CR", line(&format!("POST {PATH}\rX HTTP/1.1")));
    add(EndIt, "target: 40 KiB", line(&format!("POST {PATH}?{} HTTP/1.1", "q".repeat(40 << 10))));
    let encoded = format!("POST {PATH}%0d%0aX:%20y HTTP/1.1");
    add(Refuse, "target: line ends in percent encoding", line(&encoded));
    add(Refuse, "target: NUL in percent encoding", line(&format!("POST {PATH}%00 HTTP/1.1")));
    add(Refuse, "method: lower case", line(&format!("post {PATH} HTTP/1.1")));
    add(EndIt, "method: letters of another script", line(&format!("P\u{41e}ST {PATH} HTTP/1.1")));
    add(EndIt, "method: a colon within", line(&format!("PO:ST {PATH} HTTP/1.1")));
    add(EndIt, "method: none", line(&format!(" {PATH} HTTP/1.1")));
    add(Refuse, "method: GET with a body", line(&format!("GET {PATH} HTTP/1.1")));
    add(EndIt, "line: tabs between", line(&format!("POST\t{PATH}\tHTTP/1.1")));
    add(EndIt, "line: two spaces between", line(&format!("POST  {PATH} HTTP/1.1")));
    add(EndIt, "line: HTTP/0.9", format!("GET {PATH}\r\n").into_bytes());
    add(EndIt, "line: HTTP/2.0", line(&format!("POST {PATH} HTTP/2.0")));
    add(EndIt, "line: HTTP/1.2", line(&format!("POST {PATH} HTTP/1.2")));
    add(EndIt, "line: http/1.1", line(&format!("POST {PATH} http/1.1")));
    add(EndIt, "line: no HTTP at all", b"hello there, this is not HTTP at all\r\n\r\n".to_vec());
    add(EndIt, "line: begins of a TLS handshake", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n".to_vec());
    add(Serve, "line: empty lines before", [b"\r\n\r\n".as_slice(), &line(&format!("POST {PATH} HTTP/1.1"))].concat());
    add(Serve, "HTTP/1.0, kept alive", {
        let fields = format!("Host: edge\r\nConnection: keep-alive\r\nContent-Length: {n}\r\n");
        raw(&format!("POST {PATH} HTTP/1.0"), &fields, FIRST)
    });
    add(NoBody, "HTTP/1.0 with a body and no length", raw(&format!("POST {PATH} HTTP/1.0"), "Host: edge\r\n", FIRST));
    add(NoBody, "HTTP/1.1 with a body and no length", post("", FIRST));
    for (name, elsewhere) in [
        ("field: Connection names Host", EndIt),
        ("field: Upgrade: websocket", NoBody),
        ("target: line ends in percent encoding", Pass),
        ("target: NUL in percent encoding", Pass),
        ("method: lower case", Serve),
        ("method: GET with a body", Pass),
    ] {
        let case = cases.iter_mut().find(|case| case.name == name);
        case.unwrap_or_else(|| panic!("no case {name}")).elsewhere = elsewhere;
    }
    cases
}
