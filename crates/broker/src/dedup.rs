//! Deduplicates the publications of other nodes, which nodes repeat after a reconnect.

use std::collections::HashMap;

/// Maximum number of remembered nodes; beyond it, the half that was silent for longest is forgotten.
/// A node has a new number after each start.
const MOST: usize = 16_384;

/// The highest number received from each node.
///
/// A node numbers its publications and sends them in order. When the connection breaks, it sends the
/// unconfirmed ones again, in order, before any new one. So when a number has arrived, all lower ones
/// have arrived before it or do not concern this node.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    /// Highest number of each node, and the value of `clock` at its last publication.
    last: HashMap<u64, (u64, u64)>,
    /// Counts the publications.
    clock: u64,
}

impl Dedup {
    /// Returns false for a duplicate. The number 0 stands for an unnumbered message, which is always
    /// new.
    pub(super) fn is_new(&mut self, node: u64, number: u64) -> bool {
        if number == 0 {
            return true;
        }
        self.clock += 1;
        let clock = self.clock;
        if let Some((last, heard)) = self.last.get_mut(&node) {
            *heard = clock;
            let new = number > *last;
            *last = number.max(*last);
            return new;
        }
        if self.last.len() >= MOST {
            self.forget_half();
        }
        self.last.insert(node, (number, clock));
        true
    }

    fn forget_half(&mut self) {
        let mut heard: Vec<u64> = self.last.values().map(|(_, heard)| *heard).collect();
        let middle = heard.len() / 2;
        let (_, median, _) = heard.select_nth_unstable(middle);
        let median = *median;
        self.last.retain(|_, (_, heard)| *heard >= median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut dedup = Dedup::default();
        let new = [3, 4, 4, 3, 6, 5, 7].map(|number| dedup.is_new(1, number));
        assert_eq!(new, [true, true, false, false, true, false, true]);
        assert!(dedup.is_new(2, 1) && dedup.is_new(1, 0) && dedup.is_new(1, 0));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_active_nodes() {
        let mut dedup = Dedup::default();
        for node in 0..3 * MOST as u64 {
            assert!(dedup.is_new(node, 1));
            assert_eq!(dedup.is_new(0, 9), node == 0);
            assert!(dedup.last.len() <= MOST);
        }
    }
}
