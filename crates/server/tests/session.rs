//! The life of a connection, as seen by a raw client and by the host.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]
mod support;

use sprocket_server::{Config, ConnId, Event, Interest, SendOutcome, Server, SlowConsumer};
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use support::*;

fn closed(server: &Server) -> (ConnId, u16, String) {
    match next(server) {
        Event::Close { id, code, reason } => (id, code, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_arrive_complete_and_answers_leave_in_order() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    let big = vec![b'x'; 200_000];
    let mut bytes = frame(0x81, "é".as_bytes());
    bytes.extend(frame(0x02, b"ab"));
    bytes.extend(frame(0x89, b"between"));
    bytes.extend(frame(0x80, b"c"));
    bytes.extend(frame(0x82, &big));
    bytes.extend(frame(0x81, b""));
    let writer = {
        let mut client = client.try_clone().unwrap();
        std::thread::spawn(move || client.write_all(&bytes).unwrap())
    };
    for (expected, expected_binary) in
        [("é".as_bytes(), false), (b"abc", true), (&big[..], true), (b"", false)]
    {
        let Event::Message { id, payload, binary } = next(&server) else { panic!() };
        assert_eq!((id, &payload[..], binary), (conn.id(), expected, expected_binary));
        assert_eq!(server.send(&conn, &payload, binary), SendOutcome::Sent);
    }
    server.flush();
    writer.join().unwrap();
    assert_eq!(read_frame(&mut client), (0x8a, b"between".to_vec()));
    assert_eq!(read_frame(&mut client), (0x81, "é".as_bytes().to_vec()));
    assert_eq!(read_frame(&mut client), (0x82, b"abc".to_vec()));
    assert_eq!(read_frame(&mut client), (0x82, big));
    assert_eq!(read_frame(&mut client), (0x81, vec![]));
    let buffered = Instant::now();
    while conn.buffered_amount() > 0 {
        assert!(buffered.elapsed() < PATIENCE, "{} bytes stay buffered", conn.buffered_amount());
        std::thread::yield_now();
    }
}

#[test]
fn messages_arrive_complete_for_any_split_of_the_stream() {
    let (server, address) = start(Config { max_message_size: 4 << 20, ..Config::default() });
    let mut client = open(address);
    let conn = opened(&server);
    let sizes = [16_384, 16_384, 5, 4_095, 4_096, 40_000, 0, 200_000, 16_384, 1, 3_000_000, 16_384, 16_384];
    let payload = |i: usize| "é€x".bytes().cycle().skip(6 * i).take(sizes[i] / 6 * 6).collect::<Vec<_>>();
    let mut bytes = Vec::new();
    for i in 0..sizes.len() {
        bytes.extend(frame(0x81 + (i & 1) as u8, &payload(i)));
        if i % 3 == 0 {
            bytes.extend(frame(0x89, b"between"));
            bytes.extend(frame(0x01, &payload(i)));
            bytes.extend(frame(0x80, b"end"));
        }
    }
    for step in [997, 4_099, 16_000, 65_536, 150_001, bytes.len()] {
        let writer = {
            let (mut client, bytes) = (client.try_clone().unwrap(), bytes.clone());
            std::thread::spawn(move || bytes.chunks(step).for_each(|piece| client.write_all(piece).unwrap()))
        };
        // The payloads are kept until all have arrived, which proves that later input does not
        // overwrite them.
        let mut got = Vec::new();
        while got.len() < sizes.len() + sizes.len().div_ceil(3) {
            let Event::Message { id, payload, binary } = next(&server) else { panic!() };
            assert_eq!(id, conn.id());
            got.push((payload, binary));
        }
        writer.join().unwrap();
        let mut got = got.iter();
        for i in 0..sizes.len() {
            let (bytes, binary) = got.next().unwrap();
            assert!(bytes == &payload(i) && *binary == (i & 1 == 1), "message {i} in steps of {step}");
            if i % 3 == 0 {
                let (bytes, binary) = got.next().unwrap();
                assert!(
                    bytes == &[&payload(i)[..], b"end"].concat() && !binary,
                    "after {i}, steps of {step}"
                );
                assert_eq!(read_frame(&mut client), (0x8a, b"between".to_vec()));
            }
        }
    }
}

#[test]
fn the_answer_to_a_close_inside_a_message_is_read_after_the_message() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    let message = frame(0x82, &vec![7; 50_000]);
    // The second message has begun when the first one arrives, and is incomplete.
    client.write_all(&[frame(0x82, b"first"), message[..30_000].to_vec()].concat()).unwrap();
    assert!(matches!(next(&server), Event::Message { .. }));
    assert!(server.close(&conn, 1000, "enough"));
    server.flush();
    assert_eq!(read_close(&mut client), (1000, "enough".to_owned()));
    client.write_all(&message[30_000..]).unwrap();
    client.write_all(&frame(0x89, b"still there?")).unwrap();
    client.write_all(&close_frame(1000, "enough")).unwrap();
    assert_eq!(closed(&server), (conn.id(), 1000, "enough".to_owned()));
    assert!(at_end(&mut client));
    assert_eq!(server.stats().undelivered, 1, "what came too late is counted");
}

#[test]
fn a_large_text_is_refused_at_its_first_invalid_byte() {
    for (size, at) in [(200_000, 150_000), (20_000, 19_999), (16_384, 0)] {
        let (server, address) = start(Config::default());
        let mut client = open(address);
        let conn = opened(&server);
        let mut payload = vec![b'x'; size];
        payload[at] = 0xc3;
        // Large messages before it make the server read it into a shared buffer.
        let good = frame(0x81, &vec![b'y'; 16_384]);
        let bad = frame(0x81, &payload);
        // The last byte is left out unless it is the invalid one.
        let cut = if at + 1 < size { bad.len() - 1 } else { bad.len() };
        for _ in 0..3 {
            client.write_all(&good).unwrap();
            assert!(matches!(next(&server), Event::Message { .. }));
        }
        client.write_all(&bad[..cut]).unwrap();
        assert_eq!(closed(&server), (conn.id(), 1007, "text is not valid UTF-8".to_owned()));
        assert_eq!(read_close(&mut client).0, 1007);
    }
}

#[test]
fn a_frame_that_arrives_with_the_handshake_is_kept() {
    let (server, address) = start(Config::default());
    let mut client = connect(address);
    let mut bytes = upgrade_head(address, "/", "").into_bytes();
    bytes.extend(frame(0x81, b"early"));
    client.write_all(&bytes).unwrap();
    opened(&server);
    let Event::Message { payload, .. } = next(&server) else { panic!() };
    assert_eq!(&payload[..], b"early");
}

#[test]
fn the_peers_close_is_answered_and_reported() {
    for (sent, code, reason) in [
        (close_frame(1000, "bye"), 1000, "bye"),
        (close_frame(4321, ""), 4321, ""),
        (close_frame(1012, "restart"), 1012, "restart"),
        (close_frame(1014, "upstream"), 1014, "upstream"),
        (close_frame(1014, ""), 1014, ""),
        // A close frame between the fragments of a message.
        ([frame(0x01, b"part"), close_frame(1014, "upstream")].concat(), 1014, "upstream"),
        (frame(0x88, b""), 1005, ""),
    ] {
        let (server, address) = start(Config::default());
        let mut client = open(address);
        let conn = opened(&server);
        client.write_all(&sent).unwrap();
        assert_eq!(closed(&server), (conn.id(), code, reason.to_owned()));
        let (first, payload) = read_frame(&mut client);
        assert_eq!(first, 0x88);
        let expected =
            if code == 1005 { Vec::new() } else { [&code.to_be_bytes(), reason.as_bytes()].concat() };
        assert_eq!(payload, expected);
        assert_eq!(server.stats().protocol_errors, 0);
        assert!(at_end(&mut client), "the server closes first");
        assert!(!conn.is_open());
        assert_eq!(server.send(&conn, b"late", false), SendOutcome::Closed);
    }
}

#[test]
fn the_hosts_close_waits_for_the_answer_and_delivers_no_messages() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    assert_eq!(server.send(&conn, b"last", false), SendOutcome::Sent);
    assert!(server.close(&conn, 4000, "enough"));
    assert!(!server.close(&conn, 4001, "again"));
    assert_eq!(server.send(&conn, b"late", false), SendOutcome::Closed);
    server.flush();
    assert_eq!(read_frame(&mut client), (0x81, b"last".to_vec()));
    assert_eq!(read_close(&mut client), (4000, "enough".to_owned()));
    client.write_all(&frame(0x81, b"ignored")).unwrap();
    client.write_all(&close_frame(4000, "ok")).unwrap();
    assert_eq!(closed(&server), (conn.id(), 4000, "ok".to_owned()));
    assert!(at_end(&mut client));
    assert!(quiet(&server, Duration::from_millis(50)));
}

