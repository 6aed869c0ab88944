//! The table of streamed responses (responses whose body the host writes in pieces) that are open on one
//! I/O thread.

use std::collections::HashMap;
use std::sync::Arc;

use crate::channel::response_stream::StreamState;
use crate::id::Ticket;
use crate::limits::admission::Admission;
use crate::limits::handshakes::Carrying;

/// The open streams of a thread, by the ticket of the request that each answers.
pub(super) type Streams = HashMap<Ticket, Open>;

/// An open stream, with its places under the limits of connections and of sockets. Dropping it releases
/// the places.
pub(super) struct Open {
    shared: Arc<StreamState>,
    _admission: Admission,
    _carrying: Carrying,
}

impl Open {
    pub(super) fn new(shared: Arc<StreamState>, admission: Admission, carrying: Carrying) -> Self {
        Self { shared, _admission: admission, _carrying: carrying }
    }

    pub(super) fn shared(&self) -> &Arc<StreamState> {
        &self.shared
    }
}
