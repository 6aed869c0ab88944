//! One error type per operation.

use std::io;
use std::path::PathBuf;

use sprocket_broker::BrokerUrlError;
use sprocket_protocol::pem::PemError;
pub use sprocket_protocol::topic::TopicError;

/// A listener could not be opened. The host should tell its user, who frees the address or
/// chooses another.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address as the host gave it.
    pub address: String,
    /// The operating system's reason.
    pub source: io::Error,
}

/// A server did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates or keys can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The directory of static files can't be opened.
    #[error("cannot serve the files of {path}: {source}")]
    Files {
        /// The directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The node, or the broker, can't be joined.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The threads or the descriptors that the event path needs could not be had.
    #[error("cannot start the I/O threads: {0}")]
    Runtime(#[from] io::Error),
}

/// Certificates or keys can't be used. At a reload those in force stay in force.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A listener wants TLS and there are no settings for it.
    #[error("{address} needs a certificate, and none is set")]
    Missing {
        /// The listener.
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
    /// A certificate was set for a host that it is not valid for.
    #[error("the certificate in {path} is not valid for the host {host}")]
    Host {
        /// The host.
        host: String,
        /// File of the certificate.
        path: PathBuf,
    },
    /// The library refused its own settings.
    #[error("cannot set up TLS: {0}")]
    Setup(rustls::Error),
}

/// A message could not be published, or not to everybody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishFailed {
    /// No message can be published to this name.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// Too much waits for the hub of the node: publish less, or later.
    #[error(
        "what waits for the other workers would exceed {limit} bytes; the message was delivered {}",
        if *delivered_here { "on this worker only" } else { "to nobody" }
    )]
    QueueFull {
        /// The subscribers of this worker have got it.
        delivered_here: bool,
        /// [`Config::cluster_queue`](crate::Config), or [`HubConfig::queue`](crate::HubConfig) where that is less.
        limit: usize,
    },
}

/// A worker can't work together with the hub of its node.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Nobody listens there, or doesn't answer.
    #[error("cannot reach the hub at {path}: {source}")]
    Unreachable {
        /// Its socket.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The hub gave a reason not to: another version, mostly.
    #[error("the hub at {path} refused this worker: {why}")]
    Refused {
        /// Its socket.
        path: PathBuf,
        /// A sentence.
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

/// An I/O thread has died. That is a bug of the server: report it with the message of the panic.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an I/O thread of the server has died of a panic, whose message is on the standard error output")]
pub struct ThreadDied;

/// The server belongs to the parent of this process: threads don't survive a fork. Start a
/// server of its own in the child.
#[derive(Debug, thiserror::Error)]
#[error("this server was started in process {started_in} and cannot be used in its fork {here}")]
pub struct ForkError {
    /// The process that started the server.
    pub started_in: u32,
    /// The process that called.
    pub here: u32,
}
