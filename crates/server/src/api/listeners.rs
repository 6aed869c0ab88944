//! The listening sockets that a server starts with.

use crate::net::address::Listen;
use crate::publish_socket::OpenPublishSocket;

/// Where a server listens. `From` makes one of a list of addresses.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For clients.
    pub clients: Vec<Listen>,
    /// An open socket for publishers, instead of the one that
    /// [`Config::publish_socket`](crate::Config) describes.
    pub publishers: Option<OpenPublishSocket>,
}

impl<L: Into<Listen>> From<Vec<L>> for Listeners {
    fn from(clients: Vec<L>) -> Self {
        Self { clients: clients.into_iter().map(Into::into).collect(), publishers: None }
    }
}
