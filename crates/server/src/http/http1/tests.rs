//! Compares the parser of the fast path with hyper: for every input, it must find the same request or
//! leave the input to hyper.

use super::*;
use crate::http::fast_handshake::parse;
use http::request::Parts;
use std::task::{Context, Waker};

const MAX: usize = 16 << 10;

/// Heads as browsers and proxies send them.
const HEADS: [&str; 4] = [
    // Chromium
    "GET /chat?room=1 HTTP/1.1\r\nHost: example.com:8080\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
     Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, \
     like Gecko) Chrome/131.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: http://example.com:8080\r\n\
     Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
     Accept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef; theme=dark\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
    // Firefox
    "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 \
     Firefox/133.0\r\nAccept: */*\r\nAccept-Language: en-US,en;q=0.5\r\n\
     Accept-Encoding: gzip, deflate, br, zstd\r\nSec-WebSocket-Version: 13\r\nOrigin: null\r\n\
     Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
     Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nDNT: 1\r\nSec-GPC: 1\r\n\
     Connection: keep-alive, Upgrade\r\nCookie: a=b\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Mode: websocket\r\n\
     Sec-Fetch-Site: same-origin\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nUpgrade: websocket\r\n\r\n",
    // nginx, in front of a client that repeats a header
    "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\nHost: a\r\nX-Real-IP: 10.0.0.1\r\n\
     X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nX-Forwarded-Proto: https\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    // the least that RFC 6455 requires
    "GET / HTTP/1.1\r\nhost:a\r\nupgrade:websocket\r\nconnection:upgrade\r\nsec-websocket-version:13\r\n\
     sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
];

/// Has hyper read `input`. Returns the request that it passes to its service, if any, and the bytes
/// behind the head.
fn by_hyper(input: &[u8]) -> Option<(Parts, usize)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let limit = std::time::Duration::from_secs(60);
    let clock = Arc::new(RequestClock::new(limit, Instant::now() + limit));
    let stream = PlainSocket::adopt(ours.into(), true).unwrap().into();
    let io = HttpIo::new(stream, input.to_vec(), Arc::default(), clock, Stall::new(limit, None));
    let found = Arc::new(Mutex::new(None));
    let service = {
        let found = found.clone();
        hyper::service::service_fn(move |request: http::Request<Incoming>| {
            *found.lock().unwrap() = Some(request.into_parts().0);
            std::future::pending::<Result<HttpResponse, std::convert::Infallible>>()
        })
    };
    let mut connection = builder(MAX, false).serve_connection(io, service);
    let _ = connection.poll_without_shutdown(&mut Context::from_waker(Waker::noop()));
    let parts = connection.into_parts();
    let rest = parts.read_buf.len() + parts.io.into_parts().1.len();
    drop(theirs);
    let found = found.lock().unwrap().take();
    found.map(|parts| (parts, rest))
}

/// Checks one input. Returns whether the fast path takes it.
fn check(input: &[u8]) -> bool {
    let shown = || String::from_utf8_lossy(input).into_owned();
    let Some(fast) = parse(input, MAX) else { return false };
    let Some((slow, rest)) = by_hyper(input) else { panic!("hyper refuses it: {}", shown()) };
    assert_eq!(rest, 0, "{}", shown());
    assert_eq!(
        (&fast.method, &fast.uri, fast.version),
        (&slow.method, &slow.uri, slow.version),
        "{}",
        shown()
    );
    assert!(fast.headers.iter().eq(slow.headers.iter()), "{}", shown());
    true
}

fn in_runtime(test: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { test() });
}

#[test]
fn the_fast_path_takes_the_heads_of_browsers() {
    in_runtime(|| HEADS.iter().for_each(|head| assert!(check(head.as_bytes()), "{head}")));
}

#[test]
fn the_fast_path_finds_the_same_request_as_hyper_or_none() {
    /// Bytes that have a meaning in a head, and some that must not occur.
    const BYTES: &[u8] = b"\r\n\t\0 :/?#,;=\x7f\x80\xff0A";
    in_runtime(|| {
        for head in HEADS.map(str::as_bytes) {
            for at in 0..head.len() {
                check(&head[..at]);
                check(&[&head[..at], &head[at + 1..]].concat());
                for byte in BYTES {
                    check(&[&head[..at], &[*byte], &head[at..]].concat());
                    check(&[&head[..at], &[*byte], &head[at + 1..]].concat());
                }
            }
        }
    });
}

#[test]
fn the_fast_path_leaves_unusual_requests_to_hyper() {
    let line = "GET / HTTP/1.1\r\n";
    let rest = HEADS[3].strip_prefix(line).unwrap();
    let with = |more: &str| format!("{line}{more}{rest}");
    let many: String = (0..60).map(|i| format!("x-{i}: 1\r\n")).collect();
    for head in [
        HEADS[3].replacen("GET", "POST", 1),
        HEADS[3].replacen("/1.1", "/1.0", 1),
        HEADS[3].replacen("/ ", "/a#b ", 1),
        with("Content-Length: 0\r\n"),
        with("Content-Length: 5\r\n"),
        with("Transfer-Encoding: chunked\r\n"),
        with("Expect: 100-continue\r\n"),
        with("X-Folded: a\r\n b\r\n"),
        with("X-Space : a\r\n"),
        with(&many),
        with(&format!("X-Long: {}\r\n", "a".repeat(MAX))),
        format!("{}\x01\x02", HEADS[3]),
        format!("{}{}", HEADS[3], HEADS[3]),
        format!("\r\n{}", HEADS[3]),
        HEADS[3][..HEADS[3].len() - 1].to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        String::new(),
    ] {
        in_runtime(|| assert!(!check(head.as_bytes()), "{head}"));
    }
}
