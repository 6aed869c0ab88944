//! The greeting between a worker and its hub: blocking when the server starts, before there is a
//! runtime, and as part of the link's task when it reconnects.

use bytes::Bytes;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::cluster::hub::{fingerprint, random};
use crate::cluster::hub_config::HubConfig;
use crate::cluster::wire::pipe::Pipe;
use crate::cluster::wire::{Down, Up, VERSION};
use crate::config::{ClusterMember, Config, History};
use crate::error::{ClusterError, StartError};
use crate::metrics::counters::Stats;

/// Time for the hub to answer a greeting, and at the start of the server also for the hub to appear.
pub(super) const GREETING: Duration = Duration::from_secs(5);
/// Shortest pause between attempts to connect to the hub.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Identity of a worker, which it sends to the hub in each `Hello`.
#[derive(Debug, Clone)]
pub(super) struct WorkerIdentity {
    /// Number of the worker on the node.
    slot: u16,
    /// Random number of this start of the server.
    instance: u64,
    /// Fingerprint of the settings for topics with history.
    history: String,
}

impl WorkerIdentity {
    fn new(slot: u16, history: &[(String, History)]) -> io::Result<Self> {
        Ok(Self { slot, instance: random()?, history: fingerprint(history) })
    }

    /// The encoded `Hello`.
    pub(super) fn hello(&self) -> Bytes {
        let (slot, instance, history) = (self.slot, self.instance, self.history.as_str());
        Up::Hello { version: VERSION, slot, instance, counters: Stats::layout(), history }.encode()
    }
}

/// A hub's answer to a worker that it accepts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Welcome {
    /// Whether the hub has a broker.
    pub(super) broker: bool,
    /// Bytes of the largest publication that the hub accepts.
    pub(super) limit: usize,
}

impl Welcome {
    fn new(broker: bool, limit: u64) -> Self {
        Self { broker, limit: usize::try_from(limit).unwrap_or(usize::MAX) }
    }
}

/// A connection to a hub, made before there is a runtime. The first I/O thread turns it into the link
/// ([`run`](super::run)).
#[derive(Debug)]
pub(crate) struct HubConnection {
    pub(super) identity: WorkerIdentity,
    /// Path of the hub's socket, already greeted. `None` for a hub in this process, which is greeted
    /// when the link's task runs.
    pub(super) path: Option<PathBuf>,
    pub(super) stream: StdStream,
    pub(super) welcome: Welcome,
    /// Settings and socket of a hub in this process, which the link's task starts.
    pub(super) hub: Option<(HubConfig, StdStream)>,
}

impl HubConnection {
    /// Connects to the node's hub, or prepares one in this process if the settings need a hub but name
    /// no node. `None` if they need none.
    ///
    /// # Errors
    /// The hub is unreachable or refuses this worker, or the broker's settings are invalid.
    pub(crate) fn by(config: &Config) -> Result<Option<Self>, StartError> {
        match &config.cluster {
            Some(member) => Ok(Some(Self::node(member, config)?)),
            None if config.history.is_empty() && config.broker.is_none() => Ok(None),
            None => Self::inside(config).map(Some),
        }
    }

    /// Prepares a hub in this process, connected by a socket pair.
    fn inside(config: &Config) -> Result<Self, StartError> {
        if let Some(broker) = &config.broker {
            broker.check().map_err(ClusterError::from)?;
        }
        let (stream, theirs) = StdStream::pair()?;
        let hub = HubConfig {
            history: config.history.clone(),
            broker: config.broker.clone(),
            queue: config.cluster_queue,
            reclaim: None,
        };
        let identity = WorkerIdentity::new(0, &config.history)?;
        let limit = config.cluster_queue;
        Ok(Self {
            identity,
            path: None,
            stream,
            welcome: Welcome { broker: false, limit },
            hub: Some((hub, theirs)),
        })
    }

    /// Connects to the hub of a node, and waits up to [`GREETING`] for it to appear.
    fn node(member: &ClusterMember, config: &Config) -> Result<Self, StartError> {
        let identity = WorkerIdentity::new(member.slot, &config.history)?;
        let deadline = Instant::now() + GREETING;
        loop {
            match greet(member, &identity, deadline) {
                Ok((stream, welcome)) => {
                    let path = Some(member.path.clone());
                    return Ok(Self { identity, path, stream, welcome, hub: None });
                }
                // The hub may still be starting.
                Err(ClusterError::Unreachable { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(SHORTEST_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Connects, sends the `Hello` and reads exactly the frame of the answer; later frames stay in the
/// socket for the link.
fn greet(
    member: &ClusterMember,
    identity: &WorkerIdentity,
    deadline: Instant,
) -> Result<(StdStream, Welcome), ClusterError> {
    let path = &member.path;
    let exchange = || {
        let mut stream = StdStream::connect(path)?;
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        stream.set_write_timeout(Some(left))?;
        stream.write_all(&identity.hello())?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > 4096 {
            return Err(io::Error::other("the process that listens there is not a hub"));
        }
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame)?;
        stream.set_nonblocking(true)?;
        Ok((stream, frame))
    };
    let (stream, frame) =
        exchange().map_err(|source| ClusterError::Unreachable { path: path.clone(), source })?;
    match Down::decode(&frame) {
        Ok(Down::Welcome { broker, limit }) => Ok((stream, Welcome::new(broker, limit))),
        Ok(Down::TurnedAway { why }) => {
            Err(ClusterError::Refused { path: path.clone(), why: why.to_owned() })
        }
        _ => {
            let why = "its answer is not that of a hub".to_owned();
            Err(ClusterError::Refused { path: path.clone(), why })
        }
    }
}

/// Sends the queued `Hello` and resolves with the hub's answer.
///
/// # Errors
/// The hub refuses this worker (`PermissionDenied`), or the connection failed.
pub(super) fn greeted(pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<io::Result<Welcome>> {
    let _ = pipe.poll_flush(cx);
    loop {
        if let Some(frame) = pipe.next()? {
            return Poll::Ready(match Down::decode(&frame).map_err(io::Error::other)? {
                Down::Welcome { broker, limit } => Ok(Welcome::new(broker, limit)),
                Down::TurnedAway { why } => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
                _ => Err(io::Error::other("the hub did not answer the greeting")),
            });
        }
        ready!(pipe.poll_read(cx))?;
    }
}
