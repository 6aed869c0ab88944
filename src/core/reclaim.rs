//! Has freed memory given back after a peak.

use std::sync::Arc;
use std::time::Duration;

use crate::env::State;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// Events of an interval that mean load: freed memory is needed again at once, and giving it back
/// would hold up the threads.
const LOAD: u64 = 10_000;

/// Calls [`Config::reclaim`](crate::Config::reclaim) when the load is low, if there was any since the
/// last call. Runs on the first I/O thread.
pub(crate) async fn watch(state: Arc<State>) {
    let Some(reclaim) = state.config.reclaim else { return };
    let mut seen = events(&state);
    let mut idle = true;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = events(&state);
        let since = now.wrapping_sub(std::mem::replace(&mut seen, now));
        if since < LOAD && !(idle && since == 0) {
            // It may take long. A panic of it was reported when it happened.
            let _ = tokio::task::spawn_blocking(reclaim).await;
        }
        idle = since == 0;
    }
}

/// A number that grows with all that takes memory for a while.
fn events(state: &State) -> u64 {
    let (stats, taken) = (state.counters.read(), &state.taken);
    let received = [stats.messages_in, stats.accepted, stats.closed, stats.http_requests, stats.messages_out];
    received.into_iter().chain([taken.messages.read(), taken.closes.read()]).fold(0, u64::wrapping_add)
}
