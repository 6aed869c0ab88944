//! TLS listeners: versions, certificates by host name, client certificates, reload, hostile peers.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

#[path = "support/secure.rs"]
mod secure;
mod support;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secure::*;
use sprocket_server::{
    Bind, Config, Event, Identity, Interest, Listen, Passphrase, Server, StartError, Tls, TlsError,
};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::*;

fn opened(server: &Server) -> sprocket_server::Connection {
    loop {
        if let Event::Open { conn, request, .. } = next(server) {
            assert!(request.is_secure());
            return conn;
        }
    }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn messages_of_any_size_pass_both_ways_in_both_versions() {
    let (folder, ca) = (Folder::new("echo"), Authority::new());
    let (server, address) = serve(
        Tls::new(ca.identity(&folder, "localhost")),
        Config { send_buffer_limit: 64 << 20, max_message_size: 16 << 20, ..Config::default() },
    );
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(ca.roots())
            .with_no_client_auth();
        let mut stream = upgraded(address, client, "localhost");
        let conn = opened(&server);
        for size in [0, 1, 125, 16_383, 16_384, 16_385, 70_000, 5 << 20] {
            let message: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
            stream.write_all(&frame(0x82, &message)).unwrap();
            stream.flush().unwrap();
            let Event::Message { payload: got, .. } = next(&server) else { panic!("no message") };
            assert!(got == message, "received {size}");
            // The client reads only after the server has more to send than the kernel's buffers hold.
            for _ in 0..3 {
                server.send(&conn, &got, true);
            }
            server.flush();
            for _ in 0..3 {
                assert!(payload(&mut stream) == message, "sent {size}");
            }
        }
        // Messages count as buffered until the kernel has accepted their ciphertext.
        wait_for("all is written", || conn.buffered_amount() == 0);
        server.close(&conn, 1000, "bye");
        server.flush();
        let close = payload(&mut stream);
        assert_eq!(&close[2..], b"bye");
        stream.write_all(&close_frame(1000, "")).unwrap();
        let mut rest = Vec::new();
        // close_notify comes before FIN: the client sees a clean end.
        stream.read_to_end(&mut rest).unwrap();
        let Event::Close { code, .. } = next(&server) else { panic!() };
        assert_eq!(code, 1000);
    }
}

#[test]
fn many_small_messages_stay_in_order() {
    let (folder, ca) = (Folder::new("many"), Authority::new());
    let (server, address) = serve(
        Tls::new(ca.identity(&folder, "localhost")),
        Config { send_buffer_limit: 64 << 20, ..Config::default() },
    );
    let mut stream = upgraded(address, ca.client(), "localhost");
    let conn = opened(&server);
    for i in 0..30_000u32 {
        server.send(&conn, format!("{i:0width$}", width = 5 + (i % 700) as usize).as_bytes(), false);
    }
    server.flush();
    for i in 0..30_000u32 {
        let text = String::from_utf8(payload(&mut stream)).unwrap();
        assert_eq!(text.parse::<u32>().unwrap(), i);
    }
}

#[test]
fn a_slow_reader_is_closed_with_1013_over_tls() {
    let (folder, ca) = (Folder::new("slow"), Authority::new());
    let config = Config { send_buffer_limit: 256 << 10, ..Config::default() };
    let (server, address) = serve(Tls::new(ca.identity(&folder, "localhost")), config);
    let mut stream = upgraded(address, ca.client(), "localhost");
    let conn = opened(&server);
    let message = vec![b'x'; 20_000];
    let mut sent = 0;
    wait_for("the limit acts", || {
        if server.send(&conn, &message, true) == sprocket_server::SendOutcome::Sent {
            sent += 1;
        }
        server.flush();
        !conn.is_open()
    });
    // All messages before the close frame are complete and intact.
    let mut got = 0;
    loop {
        let payload = payload(&mut stream);
        if payload.len() == 20_000 {
            assert!(payload == message);
            got += 1;
        } else {
            assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), 1013);
            break;
        }
    }
    assert!(got < sent, "{got} of {sent}");
}

