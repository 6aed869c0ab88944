//! The hub's connection to its broker: the workers' combined interest in topics, the requests for
//! stored publications, and the publications that the broker will send back.

use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc};

use crate::cluster::history::sequence::Sequences;
use crate::config::History;
use sprocket_broker::{BrokerClient, FromBroker, Replay};

/// Publications stored at the broker that exclude a connection and have not yet come back.
const EXCEPTS: usize = 10_000;
/// Time after which such a publication counts as lost.
const EXCEPTS_FOR: Duration = Duration::from_secs(60);
/// Answers that may wait for the hub; each may be the whole history of a topic. While the channel is
/// full, no further request goes to the broker.
const ANSWERS: usize = 4;

/// Purpose of a request for a topic's stored publications.
#[derive(Debug)]
pub(crate) enum ReplayPurpose {
    /// A connection of a worker resumes. The weak reference `asker_alive` expires with the worker's
    /// link, after which the answer is no longer needed.
    Resume { link: u32, ticket: u64, asker_alive: Weak<()> },
    /// Fills a gap: publications are missing or may be missing.
    Fill,
    /// Checks for publications stored after a replay was made but before the subscription was active.
    Look,
}

impl ReplayPurpose {
    /// Whether the answer is no longer needed.
    fn is_abandoned(&self) -> bool {
        matches!(self, Self::Resume { asker_alive, .. } if asker_alive.strong_count() == 0)
    }
}

/// Requests that wait to be sent to the broker, grouped by topic and position, so that one request
/// answers all of a group. After the crash of a node its clients reconnect together, all with about
/// the same position. The limit on open requests bounds their number.
#[derive(Debug, Clone, Default)]
struct Waiting(Arc<StdMutex<Groups>>);

/// Topic and position.
type RequestKey = (String, String);
/// The requests of a group, and the time of the latest.
type Groups = HashMap<RequestKey, (Vec<ReplayPurpose>, Instant)>;

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request to its group. True if it is the first, for which the caller must start a task.
    fn join(&self, key: &RequestKey, question: ReplayPurpose) -> bool {
        let (mut waiting, now) = (self.lock(), Instant::now());
        let (group, last) = waiting.entry(key.clone()).or_insert_with(|| (Vec::new(), now));
        group.push(question);
        *last = now;
        group.len() == 1
    }

    /// Removes and returns a group just before its request is sent, with the time of its latest member.
    /// Later requests form a new group, because this answer may lack the newest publications.
    fn close(&self, key: &RequestKey) -> (Vec<ReplayPurpose>, Instant) {
        self.lock().remove(key).unwrap_or_else(|| (Vec::new(), Instant::now()))
    }
}

/// Topic, purpose and result of a request.
pub(crate) type ReplayAnswer = (String, ReplayPurpose, Replay);

/// The client of a broker, and the receiver of its events.
pub(crate) type BrokerConnection = (Arc<dyn BrokerClient>, mpsc::Receiver<FromBroker>);

/// The hub's connection to its broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) upstream: Arc<dyn BrokerClient>,
    pub(crate) incoming: mpsc::Receiver<FromBroker>,
    answers: (mpsc::Sender<ReplayAnswer>, mpsc::Receiver<ReplayAnswer>),
    /// Held by the task whose request is at the broker, until its answer is in the channel: requests
    /// go out one at a time. The value is when the broker was last found to be disconnected; requests
    /// made before that fail without another attempt.
    turn: Arc<Mutex<Option<Instant>>>,
    waiting: Waiting,
    /// Requests without an answer, other than those of [`ReplayPurpose::Look`].
    pub(crate) asking: usize,
    /// Whether the broker is connected, and the reason for the last change; `None` before the first.
    pub(crate) state: Option<(bool, String)>,
    /// Number of links that are interested in each topic or pattern.
    interest: HashMap<String, u32>,
    /// Order of the topics whose history the broker stores.
    pub(crate) sequences: Sequences,
    /// Stored publications that will come back and exclude a connection, oldest first.
    excepts: VecDeque<Except>,
    /// Keys of the hashes in `excepts`.
    hashes: RandomState,
}

/// A publication of this node that excludes a connection, typically the publisher's own.
#[derive(Debug)]
struct Except {
    /// Hash of topic and payload, by which the publication is recognized when it comes back.
    hash: u64,
    /// Link of the worker with the excluded connection.
    link: u32,
    /// The excluded connection.
    conn: u64,
    /// When the publication was stored.
    at: Instant,
}

