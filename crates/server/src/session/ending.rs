//! Why a session ends.

/// Why a connection ends, where the host answers first what came before.
#[derive(Debug)]
pub(super) enum Ending {
    /// The peer has broken the rules: our close frame has this code and reason.
    Failed(u16, String),
    /// The peer's close frame, with this code and reason, if any.
    ClosedByPeer(Option<(u16, String)>),
    /// The peer has ended its direction without a close frame, and may still read.
    HungUp,
    /// The server stops.
    GoingAway(&'static str),
}
