//! What was seen from other nodes already, so that they may send again what they aren't sure of.

use std::collections::HashMap;

/// Nodes that are remembered; past it the half that was quiet for longest is forgotten. A node has
/// a new number each time it starts.
const MOST: usize = 16_384;

/// The last sequence number of each node.
///
/// A node numbers its publications and sends them in order, and those of which it does not know
/// whether the broker has carried them out it sends again, in order, before anything new. So
/// whoever has seen a number has seen, or was not meant to see, all below it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Number, and when it was last heard in the clock below.
    last: HashMap<u64, (u64, u64)>,
    clock: u64,
}

impl Seen {
    /// False: it was seen before. 0 is not a number.
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
        let mut seen = Seen::default();
        let told = [3, 4, 4, 3, 6, 5, 7].map(|number| seen.is_new(1, number));
        assert_eq!(told, [true, true, false, false, true, false, true]);
        assert!(seen.is_new(2, 1) && seen.is_new(1, 0) && seen.is_new(1, 0));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_who_speaks() {
        let mut seen = Seen::default();
        for node in 0..3 * MOST as u64 {
            assert!(seen.is_new(node, 1));
            assert_eq!(seen.is_new(0, 9), node == 0);
            assert!(seen.last.len() <= MOST);
        }
    }
}