#[test]
fn the_answer_to_a_close_may_have_any_code() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    assert!(server.close(&conn, 4000, "enough"));
    server.flush();
    assert_eq!(read_close(&mut client), (4000, "enough".to_owned()));
    client.write_all(&close_frame(1006, "odd")).unwrap();
    assert_eq!(closed(&server), (conn.id(), 1006, "odd".to_owned()));
    assert!(at_end(&mut client), "nothing is sent behind a close frame");
    assert_eq!(server.stats().protocol_errors, 0);
}

#[test]
fn a_peer_that_does_not_answer_the_close_is_cut() {
    let (server, address) = start(Config { close_timeout: Duration::from_millis(100), ..Config::default() });
    let mut client = open(address);
    let conn = opened(&server);
    server.close(&conn, 1000, "");
    server.flush();
    assert_eq!(closed(&server).1, 1006);
    assert_eq!(server.stats().close_timeouts, 1);
    read_close(&mut client);
    assert!(at_end(&mut client));
}

#[test]
fn protocol_errors_are_closed_with_their_codes() {
    for (bytes, code) in [
        (b"\x81\x05hello".to_vec(), 1002),            // not masked
        (frame(0xc1, b"x"), 1002),                    // RSV1
        (frame(0x83, b"x"), 1002),                    // reserved opcode
        (frame(0x80, b"x"), 1002),                    // continuation of nothing
        (frame(0x09, b"x"), 1002),                    // fragmented ping
        (frame(0x89, &[0; 126]), 1002),               // ping over 125 bytes
        (frame(0x81, b"\xff"), 1007),                 // not UTF-8
        (frame(0x81, b"caf\xc3")[..].to_vec(), 1007), // cut short
        (frame(0x82, &vec![0; (1 << 20) + 1]), 1009), // too big
        (frame(0x88, b"\x03"), 1002),                 // half a close code
        (close_frame(999, ""), 1002),                 // codes that must not be sent
        (close_frame(1006, ""), 1002),
    ] {
        let (server, address) = start(Config::default());
        let mut client = open(address);
        let conn = opened(&server);
        let _ = client.write_all(&bytes);
        let (id, reported, reason) = closed(&server);
        assert_eq!((id, reported), (conn.id(), code), "{reason}");
        assert!(!reason.is_empty());
        assert_eq!(read_close(&mut client).0, code, "{reason}");
    }
}

