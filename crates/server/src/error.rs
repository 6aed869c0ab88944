//! The public errors, one type for each operation.

use std::io;
use std::path::PathBuf;

use sprocket_broker::BrokerUrlError;
use sprocket_protocol::pem::PemError;
pub use sprocket_protocol::topic::TopicError;

/// A listener could not be opened. The host should report it to its user, who can free the address or choose
/// another.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address as given by the host.
    pub address: String,
    /// The operating system's reason.
    pub source: io::Error,
}

/// A server could not start. No part of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The directory of static files cannot be opened.
    #[error("cannot serve files from {path}: {source}")]
    Files {
        /// The directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The server cannot connect to the hub of its node, or its settings for the hub or the broker are
    /// invalid.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The threads or descriptors that the server needs could not be created.
    #[error("cannot start the I/O threads: {0}")]
    Runtime(#[from] io::Error),
}

/// Certificates or keys cannot be used. When a reload fails, the server keeps using the previous ones.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A listener uses TLS, but there are no TLS settings.
    #[error("{address} needs a certificate, but none is set")]
    Missing {
        /// Address of the listener.
        address: String,
    },
    /// A file of certificates or keys cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Key and certificate are not a pair.
    #[error("the key in {key} does not match the certificate in {certificate}")]
    Mismatch {
        /// File of the key.
        key: PathBuf,
        /// File of the certificate.
        certificate: PathBuf,
    },
    /// A certificate is configured for a host for which it is not valid.
    #[error("the certificate in {path} is not valid for the host {host}")]
    Host {
        /// Name of the host.
        host: String,
        /// File of the certificate.
        path: PathBuf,
    },
    /// The TLS library rejected the settings.
    #[error("cannot set up TLS: {0}")]
    Setup(rustls::Error),
}

/// A message could not be published, or reached only a part of its subscribers.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishFailed {
    /// The topic is not valid.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// Too many bytes wait for the hub, the process that connects the workers of a node. The host should
    /// publish less, or later.
    #[error(
        "the publications that wait for the other workers would exceed {limit} bytes; the message was delivered {}",
        if *delivered_here { "on this worker only" } else { "to nobody" }
    )]
    QueueFull {
        /// Whether the subscribers on this worker received the message.
        delivered_here: bool,
        /// The limit in bytes: [`Config::cluster_queue`](crate::Config), or
        /// [`HubConfig::queue`](crate::HubConfig) if that is less.
        limit: usize,
    },
}

/// A worker cannot use the hub of its node, the process that connects its workers.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The hub does not accept connections at its socket, or does not answer.
    #[error("cannot reach the hub at {path}: {source}")]
    Unreachable {
        /// Its socket.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The hub refused the worker, usually because their versions differ.
    #[error("the hub at {path} refused this worker: {why}")]
    Refused {
        /// Its socket.
        path: PathBuf,
        /// The hub's reason, as a sentence.
        why: String,
    },
    /// The settings contradict each other.
    #[error("{0}")]
    Config(String),
}

impl From<BrokerUrlError> for ClusterError {
    fn from(error: BrokerUrlError) -> Self {
        Self::Config(error.to_string())
    }
}

/// An I/O thread has panicked. That is a bug of the server, to be reported with the panic message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an I/O thread of the server has panicked; the panic message is on the standard error output")]
pub struct ThreadDied;

/// The server belongs to the parent of this process: threads don't survive a fork. The child must start a
/// server of its own.
#[derive(Debug, thiserror::Error)]
#[error("this server was started in process {started_in} and cannot be used in its fork {here}")]
pub struct ForkError {
    /// Process that started the server.
    pub started_in: u32,
    /// Process that used the server.
    pub here: u32,
}
