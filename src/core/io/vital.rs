//! Notices panics of what an I/O thread cannot do without.
//!
//! The runtime catches the panic of a task and goes on without it: nobody would take the host's
//! commands any more, accept, or answer a connection, and the host would wait for ever.

use super::IO;

/// Held while something runs whose panic must end the server. The host is then woken, and learns of
/// it from [`Server::check_threads`](crate::Server::check_threads).
pub(crate) struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would abort the process, so nothing here may cause one.
            let _ = IO.try_with(|io| {
                if let Ok(Some(io)) = io.try_borrow().as_deref() {
                    io.env.server.die();
                    // The thread itself must end, too, even if nobody takes its commands any more.
                    io.quit.notify_one();
                }
            });
        }
    }
}