#[test]
fn messages_before_an_error_are_answered_first() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    let mut bytes = frame(0x81, b"valid");
    bytes.extend(frame(0x83, b"reserved"));
    client.write_all(&bytes).unwrap();
    let Event::Message { payload, .. } = next(&server) else { panic!() };
    assert_eq!(server.send(&conn, &payload, false), SendOutcome::Sent);
    assert_eq!(closed(&server).1, 1002);
    assert_eq!(read_frame(&mut client), (0x81, b"valid".to_vec()));
    assert_eq!(read_close(&mut client).0, 1002);
}

#[test]
fn a_message_in_progress_is_answered_before_the_error() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    client.write_all(&frame(0x81, b"valid")).unwrap();
    assert!(matches!(next(&server), Event::Message { .. }));
    // The host is processing the message while the error arrives.
    client.write_all(&frame(0x83, b"reserved")).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(client.read(&mut [0; 1]).is_err(), "nothing is sent before the host is done");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(server.send(&conn, b"answer", false), SendOutcome::Sent);
    assert_eq!(closed(&server).1, 1002);
    assert_eq!(read_frame(&mut client), (0x81, b"answer".to_vec()));
    assert_eq!(read_close(&mut client).0, 1002);
}

#[test]
fn a_host_that_does_not_answer_cannot_delay_a_failure() {
    let (server, address) = start(Config { close_timeout: Duration::from_millis(100), ..Config::default() });
    let mut client = open(address);
    opened(&server);
    let mut bytes = frame(0x81, b"valid");
    bytes.extend(frame(0x83, b"reserved"));
    client.write_all(&bytes).unwrap();
    assert_eq!(read_close(&mut client).0, 1002);
    assert!(matches!(next(&server), Event::Message { .. }));
    assert_eq!(closed(&server).1, 1002);
}

