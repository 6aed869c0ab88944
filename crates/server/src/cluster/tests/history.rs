//! Topics whose history the broker stores: their order, and resuming connections.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Fake;
use super::support::*;
use super::{Node, pair, subscribed};
use crate::cluster::wire::Down;
use crate::config::History;
use sprocket_broker::BrokerClient;

#[test]
fn the_history_of_a_broker_is_one_order_for_all_nodes() {
    let (fake, one, two) = pair();
    let ((a, at_a), (b, at_b)) = (one.worker(1), two.worker(2));
    let (mut here, excepted) = subscriber(&a, at_a, &["h.1"]);
    let (mut there, _) = subscriber(&b, at_b, &["h.1"]);
    [&one, &two].into_iter().for_each(|node| subscribed(&fake, node, "h.1"));
    a.publish("h.1", b"not here", false, Some(&excepted)).unwrap();
    a.flush();
    assert_eq!(text(&mut there), "not here");
    for i in 0..20 {
        publish(&a, "h.1", &format!("%p% a{i}"));
        publish(&b, "h.1", &format!("%p% b{i}"));
    }
    let expected: Vec<_> = (0..40).map(|_| text(&mut here)).collect();
    assert_eq!((0..40).map(|_| text(&mut there)).collect::<Vec<_>>(), expected);
    for (n, text) in expected.iter().enumerate() {
        assert!(text.starts_with(&format!("f-{} ", n + 2)), "{text}");
    }
    // A resuming connection receives the missed publications once, stamped with their positions.
    let (mut late, conn) = subscriber(&b, at_b, &[]);
    let (complete, messages, position) = resume(&b, &conn, "h.1", "f-39");
    assert_eq!((complete, messages, position.as_str()), (true, 2, "f-41"));
    assert_eq!([text(&mut late), text(&mut late)], [expected[38].clone(), expected[39].clone()]);
    assert!(!resume(&b, &conn, "h.1", "g-1").0);
    // The broker loses a publication on its way to the nodes. The next one reveals the gap.
    fake.with(|exchange| exchange.lose = true);
    publish(&a, "h.1", "lost");
    publish(&a, "h.1", "found");
    for client in [&mut here, &mut there, &mut late] {
        assert_eq!([text(client), text(client)], ["lost", "found"]);
    }
    // The broker's connection to one node is interrupted.
    fake.connect(2, false);
    publish(&a, "h.1", "away");
    assert_eq!(text(&mut here), "away");
    fake.connect(2, true);
    assert_eq!([text(&mut there), text(&mut late)], ["away", "away"]);
}

#[test]
fn resuming_while_others_publish_delivers_exactly_once() {
    let (fake, one, two) = pair();
    let ((a, _), (b, at_b)) = (one.worker(1), two.worker(3));
    let (_keeps, _) = subscriber(&b, at_b, &["h.1"]);
    subscribed(&fake, &two, "h.1");
    let clients: Vec<_> = (0..6).map(|_| subscriber(&b, at_b, &[])).collect();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for i in 0..300 {
                publish(&a, "h.1", &i.to_string());
                if i % 20 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let mut complete = 0;
        for (_, conn) in &clients {
            complete += usize::from(resume(&b, conn, "h.1", "f-0").0);
        }
        assert_eq!(complete, 6);
        for (client, _) in &clients {
            let mut client = client.try_clone().unwrap();
            (0..300).for_each(|i| assert_eq!(text(&mut client), i.to_string()));
        }
    });
}

#[test]
fn simultaneous_resume_requests_share_one_replay() {
    let exchange = Arc::default();
    let node = Node::with_queue(&exchange, 1, 1 << 20);
    let fake = Fake(exchange, 0);
    let hold = |hold| fake.with(|exchange| exchange.hold = hold);
    fake.store("h.1", "kept".into(), false, &History::default()).unwrap();
    hold(true);
    let mut raw = node.raw(1);
    raw.ask("h.1", 500, false);
    hold(false);
    let (mut answered, mut got) = (BTreeSet::new(), BTreeSet::new());
    while answered.len() < 500 {
        raw.receive(|frame| match frame {
            Down::Missed { ticket, payload, .. } => assert!(payload == b"kept" && got.insert(ticket)),
            Down::Resumed { ticket, complete, .. } => assert!(complete && answered.insert(ticket)),
            _ => {}
        });
    }
    assert_eq!(got.len(), 500, "each connection receives the missed publication once");
    let replays = fake.with(|exchange| exchange.replays);
    assert!(replays < 10, "the broker was asked {replays} times");
}
