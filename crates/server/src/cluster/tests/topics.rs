//! Publications to other nodes, and publications that the broker refuses.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use super::support::*;
use super::{pair, subscribed};
use crate::channel::event::{Event, Interest};
use crate::config::{Config, PublishSocket};
use crate::{PublishError, Publisher};

#[test]
fn nodes_share_topics_through_the_broker() {
    let (fake, one, two) = pair();
    let ((a, at_a), (b, at_b)) = (one.worker(1), two.worker(2));
    let (mut here, conn) = subscriber(&a, at_a, &["t"]);
    let (mut there, _) = subscriber(&b, at_b, &["t", "u.*"]);
    ["t", "u.*"].iter().for_each(|topic| subscribed(&fake, &two, topic));
    subscribed(&fake, &one, "t");
    publish(&a, "t", "1");
    publish(&a, "u.x", "2");
    a.broadcast(b"3", false, Some(&conn)).unwrap();
    a.flush();
    assert_eq!([text(&mut there), text(&mut there), text(&mut there)], ["1", "2", "3"]);
    publish(&b, "t", "4");
    assert_eq!([text(&mut here), text(&mut here)], ["1", "4"]);
    assert_eq!(text(&mut there), "4");
    // Interest ends with the last subscriber, and with the worker.
    a.unsubscribe(&conn, "t").unwrap();
    a.flush();
    drop(b);
    let deadline = Instant::now() + PATIENCE;
    while !fake.with(|exchange| exchange.nodes.values().all(|node| node.interest.is_empty())) {
        assert!(Instant::now() < deadline, "interest ends");
        std::thread::sleep(Duration::from_millis(1));
    }
    // Publications that the broker's queue has no space for are reported.
    fake.with(|exchange| exchange.full = true);
    publish(&a, "t", "5");
    let mut connected = 0;
    loop {
        match next(&a) {
            Event::Unpublished { topic, reason, uncertain } => {
                assert!(topic == "t" && uncertain, "{reason}");
                break assert!(
                    reason.ends_with("; the message was delivered on this machine only"),
                    "{reason}"
                );
            }
            Event::Broker { connected: true, .. } => connected += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(connected <= 1);
}

#[test]
fn a_publisher_receives_the_refusals_of_the_broker() {
    let (fake, one, _two) = pair();
    let socket = one.directory.join("publish");
    let publish_socket = Some(PublishSocket::new(socket.clone()));
    let (a, at_a) = one.worker_with(Config { publish_socket, ..Config::default() });
    a.set_interest(Interest::LOG, true);
    let (b, at_b) = one.worker(1);
    let (mut here, _) = subscriber(&a, at_a, &["t", "h.1"]);
    let (mut beside, _) = subscriber(&b, at_b, &["t", "h.1"]);
    subscribed(&fake, &one, "h.1");
    let mut publisher = Publisher::new(socket.clone());
    for topic in ["t", "h.1"] {
        publisher.publish(topic, b"1", false, PATIENCE).unwrap();
        assert_eq!([text(&mut here), text(&mut beside)], ["1", "1"]);
    }
    // A refused publication without history still reaches this machine; one with history reaches no
    // connection. Each answer states which, and goes to its request.
    fake.with(|exchange| exchange.full = true);
    let error = publisher.publish("t", b"2", false, PATIENCE).unwrap_err();
    assert!(matches!(error, PublishError::Partly { .. }) && error.is_uncertain(), "{error}");
    assert!(error.to_string().ends_with("; the message was delivered on this machine only"), "{error}");
    assert_eq!([text(&mut here), text(&mut beside)], ["2", "2"]);
    let error = publisher.publish("h.1", b"nobody", false, PATIENCE).unwrap_err();
    assert!(matches!(&error, PublishError::Refused { code, .. } if code == "broker"), "{error}");
    assert!(!error.is_uncertain() && error.to_string().ends_with("delivered to nobody"), "{error}");
    let mut raw = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    raw.set_read_timeout(Some(PATIENCE)).unwrap();
    raw.write_all(&b"PUBLISH text 1 1\nt3PUBLISH text 1 1\n>xPUBLISH text 3 1\nh.1x".repeat(20)).unwrap();
    let answers = std::io::BufReader::new(raw).lines().take(60).collect::<Result<Vec<_>, _>>().unwrap();
    for (n, answer) in answers.iter().enumerate() {
        let code = ["ERROR partly ", "ERROR topic ", "ERROR broker "][n % 3];
        assert!(answer.starts_with(code), "{n}: {answer}");
    }
    for _ in 0..20 {
        assert_eq!([text(&mut here), text(&mut beside)], ["3", "3"]);
    }
    // The publisher receives the refusal, so the host gets no event. Both kinds are counted.
    let stats = a.stats();
    assert_eq!((stats.socket_published, stats.socket_refused), (2, 62));
    fake.with(|exchange| exchange.full = false);
    publisher.publish("h.1", b"4", false, PATIENCE).unwrap();
    assert_eq!([text(&mut here), text(&mut beside)], ["4", "4"]);
    let mut lines = 0;
    while let Some(event) = a.next_event() {
        assert!(!matches!(event, Event::Unpublished { .. }), "{event:?}");
        let Event::Log(line) = event else { continue };
        lines += u32::from(line.context.contains(&("option", "brokerQueue".into())));
    }
    assert!(lines >= 2, "{lines} lines name the option");
}