#[test]
fn a_message_that_grows_too_big_in_fragments_is_refused() {
    let (server, address) = start(Config { max_message_size: 1000, ..Config::default() });
    let mut client = open(address);
    opened(&server);
    client.write_all(&frame(0x02, &[0; 600])).unwrap();
    client.write_all(&frame(0x80, &[0; 600])).unwrap();
    assert_eq!(closed(&server).1, 1009);
    assert_eq!(server.stats().too_big, 1);
}

#[test]
fn invalid_text_is_refused_before_its_frame_is_complete() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    opened(&server);
    let whole = frame(0x81, b"valid until here \xed\xa0\x80 and a rest that never comes");
    client.write_all(&whole[..30]).unwrap();
    assert_eq!(closed(&server).1, 1007);
}

#[test]
fn an_abrupt_end_is_1006() {
    let (server, address) = start(Config::default());
    let client = open(address);
    opened(&server);
    drop(client);
    assert_eq!(closed(&server).1, 1006);
    let client = open(address);
    opened(&server);
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(closed(&server).1, 1006);
    assert_eq!(server.stats().abnormal, 2);
    assert_eq!(server.stats().connections, 0);
}

#[test]
fn a_dead_peer_is_detected_within_interval_and_timeout() {
    let (interval, timeout) = (Duration::from_millis(300), Duration::from_millis(200));
    let config = Config { ping_interval: Some(interval), ping_timeout: timeout, ..Config::default() };
    let (server, address) = start(config);
    let begun = Instant::now();
    let mut client = open(address);
    opened(&server);
    assert_eq!(closed(&server).1, 1006);
    let took = begun.elapsed();
    assert!(took < interval + timeout + Duration::from_secs(5), "{took:?}");
    assert!(took > timeout, "{took:?}");
    assert_eq!(read_frame(&mut client).0, 0x89);
    assert_eq!(server.stats().ping_timeouts, 1);
}

#[test]
fn a_peer_that_answers_pings_stays_connected() {
    let config = Config {
        ping_interval: Some(Duration::from_millis(50)),
        ping_timeout: Duration::from_millis(400),
        ..Config::default()
    };
    let (server, address) = start(config);
    server.set_interest(Interest::PONG, true);
    let mut client = open(address);
    opened(&server);
    // The test lasts longer than the timeout.
    for _ in 0..12 {
        let (first, payload) = read_frame(&mut client);
        assert_eq!(first, 0x89);
        client.write_all(&frame(0x8a, &payload)).unwrap();
    }
    client.write_all(&frame(0x8a, b"mine")).unwrap();
    let Event::Pong { payload, .. } = next(&server) else {
        panic!("only pongs that the host awaits are reported")
    };
    assert_eq!(&payload[..], b"mine");
}