impl Broker {
    pub(crate) fn new((upstream, incoming): BrokerConnection) -> Self {
        Self {
            upstream,
            incoming,
            answers: mpsc::channel(ANSWERS),
            turn: Arc::default(),
            waiting: Waiting::default(),
            asking: 0,
            state: None,
            interest: HashMap::new(),
            sequences: Sequences::default(),
            excepts: VecDeque::new(),
            hashes: RandomState::new(),
        }
    }

    /// Takes the next answer, or registers the task to be woken for it.
    pub(crate) fn answer(&mut self, cx: &mut Context<'_>) -> Option<ReplayAnswer> {
        match self.answers.1.poll_recv(cx) {
            Poll::Ready(answer) => {
                if !matches!(answer, Some((_, ReplayPurpose::Look, _))) {
                    self.asking -= 1;
                }
                answer
            }
            Poll::Pending => None,
        }
    }

    /// Requests the publications of a topic after a position, after a delay of `after`. The result
    /// arrives through [`Broker::answer`]. Requests without a delay for the same topic and position
    /// share one request to the broker.
    pub(crate) fn ask(
        &mut self,
        topic: &str,
        position: &str,
        limits: &History,
        question: ReplayPurpose,
        after: Duration,
    ) {
        if !matches!(question, ReplayPurpose::Look) {
            self.asking += 1;
        }
        let key = (topic.to_owned(), position.to_owned());
        // A delayed request must not join a group, whose answer might come before the delay is over.
        let alone = if after.is_zero() {
            if !self.waiting.join(&key, question) {
                return;
            }
            None
        } else {
            Some(question)
        };
        let (limits, waiting) = (limits.clone(), self.waiting.clone());
        let (upstream, answers, turn) = (self.upstream.clone(), self.answers.0.clone(), self.turn.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let asked = Instant::now();
            let mut away = turn.lock().await;
            let alone = alone.map(|question| (vec![question], asked));
            let (questions, asked) = alone.unwrap_or_else(|| waiting.close(&key));
            let (topic, position) = key;
            let replay =
                if questions.iter().all(ReplayPurpose::is_abandoned) || away.is_some_and(|at| asked < at) {
                    Replay::failed("the requests were abandoned, or the broker is disconnected".to_owned())
                } else {
                    let replay = upstream.replay(&topic, &position, &limits).await;
                    if replay.failed.is_some() && !upstream.stats().connected {
                        *away = Some(Instant::now());
                    }
                    replay
                };
            for question in questions {
                // An error means that the hub has ended.
                let _ = answers.send((topic.clone(), question, replay.clone())).await;
            }
        });
    }

    /// Link and connection that a publication from the broker excludes; zeros if none.
    pub(crate) fn except(&mut self, topic: &str, payload: &Bytes, now: Instant) -> (u32, u64) {
        // Publications that did not come back in this time are lost.
        while self.excepts.front().is_some_and(|e| now >= e.at + EXCEPTS_FOR) {
            self.excepts.pop_front();
        }
        if self.excepts.is_empty() {
            return (0, 0);
        }
        let hash = self.hashes.hash_one((topic, &payload[..]));
        let at = self.excepts.iter().position(|e| e.hash == hash);
        at.and_then(|at| self.excepts.remove(at)).map_or((0, 0), |e| (e.link, e.conn))
    }

    /// Records that a stored publication will come back and excludes a connection of a link. Drops the
    /// oldest record if there are too many.
    pub(crate) fn will_except(
        &mut self,
        topic: &str,
        payload: &Bytes,
        (link, conn): (u32, u64),
        now: Instant,
    ) {
        if self.excepts.len() == EXCEPTS {
            self.excepts.pop_front();
        }
        let hash = self.hashes.hash_one((topic, &payload[..]));
        self.excepts.push_back(Except { hash, link, conn, at: now });
    }

    /// Drops the records of a link that has ended.
    pub(crate) fn forget_excepts(&mut self, link: u32) {
        self.excepts.retain(|except| except.link != link);
    }

    /// Adds or removes one link's interest in a topic or pattern, and subscribes with the first or
    /// unsubscribes with the last.
    pub(crate) fn interested(&mut self, name: &str, on: bool) {
        let n = self.interest.entry(name.to_owned()).or_insert(0);
        if on {
            *n += 1;
            if *n == 1 {
                self.upstream.interest(name, true);
            }
        } else {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.interest.remove(name);
                self.upstream.interest(name, false);
            }
        }
    }
}
