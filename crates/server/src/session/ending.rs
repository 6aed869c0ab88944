//! [`Ending`]: why a session is about to end. Such a session does not end at once, because the host may
//! still have to answer messages that arrived earlier.

/// Why a session is about to end. [`Session`](super::Session) keeps this while the host answers the
/// messages received earlier.
#[derive(Debug)]
pub(super) enum Ending {
    /// The peer has violated the protocol or a limit. The close frame carries this code and reason.
    Failed(u16, String),
    /// The peer has sent a close frame, with this code and reason if it carries any.
    ClosedByPeer(Option<(u16, String)>),
    /// The peer has ended its direction without a close frame, and may still read.
    HungUp,
    /// The server stops, for this reason.
    GoingAway(&'static str),
}