#[test]
fn a_peer_that_does_not_read_is_closed_with_1013() {
    let config =
        Config { send_buffer_limit: 1 << 20, close_timeout: Duration::from_millis(200), ..Config::default() };
    let (server, address) = start(config);
    let _client = open(address);
    let conn = opened(&server);
    let chunk = vec![0; 64 << 10];
    let deadline = Instant::now() + PATIENCE;
    while server.send(&conn, &chunk, true) == SendOutcome::Sent {
        assert!(Instant::now() < deadline);
        server.flush();
        std::thread::sleep(Duration::from_micros(200));
    }
    server.flush();
    assert_eq!(closed(&server).1, 1013);
    assert_eq!(server.stats().slow_closed, 1);
}

#[test]
fn a_slow_peers_messages_are_dropped_and_a_drain_event_follows() {
    let config =
        Config { send_buffer_limit: 1 << 20, slow_consumer: SlowConsumer::Drop, ..Config::default() };
    let (server, address) = start(config);
    server.set_interest(Interest::DRAIN, true);
    let mut client = open(address);
    let conn = opened(&server);
    let chunk = vec![0; 64 << 10];
    let mut sent = 0;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match server.send(&conn, &chunk, true) {
            SendOutcome::Sent => sent += 1,
            SendOutcome::Dropped => break,
            other => panic!("{other:?}"),
        }
        assert!(Instant::now() < deadline);
        server.flush();
        std::thread::sleep(Duration::from_micros(200));
    }
    assert!(conn.is_open());
    let reader = std::thread::spawn(move || {
        (0..sent).for_each(|_| assert_eq!(read_frame(&mut client).1.len(), 64 << 10));
        client
    });
    // A drain event may be outdated: the kernel had accepted all data for a moment.
    loop {
        let Event::Drain { id } = next(&server) else { panic!() };
        assert_eq!(id, conn.id());
        if conn.buffered_amount() == 0 {
            break;
        }
    }
    let mut client = reader.join().unwrap();
    server.send(&conn, b"again", false);
    server.flush();
    assert_eq!(read_frame(&mut client), (0x81, b"again".to_vec()));
}

#[test]
fn a_drain_event_follows_a_dropped_message_though_the_host_writes_the_one_before() {
    let config = Config { send_buffer_limit: 1000, slow_consumer: SlowConsumer::Drop, ..Config::default() };
    let (server, address) = start(config);
    server.set_interest(Interest::DRAIN, true);
    let mut client = open(address);
    let conn = opened(&server);
    for _ in 0..20 {
        // The I/O thread most likely rests after this.
        server.wait(Some(Duration::from_millis(1)));
        assert_eq!(server.send(&conn, b"first", true), SendOutcome::Sent);
        assert_eq!(server.send(&conn, &[0; 1000], true), SendOutcome::Dropped);
        server.flush();
        assert_eq!(read_frame(&mut client), (0x82, b"first".to_vec()));
        let Event::Drain { id } = next(&server) else { panic!() };
        assert_eq!(id, conn.id());
    }
}

#[test]
fn a_flood_waits_in_the_socket_without_loss() {
    let config = Config { max_pending_messages: 10, ..Config::default() };
    let (server, address) = start(config);
    let mut client = open(address);
    opened(&server);
    let writer = std::thread::spawn(move || {
        let payload = vec![b'a'; 4000];
        for _ in 0..2000 {
            client.write_all(&frame(0x82, &payload)).unwrap();
        }
        client
    });
    while server.stats().paused == 0 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.stats().messages_in, 10);
    for _ in 0..2000 {
        assert!(matches!(next(&server), Event::Message { .. }));
    }
    drop(writer.join().unwrap());
    assert_eq!(closed(&server).1, 1006);
}