/// A newer pong replaces a pending one, unless that is already encrypted.
#[test]
fn pongs_for_a_peer_that_does_not_read_stay_well_formed() {
    let (folder, ca) = (Folder::new("pongs"), Authority::new());
    let config = Config { send_buffer_limit: 64 << 20, ..Config::default() };
    let (server, address) = serve(Tls::new(ca.identity(&folder, "localhost")), config);
    let mut stream = upgraded(address, ca.client(), "localhost");
    let conn = opened(&server);
    let big = vec![b'x'; 30_000];
    let ping = |i: u32| frame(0x89, format!("{i:0width$}", width = 5 + (i % 100) as usize).as_bytes());
    let (mut numbers, mut messages) = (Vec::new(), 0);
    let mut take = |stream: &mut Secure| {
        let payload = payload(stream);
        if payload.starts_with(b"x") {
            assert!(payload == big);
            messages += 1;
        } else {
            numbers.push(String::from_utf8(payload).unwrap().parse::<u32>().unwrap());
        }
        (messages, numbers.last() == Some(&2999))
    };
    // Messages and pongs alternate until the socket is full; then it empties slowly.
    for i in 0..3000 {
        if i < 400 {
            server.send(&conn, &big, true);
            server.flush();
        }
        stream.write_all(&ping(i)).unwrap();
        if i > 1000 && i % 5 == 0 {
            take(&mut stream);
        }
    }
    while take(&mut stream) != (400, true) {}
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert!(conn.is_open() && numbers.len() < 3000, "{}", numbers.len());
}

