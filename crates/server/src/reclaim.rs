//! Returns freed memory to the operating system after a peak of load.

use crate::blocking;
use std::time::Duration;

/// Interval between two checks of the load.
const INTERVAL: Duration = Duration::from_secs(5);
/// Number of events in an interval above which the server counts as loaded. The freed memory would soon be
/// needed again, and returning it would delay the threads.
const LOAD: u64 = 10_000;

/// Runs in a server, or in the hub of a node, until it stops. Calls `reclaim` once the load is low, if there
/// was any activity since the last call. `events` returns a number that grows with all activity that
/// allocates memory.
pub(crate) async fn watch(reclaim: Option<fn()>, events: impl Fn() -> u64) {
    let Some(reclaim) = reclaim else { return };
    let mut seen = events();
    let mut idle = true;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = events();
        let since = now.wrapping_sub(std::mem::replace(&mut seen, now));
        if since < LOAD && !(idle && since == 0) {
            // The call may take long, so it runs on a thread of its own. A panic in it has already been
            // reported.
            let _ = blocking::spawn(reclaim).await;
        }
        idle = since == 0;
    }
}
