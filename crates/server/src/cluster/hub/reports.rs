//! The hub's counters, and the reports that it sends to the workers once a second.

use std::io;

use super::Hub;
use crate::cluster::hub_config::HUB;
use crate::cluster::wire::Down;
use crate::metrics::counters::Stats;

impl Hub {
    /// Counts a lost publication.
    pub(super) fn count_lost(&mut self) {
        self.stats.unpublished += 1;
        self.stats_changed = true;
    }

    /// Sends the reports that are due once a second, where something has changed: to each worker the
    /// number of its publications that are processed, and to all the counters of the others and of
    /// the hub.
    pub(crate) fn tick(&mut self) {
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            if link.handled_sent != link.handled {
                link.handled_sent = link.handled;
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
        // The backlog for the broker shrinks without a further call, and must then be reported again.
        self.stats_changed = stats.broker_waiting_bytes > 0;
        let values = stats.values();
        if values != self.sent_stats {
            self.sent_stats.clone_from(&values);
            self.send_all(&Down::Stats { link: 0, slot: HUB, values }.encode(), 0);
        }
    }

    /// The counters of the hub: its own, those of workers that have ended, and those of the broker's
    /// client.
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

    /// Whether [`Hub::tick`] has something to report.
    pub(crate) fn has_changed(&self) -> bool {
        self.stats_changed || self.links.iter().any(|l| l.handled_sent != l.handled || l.stats_changed)
    }

    /// Counts the end of a worker's connection if the worker violated the protocol. Errors of the
    /// decoder have the kind `Other`.
    pub(crate) fn count_end(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::Other {
            self.stats.bus_errors += 1;
            self.stats_changed = true;
        }
    }

    /// Counts a worker that was disconnected because it did not read.
    pub(crate) fn count_cut(&mut self) {
        self.stats.bus_cut += 1;
        self.stats_changed = true;
    }
}
