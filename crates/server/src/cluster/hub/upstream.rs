//! What the hub knows of its broker: whose interest it passes on, what it has asked, and what it
//! expects back.

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

/// Own publications to the broker's history that exclude a connection, and until when they are
/// expected back.
const EXCEPTS: usize = 10_000;
const EXCEPTS_FOR: Duration = Duration::from_secs(60);
/// Answers that wait for the hub to take them; each may be a whole history. Beyond that the broker
/// is asked nothing.
const ANSWERS: usize = 4;

/// A question to the broker.
#[derive(Debug)]
pub(crate) enum Question {
    /// Asked for a worker's connection. Nobody waits for the answer once `asker_alive` has gone
    /// with the worker's link.
    Resume {
        link: u32,
        ticket: u64,
        asker_alive: Weak<()>,
    },
    Fill,
    Look,
}

impl Question {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool {
        matches!(self, Self::Resume { asker_alive, .. } if asker_alive.strong_count() == 0)
    }
}

/// Who has asked the same, and waits for the broker to be asked: when a node has died, all its
/// clients come back with the position of the same moment. The answer to one that was asked after
/// them is theirs, too; they are no more than there may be questions.
#[derive(Debug, Clone, Default)]
struct Waiting(Arc<StdMutex<Groups>>);

/// Topic and position.
type Key = (String, String);
/// Who has asked, and when the last one did.
type Groups = HashMap<Key, (Vec<Question>, Instant)>;

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True: somebody must ask for them.
    fn join(&self, key: &Key, question: Question) -> bool {
        let (mut waiting, now) = (self.lock(), Instant::now());
        let (together, last) = waiting.entry(key.clone()).or_insert_with(|| (Vec::new(), now));
        together.push(question);
        *last = now;
        together.len() == 1
    }

    /// Those who have asked until now, and when the last one did; who comes later needs a later answer.
    fn close(&self, key: &Key) -> (Vec<Question>, Instant) {
        self.lock().remove(key).unwrap_or_else(|| (Vec::new(), Instant::now()))
    }
}

/// Its answer.
pub(crate) type Answer = (String, Question, Replay);

/// The client of a broker, and the receiver of its events.
pub(crate) type Connected = (Arc<dyn BrokerClient>, mpsc::Receiver<FromBroker>);

/// The connection to a broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) upstream: Arc<dyn BrokerClient>,
    pub(crate) incoming: mpsc::Receiver<FromBroker>,
    answers: (mpsc::Sender<Answer>, mpsc::Receiver<Answer>),
    /// Who asks the broker, one at a time, until the answer has its place; and when the broker was
    /// last found to be away: who has waited since before need not try again.
    turn: Arc<Mutex<Option<Instant>>>,
    waiting: Waiting,
    /// Questions under way that somebody waits for.
    pub(crate) asking: usize,
    /// Whether it is there, and why not, once it has said so.
    pub(crate) state: Option<(bool, String)>,
    /// Links that are interested in each name.
    interest: HashMap<String, u32>,
    pub(crate) sequences: Sequences,
    /// Own publications that will come back, and whom they exclude.
    excepts: VecDeque<Except>,
    /// Makes the hashes of publications.
    hashes: RandomState,
}

#[derive(Debug)]
struct Except {
    /// Of the topic and the payload, which may be large.
    hash: u64,
    link: u32,
    conn: u64,
    at: Instant,
}

impl Broker {
    pub(crate) fn new((upstream, incoming): Connected) -> Self {
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

    pub(crate) fn answer(&mut self, cx: &mut Context<'_>) -> Option<Answer> {
        match self.answers.1.poll_recv(cx) {
            Poll::Ready(answer) => {
                if !matches!(answer, Some((_, Question::Look, _))) {
                    self.asking -= 1;
                }
                answer
            }
            Poll::Pending => None,
        }
    }

    /// Asks what a topic holds behind a position, at once or after a while.
    pub(crate) fn ask(
        &mut self,
        topic: &str,
        position: &str,
        limits: &History,
        question: Question,
        after: Duration,
    ) {
        if !matches!(question, Question::Look) {
            self.asking += 1;
        }
        let key = (topic.to_owned(), position.to_owned());
        // A question that comes later on purpose must not be answered before.
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
            let replay = if questions.iter().all(Question::is_abandoned) || away.is_some_and(|at| asked < at)
            {
                Replay::failed("nobody waits for the answer, or the broker is away".to_owned())
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

    /// Whom a publication that came back excludes.
    pub(crate) fn except(&mut self, topic: &str, payload: &Bytes, now: Instant) -> (u32, u64) {
        // What has not come back by then, got lost.
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

    /// A publication will come back, and is to leave out a connection of a link.
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

    pub(crate) fn forget_excepts(&mut self, link: u32) {
        self.excepts.retain(|except| except.link != link);
    }

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
