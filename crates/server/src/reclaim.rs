//! Has freed memory given back after a peak.

use std::time::Duration;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// Events of an interval that mean load: freed memory is needed again at once, and giving it back
/// would hold up the threads.
const LOAD: u64 = 10_000;

/// Calls `reclaim` when the load is low, if there was any since the last call. `events` gives a number
/// that grows with all that takes memory for a while.
pub(crate) async fn watch(reclaim: Option<fn()>, events: impl Fn() -> u64) {
    let Some(reclaim) = reclaim else { return };
    let mut seen = events();
    let mut idle = true;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = events();
        let since = now.wrapping_sub(std::mem::replace(&mut seen, now));
        if since < LOAD && !(idle && since == 0) {
            // It may take long. A panic of it was reported when it happened.
            let _ = tokio::task::spawn_blocking(reclaim).await;
        }
        idle = since == 0;
    }
}
