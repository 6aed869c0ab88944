//! The lower bound for all servers: one thread, level-triggered epoll, one recv and one send per
//! readiness, no library. It handles only complete, unfragmented data frames.
#![forbid(unsafe_code)]

use anyhow::{Result, bail};
use bench_common::{frame, sys};
use peers::{Mode, switching_protocols};
use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

const LISTENER: u64 = u64::MAX;

fn main() -> Result<()> {
    let (listener, mode) = peers::start()?;
    if mode == Mode::Tls {
        bail!("this server has no TLS");
    }
    let poll = sys::Poll::new()?;
    poll.add(listener.as_raw_fd(), sys::IN, LISTENER)?;
    let rooms = HashMap::new();
    let mut server = Server { listener, mode, poll, connections: Vec::new(), rooms };
    let mut buffer = vec![0; 256 * 1024];
    let mut out = Vec::new();
    loop {
        for i in 0..server.poll.wait(-1) {
            let (key, events) = server.poll.event(i);
            if key == LISTENER {
                server.accept()?;
                continue;
            }
            let id = key as usize;
            if events & sys::OUT != 0 {
                server.drain(id);
            }
            if events & !sys::OUT != 0 && !server.read(id, &mut buffer, &mut out) {
                server.forget(id);
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// Whether the handshake is done.
    open: bool,
    room: Option<String>,
    /// Bytes of an incomplete frame or request.
    incoming: Vec<u8>,
    /// Bytes that the kernel has not taken.
    outgoing: Vec<u8>,
}

struct Server {
    listener: TcpListener,
    mode: Mode,
    poll: sys::Poll,
    /// Connections by descriptor.
    connections: Vec<Option<Connection>>,
    rooms: HashMap<String, Vec<usize>>,
}

impl Server {
    fn accept(&mut self) -> Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let id = stream.as_raw_fd() as usize;
            self.poll.add(stream.as_raw_fd(), sys::IN, id as u64)?;
            if self.connections.len() <= id {
                self.connections.resize_with(id + 1, || None);
            }
            self.connections[id] = Some(Connection {
                stream,
                open: false,
                room: None,
                incoming: Vec::new(),
                outgoing: Vec::new(),
            });
        }
        Ok(())
    }

    fn forget(&mut self, id: usize) {
        let room = self.connections[id].take().and_then(|connection| connection.room);
        if let Some(members) = room.and_then(|room| self.rooms.get_mut(&room)) {
            members.retain(|member| *member != id);
        }
    }

    /// Reads once and handles the bytes. False if the connection has ended.
    fn read(&mut self, id: usize, buffer: &mut [u8], out: &mut Vec<u8>) -> bool {
        let Some(connection) = &mut self.connections[id] else {
            return true;
        };
        let n = match sys::receive(connection.stream.as_raw_fd(), buffer) {
            Ok(None) => return true,
            Ok(Some(n)) if n > 0 => n,
            _ => return false,
        };
        if !connection.open {
            return connection.handshake(&buffer[..n]);
        }
        let mut joined;
        let data = if connection.incoming.is_empty() {
            &mut buffer[..n]
        } else {
            joined = std::mem::take(&mut connection.incoming);
            joined.extend_from_slice(&buffer[..n]);
            &mut joined[..]
        };
        out.clear();
        let joins = self.mode == Mode::Chat && connection.room.is_none();
        let Some((used, first)) = frames(data, out) else {
            return false;
        };
        connection.incoming = data[used..].to_vec();
        if joins && let Some(payload) = first {
            let room = String::from_utf8_lossy(&data[payload]).into_owned();
            self.rooms.entry(room.clone()).or_default().push(id);
            connection.room = Some(room);
            put(&self.poll, connection, out);
        } else if !out.is_empty() {
            self.distribute(id, out);
        }
        true
    }

    fn distribute(&mut self, from: usize, out: &[u8]) {
        let poll = &self.poll;
        match self.mode {
            // `main` has refused TLS.
            Mode::Echo | Mode::Tls => {
                if let Some(connection) = &mut self.connections[from] {
                    put(poll, connection, out);
                }
            }
            Mode::Fan => {
                for connection in self.connections.iter_mut().flatten().filter(|c| c.open) {
                    put(poll, connection, out);
                }
            }
            Mode::Chat => {
                let room = self.connections[from].as_ref().and_then(|c| c.room.as_ref());
                for id in room.and_then(|room| self.rooms.get(room)).into_iter().flatten() {
                    if let Some(connection) = &mut self.connections[*id] {
                        put(poll, connection, out);
                    }
                }
            }
        }
    }

    /// Sends bytes that had to wait.
    fn drain(&mut self, id: usize) {
        let Some(connection) = &mut self.connections[id] else {
            return;
        };
        let fd = connection.stream.as_raw_fd();
        // The next read reports an error.
        let done = sys::send(fd, &connection.outgoing).unwrap_or(0);
        connection.outgoing.drain(..done);
        if connection.outgoing.is_empty() {
            let _ = self.poll.modify(fd, sys::IN, id as u64);
        }
    }
}

impl Connection {
    fn handshake(&mut self, data: &[u8]) -> bool {
        self.incoming.extend_from_slice(data);
        if !self.incoming.ends_with(b"\r\n\r\n") {
            return true;
        }
        let head = std::mem::take(&mut self.incoming);
        let Some(answer) = std::str::from_utf8(&head).ok().and_then(switching_protocols) else {
            return false;
        };
        self.open = true;
        sys::send(self.stream.as_raw_fd(), answer.as_bytes()).is_ok()
    }
}

fn put(poll: &sys::Poll, connection: &mut Connection, data: &[u8]) {
    let fd = connection.stream.as_raw_fd();
    if !connection.outgoing.is_empty() {
        connection.outgoing.extend_from_slice(data);
        return;
    }
    // The next read reports an error.
    let done = sys::send(fd, data).unwrap_or(data.len());
    if done < data.len() {
        connection.outgoing.extend_from_slice(&data[done..]);
        let _ = poll.modify(fd, sys::IN | sys::OUT, fd as u64);
    }
}

/// Appends an answer to `out` for every complete data frame in `data`. Returns the number of bytes
/// used and the range of the first payload; `None` for a close frame.
fn frames(data: &mut [u8], out: &mut Vec<u8>) -> Option<(usize, Option<std::ops::Range<usize>>)> {
    let (mut at, mut first) = (0, None);
    while data.len() - at >= 2 {
        let start = at + 2 + frame::extended_len(data[at + 1]) + 4;
        if data.len() < start {
            break;
        }
        let end = start + frame::payload_len(&data[at..start]) as usize;
        if data.len() < end {
            break;
        }
        let opcode = data[at] & 15;
        let mut key = [0; 4];
        key.copy_from_slice(&data[start - 4..start]);
        frame::mask(&mut data[start..end], key);
        if opcode == frame::CLOSE {
            return None;
        }
        if matches!(opcode, frame::TEXT | frame::BINARY) {
            frame::append(out, opcode, &data[start..end]);
            first.get_or_insert(start..end);
        }
        at = end;
    }
    Some((at, first))
}
