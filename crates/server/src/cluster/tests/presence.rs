//! Presence over several nodes.

use super::support::*;
use super::{Node, pair};
use crate::api::Server;

#[test]
fn members_are_known_to_all_nodes() {
    let (fake, one, two) = pair();
    let ((a, at_a), (b, at_b)) = (one.worker(1), two.worker(1));
    let (_here, ann) = subscriber(&a, at_a, &[]);
    let (there, bob) = subscriber(&b, at_b, &[]);
    a.join(&ann, "room", "ann", b"1").unwrap();
    a.join(&ann, "lounge", "ann", b"1").unwrap();
    b.join(&bob, "room", "bob", b"2").unwrap();
    [&a, &b].into_iter().for_each(Server::flush);
    let names = |server: &Server| -> Vec<String> {
        server.presence("room").into_iter().map(|member| member.member).collect()
    };
    pump(&a, |_, _| {}, || names(&a) == ["ann", "bob"] && names(&b) == ["ann", "bob"]);
    // A node that starts later requests a snapshot.
    let three = Node::new(&fake.0, 3);
    let (c, at_c) = three.worker(1);
    pump(&c, |_, _| {}, || names(&c) == ["ann", "bob"] && c.presence("lounge").len() == 1);
    // A node that reconnects also requests one.
    fake.connect(3, false);
    drop(there);
    pump(&b, |_, _| {}, || names(&b) == ["ann"]);
    b.flush();
    pump(&a, |_, _| {}, || names(&a) == ["ann"]);
    assert_eq!(names(&c), ["ann", "bob"]);
    let (_client, cid) = subscriber(&c, at_c, &[]);
    c.join(&cid, "room", "cid", b"").unwrap();
    c.flush();
    fake.connect(3, true);
    pump(&c, |_, _| {}, || names(&c) == ["ann", "cid"]);
    // A node announces its end.
    drop((a, one));
    pump(&c, |_, _| {}, || names(&c) == ["cid"] && c.presence("lounge").is_empty());
    drop(b);
}
