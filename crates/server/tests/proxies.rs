//! Servers behind reverse proxies: forwarding headers, the PROXY protocol, limits by the client's own
//! address.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_server::{Bind, Config, Event, Listen, Server, TrustedProxies};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use support::*;

fn trusted(list: &[&str]) -> TrustedProxies {
    let mut trusted = TrustedProxies::default();
    list.iter().for_each(|text| assert!(trusted.add(text)));
    trusted
}

fn behind(list: &[&str], config: Config) -> (Server, SocketAddr) {
    start(Config { trusted_proxies: trusted(list), ..config })
}

fn proxied(list: &[&str], config: Config) -> (Server, SocketAddr) {
    let listen = Listen { proxy_protocol: true, ..Bind::Tcp(([127, 0, 0, 1], 0).into()).into() };
    let config = Config { trusted_proxies: trusted(list), ..config };
    let server = Server::start(config, vec![listen]).unwrap();
    let address = server.addresses()[0].trim_start_matches("ws://").parse().unwrap();
    (server, address)
}

/// Sends `start` and a handshake with `headers`; returns the head of the response.
fn shake(address: SocketAddr, start: &[u8], headers: &str) -> (TcpStream, String) {
    let mut stream = connect(address);
    stream.write_all(&[start, upgrade_head(address, "/", headers).as_bytes()].concat()).unwrap();
    let head = read_head(&mut stream);
    (stream, head)
}

/// Returns the address and scheme that the server reports for a handshake.
fn origin(server: &Server, address: SocketAddr, start: &[u8], headers: &str) -> (String, bool) {
    let (stream, head) = shake(address, start, headers);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let origin = loop {
        if let Event::Open { conn, request, .. } = next(server) {
            assert_eq!(conn.remote_ip(), request.remote().map(|a| a.ip()));
            break (request.remote().unwrap().ip().to_string(), request.is_secure());
        }
    };
    drop(stream);
    origin
}

#[test]
fn headers_of_a_trusted_proxy_count_and_others_do_not() {
    let headers = "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Forwarded-Proto: https\r\n";
    let (server, address) = behind(&["127.0.0.0/8"], Config::default());
    assert_eq!(origin(&server, address, b"", headers), ("192.0.2.7".to_owned(), true));
    assert_eq!(origin(&server, address, b"", ""), ("127.0.0.1".to_owned(), false));
    for list in [&[][..], &["10.0.0.0/8"]] {
        let (server, address) = behind(list, Config::default());
        assert_eq!(origin(&server, address, b"", headers), ("127.0.0.1".to_owned(), false));
    }
}

#[test]
fn the_limit_per_address_applies_to_clients_not_to_the_proxy() {
    let (server, address) = behind(&["127.0.0.1"], Config { max_connections_per_ip: 1, ..Config::default() });
    let from = |ip: &str| shake(address, b"", &format!("X-Forwarded-For: {ip}\r\n"));
    let (_one, head) = from("192.0.2.1");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (_two, head) = from("192.0.2.2");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // A forged address left of the client's own has no effect.
    let (_, head) = from("9.9.9.9, 192.0.2.1");
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    assert_eq!(server.stats().refused_per_ip, 1);
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x09\x0a\x00\x00\x01\x1f\x90\x00\x50";

#[test]
fn a_proxy_header_determines_the_client() {
    let (server, address) = proxied(&[], Config::default());
    let v1 = b"PROXY TCP4 192.0.2.8 10.0.0.1 5000 80\r\n";
    assert_eq!(origin(&server, address, v1, ""), ("192.0.2.8".to_owned(), false));
    assert_eq!(origin(&server, address, V2, ""), ("192.0.2.9".to_owned(), false));
    assert_eq!(origin(&server, address, b"PROXY UNKNOWN\r\n", ""), ("127.0.0.1".to_owned(), false));
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    assert_eq!(origin(&server, address, local, ""), ("127.0.0.1".to_owned(), false));
    // The request after the header counts as the client's, which is not a trusted proxy.
    let headers = "X-Forwarded-For: 6.6.6.6\r\n";
    assert_eq!(origin(&server, address, V2, headers), ("192.0.2.9".to_owned(), false));
}

#[test]
fn a_proxy_header_may_arrive_in_small_pieces() {
    let (server, address) = proxied(&["127.0.0.1"], Config::default());
    for header in [V2, b"PROXY TCP4 192.0.2.9 10.0.0.1 5000 80\r\n"] {
        let mut stream = connect(address);
        stream.set_nodelay(true).unwrap();
        for byte in header {
            stream.write_all(&[*byte]).unwrap();
        }
        stream.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
        loop {
            if let Event::Open { request, .. } = next(&server) {
                assert_eq!(request.remote().unwrap().ip().to_string(), "192.0.2.9");
                break;
            }
        }
    }
}

#[test]
fn a_malformed_or_missing_proxy_header_ends_the_connection() {
    let (server, address) = proxied(&[], Config::default());
    let plain = upgrade_head(address, "/", "");
    let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 300]].concat();
    let mut count = 0;
    for bad in [
        plain.as_bytes(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        b"PROXY TCP9 1.2.3.4 5.6.7.8 1 2\r\n",
        &endless,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x51\x11\x00\x0c",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        let mut stream = connect(address);
        stream.write_all(bad).unwrap();
        let mut rest = Vec::new();
        // A reset counts as an end, too.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
        count += 1;
        let deadline = Instant::now() + PATIENCE;
        while server.stats().proxy_errors < count {
            assert!(Instant::now() < deadline, "{bad:?}");
        }
    }
    assert_eq!(server.stats().opened, 0);
}

#[test]
fn an_incomplete_proxy_header_is_cut_off() {
    let config = Config { handshake_timeout: Duration::from_millis(200), ..Config::default() };
    let (server, address) = proxied(&[], config);
    let mut stream = connect(address);
    stream.write_all(b"PROXY TCP4 192.0").unwrap();
    assert!(at_end(&mut stream));
    let deadline = Instant::now() + PATIENCE;
    while server.stats().handshake_timeouts == 0 {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn a_proxy_header_counts_only_from_trusted_peers_if_any_are_configured() {
    let (server, address) = proxied(&["10.0.0.0/8"], Config::default());
    let mut stream = connect(address);
    stream.write_all(V2).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    let deadline = Instant::now() + PATIENCE;
    while server.stats().proxy_errors == 0 {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn a_plain_listener_accepts_no_proxy_header() {
    let (_server, address) = behind(&["127.0.0.1"], Config::default());
    let answer = exchange(address, &[V2, upgrade_head(address, "/", "").as_bytes()].concat());
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
