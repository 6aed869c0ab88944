//! What a worker and its hub say of themselves first: before there is a runtime, and when it comes back.

use bytes::Bytes;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::cluster::config::HubConfig;
use crate::cluster::hub::{fingerprint, random};
use crate::cluster::wire::pipe::Pipe;
use crate::cluster::wire::{Down, Up, VERSION};
use crate::config::{ClusterMember, Config, History};
use crate::error::{ClusterError, StartError};
use crate::metrics::counters::Stats;

/// For the hub to answer, and for it to be there at the start.
pub(super) const GREETING: Duration = Duration::from_secs(5);
/// The shortest pause between attempts to reach it.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// A worker as it introduces itself.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    slot: u16,
    instance: u64,
    history: String,
}

impl Identity {
    fn new(slot: u16, history: &[(String, History)]) -> io::Result<Self> {
        Ok(Self { slot, instance: random()?, history: fingerprint(history) })
    }

    pub(super) fn hello(&self) -> Bytes {
        let (slot, instance, history) = (self.slot, self.instance, self.history.as_str());
        Up::Hello { version: VERSION, slot, instance, counters: Stats::layout(), history }.encode()
    }
}

/// What a hub says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Welcome {
    pub(super) broker: bool,
    /// Bytes of a publication.
    pub(super) limit: usize,
}

impl Welcome {
    fn new(broker: bool, limit: u64) -> Self {
        Self { broker, limit: usize::try_from(limit).unwrap_or(usize::MAX) }
    }
}

/// The way to a hub, before there is a runtime.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(super) identity: Identity,
    /// `None`: the hub is in this process, and has not said hello.
    pub(super) path: Option<PathBuf>,
    pub(super) stream: StdStream,
    pub(super) welcome: Welcome,
    pub(super) hub: Option<(HubConfig, StdStream)>,
}

impl Joined {
    /// The way to the hub that a server with these settings has, if it has one.
    pub(crate) fn by(config: &Config) -> Result<Option<Self>, StartError> {
        match &config.cluster {
            Some(member) => Ok(Some(Self::node(member, config)?)),
            None if config.history.is_empty() && config.broker.is_none() => Ok(None),
            None => Self::inside(config).map(Some),
        }
    }

    /// To a hub in this process.
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
        let identity = Identity::new(0, &config.history)?;
        let limit = config.cluster_queue;
        Ok(Self {
            identity,
            path: None,
            stream,
            welcome: Welcome { broker: false, limit },
            hub: Some((hub, theirs)),
        })
    }

    /// To the hub of a node, awaited for some seconds.
    fn node(member: &ClusterMember, config: &Config) -> Result<Self, StartError> {
        let identity = Identity::new(member.slot, &config.history)?;
        let deadline = Instant::now() + GREETING;
        loop {
            match greet(member, &identity, deadline) {
                Ok((stream, welcome)) => {
                    let path = Some(member.path.clone());
                    return Ok(Self { identity, path, stream, welcome, hub: None });
                }
                // It may just be starting.
                Err(ClusterError::Unreachable { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(SHORTEST_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Says hello and reads the answer, and nothing behind it.
fn greet(
    member: &ClusterMember,
    identity: &Identity,
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
            return Err(io::Error::other("what listens there is not a hub"));
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
            let why = "it does not speak the protocol of a hub".to_owned();
            Err(ClusterError::Refused { path: path.clone(), why })
        }
    }
}

/// The hub's answer; `PermissionDenied` if it refuses.
pub(super) fn greeted(pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<io::Result<Welcome>> {
    let _ = pipe.poll_flush(cx);
    loop {
        if let Some(frame) = pipe.next()? {
            return Poll::Ready(match Down::decode(&frame).map_err(io::Error::other)? {
                Down::Welcome { broker, limit } => Ok(Welcome::new(broker, limit)),
                Down::TurnedAway { why } => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
                _ => Err(io::Error::other("the hub did not say hello")),
            });
        }
        ready!(pipe.poll_read(cx))?;
    }
}
