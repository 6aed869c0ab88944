//! Lines about connections that a limit or a violation of the protocol ends.

use super::{Kind, Level, Line, peer_of};
use crate::conn::Shared;
use crate::env::Env;

pub(crate) const TOO_BIG: Kind = Kind::new(Level::Notice, CLOSED, "maxMessageSize");
pub(crate) const SLOW: Kind = Kind::new(Level::Notice, CLOSED, "sendBufferLimit");
pub(crate) const PROTOCOL: Kind = Kind::new(Level::Notice, CLOSED, "");
pub(crate) const PING_TIMEOUT: Kind = Kind::new(Level::Info, CLOSED, "pingTimeout");
pub(crate) const CLOSE_TIMEOUT: Kind = Kind::new(Level::Info, CLOSED, "closeTimeout");

const CLOSED: &str = "connection.closed";

impl Env {
    /// A connection is closed with this code because of a limit, or because its peer violates the
    /// protocol.
    #[cold]
    pub(crate) fn log_close(&mut self, conn: &Shared, kind: Kind, code: u16, reason: &str) {
        self.log(kind, || {
            let (id, peer) = (conn.id.0, peer_of(conn.remote));
            Line::new(format!("Connection {id} from {peer} closed with {code}: {reason}"))
                .from(conn.remote)
                .with("connection", id)
                .with("code", u64::from(code))
                .with("reason", reason)
        });
    }
}
