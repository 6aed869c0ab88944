//! A server on the core alone, driven as by PHP: it takes events, sends, and flushes once a batch.
//! Argument: echo|topic|open. Ends when its last connection has closed; in the mode `open` a message ends
//! it at once, so that what connections cost at their end does not count. After each sleep it waits for a
//! byte on standard input, unless that is closed.
#![forbid(unsafe_code)]

use sprocket_server::{Bind, Config, Connection, Event, Server};
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read};
use std::net::SocketAddr;

const TOPIC: &str = "all";

fn main() -> Result<(), Box<dyn Error>> {
    let (topic, open) = match std::env::args().nth(1).as_deref() {
        Some("echo") => (false, false),
        Some("topic") => (true, false),
        Some("open") => (false, true),
        _ => return Err("argument: echo|topic|open".into()),
    };
    let address: SocketAddr = ([127, 0, 0, 1], 0).into();
    // Pings would depend on the clock instead of the work.
    let config = Config { ping_interval: None, ..Config::default() };
    let server = Server::start(config, vec![Bind::Tcp(address)])?;
    let addresses = server.addresses();
    let port = addresses.first().and_then(|url| url.rsplit(':').next());
    println!("ready {}", port.ok_or("no address")?);

    let mut connections = HashMap::new();
    loop {
        while let Some(event) = server.next_event() {
            match event {
                Event::Open { conn, .. } => {
                    if topic {
                        server.subscribe(&conn, TOPIC)?;
                    }
                    connections.insert(conn.id(), conn);
                }
                Event::Message { .. } if open => std::process::exit(0),
                Event::Message { payload, binary, .. } if topic => {
                    server.publish(TOPIC, &payload, binary, None)?;
                }
                Event::Message { id, payload, binary } => {
                    let conn: &Connection = connections.get(&id).ok_or("a stranger")?;
                    server.send(conn, &payload, binary);
                }
                Event::Close { id, .. } => {
                    connections.remove(&id);
                    if connections.is_empty() {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        server.wait(None);
        // The counting program sends a byte once the I/O thread has parked. Otherwise it would be a race
        // whether these answers must wake that thread, which costs a fifth of a message.
        let _end_of_input = io::stdin().read(&mut [0])? == 0;
    }
}
