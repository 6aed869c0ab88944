//! The addresses and sockets that a server listens on.

use crate::net::address::Listen;
use crate::publish_socket::OpenPublishSocket;

/// The addresses and sockets that a server listens on. `From` converts a list of client addresses.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Addresses for clients.
    pub clients: Vec<Listen>,
    /// An open publish socket, in place of the one that [`Config::publish_socket`](crate::Config)
    /// describes.
    pub publishers: Option<OpenPublishSocket>,
}

impl<L: Into<Listen>> From<Vec<L>> for Listeners {
    fn from(clients: Vec<L>) -> Self {
        Self { clients: clients.into_iter().map(Into::into).collect(), publishers: None }
    }
}
