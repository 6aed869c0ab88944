//! Starts a server: checks the settings, binds the listeners, builds the state that all threads
//! share, and spawns the I/O threads.

use crossbeam_channel::bounded;
use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::Server;
use super::listeners::Listeners;
use crate::blocking;
use crate::config::Config;
use crate::error::{StartError, TlsError};
use crate::hub_link::HubConnection;
use crate::metrics::callback_times::Stopwatch;
use crate::net::listener::Listener;
use crate::net::tls::TlsState;
use crate::publish_socket::{OpenPublishSocket, PublishListener};
use crate::state::State;
use crate::static_files::StaticFiles;
use crate::topics::registry::Topics;

/// Most I/O threads of a server: bit sets of threads are 64 bits wide.
const MAX_THREADS: usize = 64;

impl Server {
    /// Binds the listeners and spawns the I/O threads. The threads inherit the caller's signal mask:
    /// to receive signals on its own thread, the host blocks them around this call.
    ///
    /// # Errors
    /// The server can't listen on an address, a certificate, key or directory can't be read, or the
    /// system has no more descriptors or threads. Nothing is left running in that case.
    pub fn start(mut config: Config, listeners: impl Into<Listeners>) -> Result<Server, StartError> {
        keep_freed_memory();
        config.bound_times();
        blocking::block_signals_by(config.block_signals);
        let backlog = config.backlog;
        let tls = config.tls.take().map(TlsState::load).transpose()?;
        let Listeners { clients, publishers } = listeners.into();
        let listeners = clients
            .into_iter()
            .map(|listen| Listener::open(listen, backlog))
            .collect::<Result<Vec<_>, _>>()?;
        if tls.is_none()
            && let Some(listener) = listeners.iter().find(|l| l.wants_tls())
        {
            return Err(TlsError::Missing { address: listener.url().to_owned() }.into());
        }
        let files = config.static_files.as_deref().map(|path| {
            StaticFiles::open(path, config.max_open_files)
                .map_err(|source| StartError::Files { path: path.to_owned(), source })
        });
        let files = files.transpose()?;
        let joined = HubConnection::by(&config)?;
        let publish = match publishers {
            Some(OpenPublishSocket(listener)) => Some(listener),
            None => config.publish_socket.as_ref().map(PublishListener::open).transpose()?,
        };
        let addresses = listeners.iter().map(|l| l.url().to_owned()).collect();
        let threads = config.io_threads.clamp(1, MAX_THREADS);
        let state = Arc::new(State::new(config, tls, files, threads, joined.is_some())?);
        let mut server = Server {
            addresses,
            process: std::process::id(),
            batch: RefCell::default(),
            batch_bytes: Cell::new(0),
            lanes: RefCell::default(),
            posted: Cell::new(0),
            single: RefCell::default(),
            last_sent: Cell::default(),
            outgoing_bytes: Cell::new(0),
            upgrades: RefCell::default(),
            requests: RefCell::default(),
            topics: RefCell::new(Topics::new(threads)),
            adopted: Cell::new(0),
            stopwatch: Stopwatch::default(),
            reactor: Arc::default(),
            cut_at: Cell::new(None),
            threads: ManuallyDrop::new(Vec::with_capacity(threads)),
            state,
        };
        if publish.is_some() || joined.is_some() {
            server.topics.get_mut().watch();
        }
        server.spawn(threads, listeners, publish, joined)?;
        Ok(server)
    }

    /// Spawns the I/O threads and waits until each accepts sockets. After an error, the caller drops
    /// the server, which ends the threads that did start.
    fn spawn(
        &mut self,
        threads: usize,
        mut listeners: Vec<Listener>,
        mut publish: Option<PublishListener>,
        mut joined: Option<HubConnection>,
    ) -> io::Result<()> {
        let (ready, started) = bounded(threads);
        for index in 0..threads {
            let (state, ready) = (self.state.clone(), ready.clone());
            let reactor = (index == 0).then(|| self.reactor.clone());
            let (listeners, publish) = (std::mem::take(&mut listeners), publish.take());
            let joined = joined.take();
            let handle =
                std::thread::Builder::new().name(format!("sprocket-io-{index}")).spawn(move || {
                    // The receiver outlives the threads' answers, of which there is one each.
                    let ready = |result| drop(ready.send(result));
                    crate::io_thread::run(state, index as u16, reactor, listeners, publish, joined, ready);
                })?;
            self.threads.push(handle);
        }
        drop(ready);
        for result in started.iter().take(threads) {
            result?;
        }
        Ok(())
    }
}

/// Makes the C library keep more freed memory. One thread frees what another has allocated, and by
/// default glibc returns the end of a heap to the kernel as soon as 128 KiB of it are free, then
/// faults it in again for the next messages. With 100 connections that echo 16 KiB this happened with
/// every third message and cost a quarter of the CPU time.
///
/// When a large block is freed, glibc raises the size from which blocks are mapped separately to that
/// of the block, and the size of a free end that it returns to twice that (mallopt(3),
/// `M_MMAP_THRESHOLD`), unless the user has set these limits. The block itself is never touched, and
/// so occupies no memory.
fn keep_freed_memory() {
    const BLOCK: usize = 4 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(BLOCK)));
}