#[test]
fn messages_leave_while_the_host_is_busy() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    client.write_all(&frame(0x81, b"work")).unwrap();
    assert!(matches!(next(&server), Event::Message { .. }));
    server.send(&conn, b"begun", false);
    // The host does not flush, as if it were busy with a slow query.
    assert_eq!(read_frame(&mut client), (0x81, b"begun".to_vec()));
    server.send(&conn, b"half", false);
    assert_eq!(read_frame(&mut client), (0x81, b"half".to_vec()));
}

#[test]
fn terminate_cuts_without_a_close_frame() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    server.terminate(&conn);
    server.flush();
    assert_eq!(closed(&server).1, 1006);
    assert!(at_end(&mut client));
}

#[test]
fn stop_closes_with_1001_and_cuts_peers_that_do_not_answer() {
    let (server, address) = start(Config::default());
    let mut polite = open(address);
    opened(&server);
    let mut rude = open(address);
    opened(&server);
    server.stop(Duration::from_secs(1));
    assert_eq!(read_close(&mut polite).0, 1001);
    polite.write_all(&close_frame(1001, "")).unwrap();
    assert_eq!(closed(&server).1, 1001);
    assert_eq!(closed(&server).1, 1006);
    assert!(matches!(next(&server), Event::Stopped));
    assert_eq!(read_close(&mut rude).0, 1001);
    assert!(std::net::TcpStream::connect(address).is_err(), "the listener is closed");
}

#[test]
fn a_server_being_replaced_serves_connections_already_accepted() {
    let (server, address) = start(Config { health_path: Some("/up".to_owned()), ..Config::default() });
    let mut old = open(address);
    opened(&server);
    let mut idle = connect(address);
    idle.write_all(b"GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(read_head(&mut idle).contains(" 200 "));
    // One client has sent nothing yet, the other half of its request. A third one proves that both are
    // accepted.
    let (mut silent, mut slow) = (connect(address), connect(address));
    let head = upgrade_head(address, "/", "");
    slow.write_all(&head.as_bytes()[..20]).unwrap();
    drop(open(address));
    opened(&server);
    assert_eq!(closed(&server).1, 1006);
    server.give_way(Duration::from_secs(20));
    let restarting = (1001, "the server is restarting".to_owned());
    assert_eq!(read_close(&mut old), restarting);
    old.write_all(&close_frame(1001, "")).unwrap();
    assert_eq!(closed(&server).1, 1001);
    // A connection between two requests is closed.
    idle.read_to_end(&mut Vec::new()).unwrap();
    for (client, rest) in [(&mut slow, &head[20..]), (&mut silent, &head[..])] {
        client.write_all(rest.as_bytes()).unwrap();
        assert!(read_head(client).contains(" 101 "));
        opened(&server);
        assert_eq!(read_close(client), restarting);
        client.write_all(&close_frame(1001, "")).unwrap();
        assert_eq!(closed(&server).1, 1001);
    }
    assert!(matches!(next(&server), Event::Stopped));
}

#[test]
fn several_io_threads_share_the_connections() {
    let (server, address) = start(Config { io_threads: 3, ..Config::default() });
    let mut clients: Vec<_> = (0..9).map(|_| open(address)).collect();
    let conns: Vec<_> = (0..9).map(|_| opened(&server)).collect();
    for client in &mut clients {
        client.write_all(&frame(0x81, b"hi")).unwrap();
    }
    for _ in 0..9 {
        let Event::Message { id, .. } = next(&server) else { panic!() };
        let conn = conns.iter().find(|c| c.id() == id).unwrap();
        server.send(conn, b"hi", false);
    }
    server.flush();
    for client in &mut clients {
        assert_eq!(read_frame(client), (0x81, b"hi".to_vec()));
    }
    server.stop(Duration::from_millis(50));
    let mut stopped = false;
    for _ in 0..10 {
        assert!(!stopped, "Stopped is the last event");
        stopped = matches!(next(&server), Event::Stopped);
    }
    assert!(stopped);
}

#[test]
fn dropping_the_server_ends_everything() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    drop(server);
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    assert!(std::net::TcpStream::connect(address).is_err());
}
