//! Listening sockets that one process opens for several others: the master of a node opens them for its
//! workers. Connections waiting in their queues survive the end of a worker.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::BindError;
use crate::net::address::{Bind, Listen};
use crate::net::listener::Listener;
use crate::net::socket::url_of;

/// An open listening socket on which this process accepts no connections. Other processes get duplicates of
/// its descriptor as [`Bind::Fd`]. Its queue exists as long as it is open. Dropping it removes the file of a
/// Unix socket.
#[derive(Debug)]
pub struct OpenListener(Listener);

impl OpenListener {
    /// Opens the sockets for `slots` processes. On Linux each process gets one, with a queue of its own, and
    /// the kernel distributes the connections among them (`SO_REUSEPORT`). Elsewhere all share a single
    /// socket. With port 0 all sockets get the same port, which the kernel chooses.
    ///
    /// # Errors
    /// The address can't be used, or another server already listens on it.
    pub fn open(listen: Listen, backlog: i32, slots: usize) -> Result<Vec<Self>, BindError> {
        let Bind::Tcp(address) = listen.bind else {
            return Ok(vec![Self(Listener::open(listen, backlog)?)]);
        };
        if !cfg!(target_os = "linux") {
            return Ok(vec![Self(Listener::open(listen, backlog)?)]);
        }
        // With `SO_REUSEPORT` the kernel would let this socket share the port with any server of the same
        // user.
        if !listen.reuse_port && address.port() != 0 {
            probe(address, listen.only_v6).map_err(|source| BindError {
                address: format!("{}://{address}", if listen.tls { "wss" } else { "ws" }),
                source,
            })?;
        }
        let Listen { tls, proxy_protocol, only_v6, mode, backlog: own, .. } = listen;
        let next = |address| Listen {
            tls,
            proxy_protocol,
            reuse_port: true,
            only_v6,
            mode,
            backlog: own,
            ..Bind::Tcp(address).into()
        };
        let first = Listener::open(next(address), backlog)?;
        let address = first.tcp_address().unwrap_or(address);
        let mut open = vec![Self(first)];
        for _ in 1..slots {
            open.push(Self(Listener::open(next(address), backlog)?));
        }
        Ok(open)
    }

    /// The URL of a listening socket that another program opened; empty if the socket has no address.
    pub fn url_of(socket: &impl AsFd, tls: bool) -> String {
        let address = socket2::SockRef::from(socket).local_addr();
        address.map_or_else(|_| String::new(), |address| url_of(&address, tls))
    }

    /// The address as a URL, with the port that the kernel chose.
    pub fn url(&self) -> &str {
        self.0.url()
    }
}

impl AsFd for OpenListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Checks whether a listener without `SO_REUSEPORT` could bind the address.
fn probe(address: SocketAddr, only_v6: bool) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Listen {
        Bind::Tcp(address.parse().unwrap()).into()
    }

    #[test]
    fn all_slots_share_one_port() {
        let open = OpenListener::open(at("127.0.0.1:0"), 8, 3).unwrap();
        assert!(open.iter().all(|l| l.url() == open[0].url()), "{open:?}");
        assert_eq!(open.len(), if cfg!(target_os = "linux") { 3 } else { 1 });
    }

    #[test]
    fn the_port_of_another_server_is_not_shared_unless_requested() {
        let first = OpenListener::open(at("127.0.0.1:0"), 8, 2).unwrap();
        let address = first[0].url().trim_start_matches("ws://");
        let error = OpenListener::open(at(address), 8, 2).unwrap_err();
        assert!(error.to_string().contains(address), "{error}");
        let requested = Listen { reuse_port: true, ..at(address) };
        if cfg!(target_os = "linux") {
            assert!(OpenListener::open(requested, 8, 2).is_ok());
        }
    }

    #[test]
    fn a_shared_socket_keeps_its_queue() {
        use std::io::Read;
        let open = OpenListener::open(at("127.0.0.1:0"), 8, 1).unwrap();
        let address = open[0].url().trim_start_matches("ws://");
        let duplicate = || Bind::Fd(open[0].as_fd().try_clone_to_owned().unwrap());
        drop(Listener::open(duplicate().into(), 8).unwrap());
        let mut client = std::net::TcpStream::connect(address).unwrap();
        drop(Listener::open(duplicate().into(), 8).unwrap());
        client.set_nonblocking(true).unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
