//! Memory cost of compressed connections, and the bound on it for decompression bombs.
//!
//! `cargo test --release -p sprocket-server --test deflate_memory -- --nocapture` prints the measured
//! values; `docs/compression.md` quotes them.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test may panic and tell")]
mod support;

use flate2::{Compress, FlushCompress};
use sprocket_server::{Compression, Config, Connection, Event, Server};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use support::*;

const CONNECTIONS: usize = 400;

/// Reads a value of `/proc/self/status` in KiB.
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Returns the anonymous memory in KiB. Mapped files are excluded, since connections do not cause them.
fn memory() -> usize {
    status("RssAnon:")
}

fn deflated(payload: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 100);
    let mut codec = Compress::new(flate2::Compression::best(), false);
    codec.compress_vec(payload, &mut out, flush).unwrap();
    out
}

fn negotiated(address: SocketAddr, offer: bool) -> TcpStream {
    let mut stream = connect(address);
    let header = if offer { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
    stream.write_all(upgrade_head(address, "/", header).as_bytes()).unwrap();
    assert_eq!(read_head(&mut stream).contains("permessage-deflate"), offer);
    stream
}

/// Exchanges a message in each direction on every connection, so that all lazy allocations happen.
fn talk(server: &Server, peers: &mut [(TcpStream, Connection)], compressed: bool) {
    let text: String = (0..300).map(|n| format!("{{\"id\":{n}}},")).collect();
    let mut packed = deflated(text.as_bytes(), FlushCompress::Sync);
    packed.truncate(packed.len() - 4);
    let message = if compressed { frame(0xc1, &packed) } else { frame(0x81, text.as_bytes()) };
    for (client, conn) in peers {
        client.write_all(&message).unwrap();
        let Event::Message { payload, .. } = next(server) else { panic!() };
        server.send(conn, &payload, false);
        server.flush();
        read_frame(client);
    }
}

/// Returns the KiB per connection after the handshake, and after a message in each direction.
fn cost(compression: Option<Compression>) -> (f64, f64) {
    let offer = compression.is_some();
    let (server, address) = start(Config { compression, ping_interval: None, ..Config::default() });
    let open =
        |n: usize| -> Vec<_> { (0..n).map(|_| (negotiated(address, offer), opened(&server))).collect() };
    // The first connections cause allocations that all connections share; they are not counted.
    let mut first = open(20);
    talk(&server, &mut first, offer);
    let before = memory();
    let mut peers = open(CONNECTIONS);
    let idle = memory().saturating_sub(before);
    talk(&server, &mut peers, offer);
    let after = memory().saturating_sub(before);
    (idle as f64 / CONNECTIONS as f64, after as f64 / CONNECTIONS as f64)
}

/// Returns the peak growth of the process's memory in KiB while `f` runs.
fn peak(f: impl FnOnce()) -> usize {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    f();
    status("VmHWM:").saturating_sub(before)
}

/// Returns the configuration with this name.
fn configuration(name: &str) -> Option<Compression> {
    let windows = |bits| Compression {
        context_takeover: true,
        max_context_memory: 1 << 30,
        server_max_window_bits: bits,
        ..Compression::default()
    };
    match name {
        "none" => None,
        "shared" => Some(Compression::default()),
        "windows-9" => Some(windows(9)),
        _ => Some(windows(15)),
    }
}

/// Measures in a separate process, in which no freed memory can be reused.
fn cost_of(name: &str) -> (f64, f64) {
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "measures_one_configuration", "--nocapture"])
        .env("SPROCKET_MEMORY_OF", name)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("cost ")).expect(&text).1;
    let (idle, after) = line.split_once(' ').unwrap();
    println!("{name:12} {idle:>8} KiB idle after the handshake, {after:>8} KiB after a message each way");
    (idle.parse().unwrap(), after.trim().parse().unwrap())
}

/// The entry point of that process; without the environment variable it does nothing.
#[test]
fn measures_one_configuration() {
    let Ok(name) = std::env::var("SPROCKET_MEMORY_OF") else { return };
    let (idle, after) = cost(configuration(&name));
    println!("\ncost {idle:.2} {after:.2}");
}

#[test]
fn the_cost_of_a_compressed_connection_is_as_documented() {
    let [plain, shared, nine, fifteen] = ["none", "shared", "windows-9", "windows-15"].map(cost_of);
    assert!(shared.0 < plain.0 + 1.0 && shared.1 < plain.1 + 1.0, "{shared:?}, plain {plain:?}");
    assert!(fifteen.0 < plain.0 + 1.0, "{fifteen:?}: windows come with the first message");
    assert!(nine.1 < 310.0 && fifteen.1 < 440.0, "{nine:?}, {fifteen:?}");
}

#[test]
fn a_decompression_bomb_needs_little_memory() {
    // 1 MiB of input that inflates to 1 GiB, as a single message and as a thousand messages that the
    // host does not take.
    let zeros = vec![0; 1 << 20];
    let block = deflated(&zeros, FlushCompress::Full);
    let bomb = frame(0xc2, &block.repeat((1 << 20) / block.len()));
    let one_message = peak(|| {
        let (server, address) =
            start(Config { compression: Some(Compression::default()), ..Config::default() });
        let mut client = negotiated(address, true);
        opened(&server);
        client.write_all(&bomb).unwrap();
        let Event::Close { code, .. } = next(&server) else { panic!() };
        assert_eq!(code, 1009);
    });
    let mut packed = deflated(&zeros, FlushCompress::Sync);
    packed.truncate(packed.len() - 4);
    let small = frame(0xc2, &packed).repeat(1000);
    let many_messages = peak(|| {
        let (server, address) =
            start(Config { compression: Some(Compression::default()), ..Config::default() });
        let mut client = negotiated(address, true);
        let conn = opened(&server);
        client.write_all(&small).unwrap();
        let paused = std::time::Instant::now();
        while server.stats().paused == 0 {
            assert!(paused.elapsed() < PATIENCE, "the socket is read on");
            std::thread::yield_now();
        }
        // More messages arrive as the host takes them.
        for _ in 0..100 {
            let Event::Message { payload, .. } = next(&server) else { panic!() };
            assert_eq!(payload.len(), 1 << 20);
        }
        server.terminate(&conn);
        server.flush();
    });
    println!("KiB while 1 MiB inflates to 1 GiB: {one_message} as one message, {many_messages} as 1000");
    assert!(one_message < 64 << 10 && many_messages < 64 << 10);
}