#[test]
fn early_data_is_not_accepted() {
    let (folder, ca) = (Folder::new("early"), Authority::new());
    let (_server, address) = serve(Tls::new(ca.identity(&folder, "localhost")), Config::default());
    let mut client = ca.client();
    client.enable_early_data = true;
    drop(upgraded(address, client.clone(), "localhost"));
    let mut stream = secure(address, client, "localhost");
    // The server permits early data in its session tickets, or not (RFC 8446 section 4.6.1).
    assert!(stream.conn.early_data().is_none());
    stream.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    assert!(head_of(&mut stream).starts_with("HTTP/1.1 101 "));
    assert_eq!(stream.conn.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

/// RFC 8446 section 6.1.
#[test]
fn input_after_close_notify_is_ignored() {
    let (folder, ca) = (Folder::new("after"), Authority::new());
    let (server, address) = serve(Tls::new(ca.identity(&folder, "localhost")), Config::default());
    let mut stream = upgraded(address, ca.client(), "localhost");
    let conn = opened(&server);
    stream.write_all(&frame(0x81, b"last")).unwrap();
    stream.conn.send_close_notify();
    let mut rest = Vec::new();
    stream.conn.write_tls(&mut rest).unwrap();
    rest.resize(60_000, 0x17);
    stream.sock.write_all(&rest).unwrap();
    let Event::Message { .. } = next(&server) else { panic!("no message") };
    server.send(&conn, b"answer", false);
    server.flush();
    assert_eq!(payload(&mut stream), b"answer");
    let Event::Close { code, .. } = next(&server) else { panic!() };
    assert_eq!(code, 1006);
    assert_eq!(stream.read_to_end(&mut rest).unwrap(), 0, "close_notify and FIN");
}

/// A client that announces a long handshake message holds no more memory than `SECURITY.md` says.
#[test]
fn incomplete_handshake_messages_are_bounded() {
    let (folder, ca) = (Folder::new("incomplete"), Authority::new());
    let config = Config { handshake_timeout: Duration::from_secs(60), ..Config::default() };
    let (server, address) = serve(Tls::new(ca.identity(&folder, "localhost")), config);

    let mut hello = connect(address);
    let announced = [b"\x16\x03\x01\x40\x00\x01\x00\xf0\x00".as_slice(), &[0xaa; 0x3ffc]].concat();
    let more = [b"\x16\x03\x01\x40\x00".as_slice(), &[0xaa; 0x4000]].concat();
    // The server may reset the connection before all is sent.
    let _ = hello.write_all(&[announced, more.clone(), more].concat());
    wait_for("the handshake fails", || server.stats().tls_errors == 1);

    // The same with a key update (type 24) after the handshake.
    let mut client = ca.client();
    client.enable_secret_extraction = true;
    let stream = upgraded(address, client, "localhost");
    opened(&server);
    let (connection, mut socket) = (stream.conn, stream.sock);
    let suite = connection.negotiated_cipher_suite().unwrap().tls13().unwrap();
    let (first, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
    let rustls::ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another suite") };
    let mut encrypter = suite.aead_alg.encrypter(key, iv);
    for (i, start) in [b"\x18\x00\xf0\x00", b"...."].into_iter().enumerate() {
        let mut fragment = vec![0xaa; 0x3000];
        fragment[..4].copy_from_slice(start);
        let record = rustls::crypto::cipher::OutboundPlainMessage {
            typ: rustls::ContentType::Handshake,
            version: rustls::ProtocolVersion::TLSv1_2,
            payload: fragment.as_slice().into(),
        };
        let _ = socket.write_all(&encrypter.encrypt(record, first + i as u64).unwrap().encode());
    }
    let Event::Close { code, .. } = next(&server) else { panic!("no end") };
    assert_eq!(code, 1006);
}

#[test]
fn the_certificate_follows_the_host_name() {
    let (folder, ca) = (Folder::new("sni"), Authority::new());
    let mut tls = Tls::new(ca.identity(&folder, "default.example"));
    for host in ["chat.example", "*.wild.example"] {
        tls.hosts.push((host.to_owned(), ca.identity(&folder, host)));
    }
    let (_server, address) = serve(tls, Config::default());
    for host in ["default.example", "chat.example", "CHAT.example", "a.wild.example"] {
        drop(upgraded(address, ca.client(), host));
    }
    for wrong in ["other.example", "a.b.wild.example", "wild.example"] {
        let error = secure(address, ca.client(), wrong).write_all(b"x").unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{wrong}: {error}");
    }
    let error = secure(address, Authority::new().client(), "chat.example").write_all(b"x").unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[test]
fn a_reload_changes_new_connections_and_keeps_open_ones() {
    let (folder, ca) = (Folder::new("reload"), Authority::new());
    let identity = ca.identity(&folder, "localhost");
    let (server, address) = serve(Tls::new(identity.clone()), Config::default());
    let mut old = upgraded(address, ca.client(), "localhost");
    let conn = opened(&server);

    let (certificate, key) = ca.issue("renewed.example");
    std::fs::write(&identity.certificate, &certificate).unwrap();
    assert!(
        matches!(server.reload_tls(), Some(Err(TlsError::Mismatch { .. }))),
        "certificate without its key"
    );
    drop(upgraded(address, ca.client(), "localhost"));

    std::fs::write(&identity.key, &key).unwrap();
    server.reload_tls().unwrap().unwrap();
    drop(upgraded(address, ca.client(), "renewed.example"));
    assert!(secure(address, ca.client(), "localhost").write_all(b"x").is_err());
    server.send(&conn, b"still here", false);
    server.flush();
    assert_eq!(payload(&mut old), b"still here");
}

#[test]
fn changed_files_are_reloaded_if_configured() {
    let (folder, ca) = (Folder::new("watch"), Authority::new());
    let identity = ca.identity(&folder, "localhost");
    let tls = Tls { watch: Some(Duration::from_millis(20)), ..Tls::new(identity.clone()) };
    let (server, address) = serve(tls, Config::default());
    drop(upgraded(address, ca.client(), "localhost"));
    let (certificate, key) = ca.issue("renewed.example");
    std::fs::write(&identity.certificate, certificate + "\n").unwrap();
    wait_for("the half of a change is counted", || server.stats().tls_reload_errors > 0);
    std::fs::write(&identity.key, key + "\n").unwrap();
    wait_for("the new certificate is served", || {
        secure(address, ca.client(), "renewed.example").write_all(b"x").is_ok()
    });
}

#[test]
fn client_certificates_are_verified_and_reported() {
    let (folder, ca) = (Folder::new("mutual"), Authority::new());
    let identity = ca.identity(&folder, "localhost");
    let clients = Authority::new();
    let client_ca = Some(folder.write("clients.pem", &clients.0.pem()));
    let with = |issuer: &Authority| {
        let (certificate, key) = issuer.issue("alice");
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = builder()
            .with_root_certificates(ca.roots())
            .with_client_auth_cert(vec![der.clone()], key)
            .unwrap();
        (config, der)
    };
    for required in [true, false] {
        let tls =
            Tls { client_ca: client_ca.clone(), client_required: required, ..Tls::new(identity.clone()) };
        let (server, address) = serve(tls, Config::default());
        let (alice, der) = with(&clients);
        drop(upgraded(address, alice, "localhost"));
        let Event::Open { request, .. } = next(&server) else { panic!() };
        assert_eq!(request.client_certificate(), Some(&der[..]));
        let Event::Close { .. } = next(&server) else { panic!() };

        let stranger = with(&Authority::new()).0;
        let mut stream = secure(address, stranger, "localhost");
        let _ = stream.write_all(upgrade_head(address, "/", "").as_bytes());
        assert!(stream.read(&mut [0; 1]).is_err(), "a certificate of somebody else");
        wait_for("the failure is counted", || server.stats().tls_errors == 1);

        let mut stream = secure(address, ca.client(), "localhost");
        let _ = stream.write_all(upgrade_head(address, "/", "").as_bytes());
        assert_eq!(stream.read(&mut [0; 1]).is_err(), required, "no certificate");
        if !required {
            let Event::Open { request, .. } = next(&server) else { panic!() };
            assert_eq!(request.client_certificate(), None);
        }
    }
}

fn error_of(identity: Identity) -> String {
    let listen = Listen { tls: true, ..Bind::Tcp(([127, 0, 0, 1], 0).into()).into() };
    let config = Config { tls: Some(Tls::new(identity)), ..Config::default() };
    match Server::start(config, vec![listen]) {
        Err(StartError::Tls(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_error_names_the_file_and_the_fault() {
    let (folder, ca) = (Folder::new("errors"), Authority::new());
    let good = ca.identity(&folder, "localhost");
    let with_key = |key: PathBuf| Identity { key, ..good.clone() };
    let missing = folder.0.join("missing.pem");
    let empty = folder.write("empty.pem", "nothing here\n");
    let legacy = folder.write(
        "legacy.key",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    );
    let other = ca.identity(&folder, "other.example").key;
    let check = |identity: Identity, path: &Path, words: &str| {
        let error = error_of(identity);
        assert!(error.contains(&path.display().to_string()) && error.contains(words), "{error}");
    };
    check(Identity { certificate: missing.clone(), ..good.clone() }, &missing, "No such file");
    check(with_key(missing.clone()), &missing, "No such file");
    check(Identity { certificate: empty.clone(), ..good.clone() }, &empty, "no PEM certificate");
    check(with_key(empty.clone()), &empty, "no PEM private key");
    check(with_key(good.certificate.clone()), &good.certificate, "no PEM private key");
    check(with_key(legacy.clone()), &legacy, "openssl pkcs8 -topk8");
    check(with_key(other.clone()), &other, "does not match");

    let listen = Listen { tls: true, ..Bind::Tcp(([127, 0, 0, 1], 0).into()).into() };
    let error = Server::start(Config::default(), vec![listen]).unwrap_err();
    assert!(error.to_string().contains("needs a certificate"), "{error}");

    let hosts = vec![("wrong.example".to_owned(), good.clone())];
    let config = Config { tls: Some(Tls { hosts, ..Tls::new(good) }), ..Config::default() };
    let error = Server::start(config, Vec::<Bind>::new()).unwrap_err();
    assert!(error.to_string().contains("not valid for the host wrong.example"), "{error}");
}

#[test]
fn an_encrypted_key_requires_its_passphrase() {
    let (folder, ca) = (Folder::new("passphrase"), Authority::new());
    let mut identity = ca.identity(&folder, "localhost");
    let encrypted = folder.0.join("encrypted.key");
    let openssl = std::process::Command::new("openssl")
        .args(["pkcs8", "-topk8", "-passout", "pass:secret words", "-in"])
        .args([&identity.key, Path::new("-out"), &encrypted])
        .status();
    assert!(openssl.expect("openssl makes the encrypted key").success());
    identity.key = encrypted;
    assert!(error_of(identity.clone()).contains("needs a passphrase"));
    identity.passphrase = Some(Passphrase(b"wrong".to_vec()));
    let error = error_of(identity.clone());
    assert!(error.contains("passphrase does not decrypt") && !error.contains("wrong"), "{error}");
    identity.passphrase = Some(Passphrase(b"secret words".to_vec()));
    assert!(!format!("{identity:?}").contains("secret"));
    let (_server, address) = serve(Tls::new(identity), Config::default());
    drop(upgraded(address, ca.client(), "localhost"));
}

#[test]
fn hostile_peers_are_disconnected_and_delay_no_other() {
    let (folder, ca) = (Folder::new("hostile"), Authority::new());
    let config = Config { handshake_timeout: Duration::from_millis(300), ..Config::default() };
    let (server, address) = serve(Tls::new(ca.identity(&folder, "localhost")), config);

    // Invalid input: random bytes, a record of unknown type, one that is too long, and a malformed
    // ClientHello.
    for (count, garbage) in [
        vec![0xff; 2000],
        b"\x18\x03\x03\x00\x03abc".to_vec(),
        b"\x16\x03\x01\xff\xff".to_vec(),
        [b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c".as_slice(), &[0xaa; 60]].concat(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = connect(address);
        stream.write_all(&garbage).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.first().is_none_or(|b| *b == 0x15), "an alert or nothing: {answer:?}");
        wait_for("it is counted", || server.stats().tls_errors == count as u64 + 1);
    }

    // The response to HTTP without TLS names the right scheme.
    let answer = exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("wss://"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");

    // An incomplete ClientHello is cut off after the handshake timeout.
    let mut half = connect(address);
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
    let mut silent = connect(address);
    let begun = Instant::now();
    drop(upgraded(address, ca.client(), "localhost"));
    assert!(at_end(&mut half) && at_end(&mut silent));
    assert!(begun.elapsed() < Duration::from_secs(5));
    wait_for("both are counted", || server.stats().handshake_timeouts == 2);

    // Invalid records after a complete handshake.
    let mut stream = upgraded(address, ca.client(), "localhost");
    stream.sock.write_all(b"\x17\x03\x03\x00\x20garbagegarbagegarbagegarbagegarb").unwrap();
    let mut rest = Vec::new();
    let _ = stream.sock.read_to_end(&mut rest);
    wait_for("the connection ends", || server.stats().connections == 0);
    drop(upgraded(address, ca.client(), "localhost"));
}

#[test]
fn plain_and_tls_listeners_and_a_unix_socket_serve_together() {
    let (folder, ca) = (Folder::new("kinds"), Authority::new());
    let any = || Bind::Tcp(([127, 0, 0, 1], 0).into());
    let listen = vec![
        any().into(),
        Listen { tls: true, ..any().into() },
        Listen { mode: Some(0o600), ..Bind::Unix(folder.0.join("s.sock")).into() },
    ];
    let config = Config { tls: Some(Tls::new(ca.identity(&folder, "localhost"))), ..Config::default() };
    let server = Server::start(config, listen).unwrap();
    server.set_interest(Interest::REQUEST, true);
    let addresses = server.addresses();
    let tcp = |at: usize, scheme: &str| addresses[at].strip_prefix(scheme).unwrap().parse().unwrap();
    drop(open(tcp(0, "ws://")));
    drop(upgraded(tcp(1, "wss://"), ca.client(), "localhost"));
    let path = addresses[2].strip_prefix("unix://").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut unix = std::os::unix::net::UnixStream::connect(path).unwrap();
    unix.write_all(upgrade_head(tcp(0, "ws://"), "/", "").as_bytes()).unwrap();
    assert!(head_of(&mut unix).starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_stop_does_not_wait_for_handshakes() {
    let (folder, ca) = (Folder::new("stop"), Authority::new());
    let (server, address) = serve(Tls::new(ca.identity(&folder, "localhost")), Config::default());
    let mut half = connect(address);
    half.write_all(b"\x16\x03\x01").unwrap();
    wait_for("it is accepted", || server.stats().accepted == 1);
    let begun = Instant::now();
    server.stop(Duration::from_secs(8));
    let Event::Stopped = next(&server) else { panic!() };
    assert!(begun.elapsed() < Duration::from_secs(4));
}
