//! What is counted, and what of it the workers are told once a second.

use std::io;

use super::Hub;
use crate::cluster::config::HUB;
use crate::cluster::wire::Down;
use crate::metrics::counters::Stats;

impl Hub {
    /// A publication is lost.
    pub(super) fn give_up(&mut self) {
        self.stats.unpublished += 1;
        self.stats_changed = true;
    }

    /// Tells what is told once a second. Returns whether there was anything.
    pub(crate) fn tick(&mut self) {
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            if link.told != link.handled {
                link.told = link.handled;
                link.push(Down::Handled { publications: link.handled }.encode());
            }
            if std::mem::take(&mut link.stats_changed)
                && let Some(worker) = link.worker
            {
                let values = link.stats.clone();
                let (id, frame) = (link.id, Down::Stats { link: link.id, slot: worker.slot, values });
                self.send_all(&frame.encode(), id);
            }
        }
        let stats = self.all_stats();
        // What waits for the broker gets less by itself.
        self.stats_changed = stats.broker_waiting_bytes > 0;
        let values = stats.values();
        if values != self.sent_stats {
            self.sent_stats.clone_from(&values);
            self.send_all(&Down::Stats { link: 0, slot: HUB, values }.encode(), 0);
        }
    }

    fn all_stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        self.ended.iter().for_each(|(_, ended)| stats.add(ended));
        let (topics, bytes) = self.store.size();
        stats.history_topics = topics as u64;
        stats.history_bytes = bytes as u64;
        if let Some(broker) = &self.broker {
            let counts = broker.upstream.stats();
            stats.broker_connected = matches!(broker.state, Some((true, _))).into();
            stats.broker_published = counts.published;
            stats.broker_received = counts.received;
            stats.broker_waiting_bytes = counts.queued_bytes;
            stats.broker_refused = counts.queue_full;
            stats.broker_lost = counts.lost;
            stats.broker_duplicates = counts.duplicates;
            stats.broker_reconnects = counts.reconnects;
        }
        stats
    }

    /// Whether [`Hub::tick`] has something to tell.
    pub(crate) fn has_news(&self) -> bool {
        self.stats_changed || self.links.iter().any(|l| l.told != l.handled || l.stats_changed)
    }

    /// Why a worker's connection is over, for its counter.
    pub(crate) fn count_end(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::Other {
            self.stats.bus_errors += 1;
            self.stats_changed = true;
        }
    }

    pub(crate) fn cut(&mut self) {
        self.stats.bus_cut += 1;
        self.stats_changed = true;
    }
}
