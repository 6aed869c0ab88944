//! The command line.

use crate::tls::Tls;
use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const USAGE: &str = "\
usage: wsload MODE --url ws://127.0.0.1:PORT/ [option…]; wss:// accepts any certificate

modes
  echo        a server that sends each message back
                --window N     messages in flight on each connection (1)
                --rate R       instead: R messages a second in all, sent when due, answered or not
                --idle N       N further connections that do nothing (0)
  fanout      a server that sends each message to every connection; the last one publishes
                --rate R|max   messages a second, or as fast as they are delivered (max)
                --inflight N   messages in flight with `max` (8)
  chat        a server whose first message from a connection names a room (and is sent back), and
              that sends each further message to all in the room
                --rooms N      (100)
                --rate R|max   messages a second over all rooms; max: one in flight in each room
  idle        opens connections, keeps them, answers pings
                --settle S     seconds between opening and measuring (1)
                --close        finally closes them all with a closing handshake
  handshakes  opens connections and closes them at once, over and over
  watch       a server that publishes numbered messages: ten hex digits, two for the stream
              and eight that count from 0 in each, then a blank, perhaps a position and a blank
                --streams N    number of streams (1)
                --count N      messages of each stream (1000)
                --reopen       reopen connections that end, with ?after=POSITION
                --settle S     give up when no message arrives for S seconds (1)

common
  --connections N   --size BYTES   --seconds S   --warmup S   --concurrency N (handshakes at once)
  --pid P[,P…]      the server's processes; descendants are included
  --binary          binary messages instead of text
  --resume          with wss://: resume TLS sessions instead of full handshakes
  --json            the report as JSON on standard output";

/// The kind of load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Echo,
    Fanout,
    Chat,
    Idle,
    Handshakes,
    Watch,
}

/// The parsed command line.
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) target: SocketAddrV4,
    /// TLS, for a `wss://` URL.
    pub(crate) tls: Option<Tls>,
    pub(crate) path: String,
    pub(crate) connections: usize,
    pub(crate) size: usize,
    pub(crate) measured: Duration,
    pub(crate) warmup: Duration,
    pub(crate) settle: Duration,
    pub(crate) window: usize,
    /// Messages per second; `None` for as fast as possible.
    pub(crate) rate: Option<f64>,
    pub(crate) inflight: u64,
    pub(crate) rooms: usize,
    pub(crate) idle: usize,
    pub(crate) concurrency: usize,
    pub(crate) close: bool,
    pub(crate) streams: usize,
    pub(crate) count: u32,
    pub(crate) reopen: bool,
    pub(crate) pids: Vec<i32>,
    pub(crate) binary: bool,
    pub(crate) json: bool,
}

impl Options {
    pub(crate) fn parse() -> Result<Self> {
        let mut args = lexopt::Parser::from_env();
        let mode = match args.next()? {
            Some(Value(name)) => match name.string()?.as_str() {
                "echo" => Mode::Echo,
                "fanout" => Mode::Fanout,
                "chat" => Mode::Chat,
                "idle" => Mode::Idle,
                "handshakes" => Mode::Handshakes,
                "watch" => Mode::Watch,
                other => bail!("no mode {other:?}\n{USAGE}"),
            },
            _ => bail!("{USAGE}"),
        };
        let mut options = Self::defaults(mode);
        let (mut url, mut resume) = (None, false);
        while let Some(arg) = args.next()? {
            match arg {
                Long("url") => url = Some(args.value()?.string()?),
                Long("connections") => options.connections = args.value()?.parse()?,
                Long("size") => options.size = args.value()?.parse()?,
                Long("seconds") => options.measured = seconds(&mut args)?,
                Long("warmup") => options.warmup = seconds(&mut args)?,
                Long("settle") => options.settle = seconds(&mut args)?,
                Long("window") => options.window = args.value()?.parse()?,
                Long("rate") => options.rate = rate(&args.value()?.string()?)?,
                Long("inflight") => options.inflight = args.value()?.parse()?,
                Long("rooms") => options.rooms = args.value()?.parse()?,
                Long("idle") => options.idle = args.value()?.parse()?,
                Long("concurrency") => options.concurrency = args.value()?.parse()?,
                Long("close") => options.close = true,
                Long("streams") => options.streams = args.value()?.parse()?,
                Long("count") => options.count = args.value()?.parse()?,
                Long("reopen") => options.reopen = true,
                Long("binary") => options.binary = true,
                Long("resume") => resume = true,
                Long("json") => options.json = true,
                Long("pid") => {
                    let list = args.value()?.string()?;
                    options.pids = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                Long("help") => bail!("{USAGE}"),
                other => return Err(other.unexpected().into()),
            }
        }
        options.set_url(&url.context("--url is missing")?, resume)?;
        options.check()?;
        Ok(options)
    }

    fn defaults(mode: Mode) -> Self {
        let connections = match mode {
            Mode::Echo => 100,
            Mode::Fanout | Mode::Chat | Mode::Watch => 1000,
            Mode::Idle => 10_000,
            Mode::Handshakes => 64,
        };
        Self {
            mode,
            target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
            tls: None,
            path: "/".into(),
            connections,
            size: if mode == Mode::Fanout { 64 } else { 32 },
            measured: Duration::from_secs(5),
            warmup: Duration::from_secs(1),
            settle: Duration::from_secs(1),
            window: 1,
            rate: None,
            inflight: 8,
            rooms: 100,
            idle: 0,
            concurrency: 64,
            close: false,
            streams: 1,
            count: 1000,
            reopen: false,
            pids: Vec::new(),
            binary: false,
            json: false,
        }
    }

    fn set_url(&mut self, url: &str, resume: bool) -> Result<()> {
        let rest = match url.strip_prefix("wss://") {
            Some(rest) => {
                self.tls = Some(Tls::new(resume)?);
                rest
            }
            None => url.strip_prefix("ws://").context("the URL must begin with ws:// or wss://")?,
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        self.target = authority.parse().with_context(|| format!("not IPv4:PORT: {authority}"))?;
        self.path = format!("/{path}");
        if !self.target.ip().is_loopback() {
            bail!("the target must be a loopback address, not {}", self.target.ip());
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let positive = [self.connections, self.window, self.rooms, self.concurrency, self.streams];
        if positive.contains(&0) || self.inflight == 0 || self.count == 0 {
            bail!("connections, window, inflight, rooms, concurrency, streams and count are at least 1");
        }
        if self.streams > 256 {
            bail!("at most 256 streams");
        }
        if self.mode == Mode::Fanout && self.size < crate::groups::STAMP {
            bail!("a fan-out message has at least {} bytes", crate::groups::STAMP);
        }
        if self.inflight > crate::groups::MAX_UNDER_WAY {
            bail!("at most {} messages in flight", crate::groups::MAX_UNDER_WAY);
        }
        Ok(())
    }
}

fn seconds(args: &mut lexopt::Parser) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(args.value()?.parse()?)?)
}

fn rate(text: &str) -> Result<Option<f64>> {
    if text == "max" {
        return Ok(None);
    }
    let rate: f64 = text.parse()?;
    if !(rate > 0.0 && rate <= 1e6) {
        bail!("a rate is above 0 and at most a million a second, or max");
    }
    Ok(Some(rate))
}
