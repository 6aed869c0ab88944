//! Reads certificates and keys again when their files change.

use std::sync::Arc;

use crate::blocking;
use crate::metrics::counters::Counters;
use crate::state::State;
use crate::thread::report::log_tls_reloaded;

/// Checks the files at the interval that [`TlsState`](crate::net::tls::TlsState) has, if it has one.
/// A change that can't be used is counted, and tried again at the next change: certificate and key
/// are rarely replaced at the same instant. Runs on the first I/O thread.
pub(crate) async fn watch(state: Arc<State>) {
    let Some(interval) = state.tls.as_ref().and_then(|tls| tls.watch_interval()) else { return };
    let mut last = None;
    loop {
        let state = state.clone();
        // Runs on another thread: files may be slow, and decrypting a key takes long by design.
        let check = blocking::spawn(move || {
            let Some(tls) = &state.tls else { return (last, None) };
            let current = Some(tls.stamps());
            let reloaded = (last.is_some() && last != current).then(|| tls.reload());
            if let Some(Err(_)) = reloaded {
                Counters::one(&state.counters.tls_reload_errors);
            }
            (current, reloaded)
        });
        let Ok((current, reloaded)) = check.await else { return };
        last = current;
        if let Some(reloaded) = reloaded {
            log_tls_reloaded(&reloaded);
        }
        tokio::time::sleep(interval).await;
    }
}
