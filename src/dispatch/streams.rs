//! Dispatches the events of streamed responses.

use ext_php_rs::types::Zval;
use sprocket_server::{Handler, ResponseStream as Handle};

use super::invoke::{failed, flag};
use crate::callbacks::Hook;
use crate::response_stream::ResponseStream;
use crate::server::Server;
use crate::zend::{Callback, Owned, Result};

pub(super) fn drained(server: &Server, handle: Handle) -> Result<()> {
    let stream =
        server.link.streams.borrow().get(&handle.ticket().0).and_then(Owned::<ResponseStream>::from_value);
    drop(handle);
    let Some(stream) = stream else { return Ok(()) };
    let Some(callback) = stream.get().drain_callback() else { return Ok(()) };
    invoke(server, Handler::Drain, &stream, &callback, &mut [stream.value()])
}

pub(super) fn closed(server: &Server, handle: Handle, complete: bool) -> Result<()> {
    let stream = server.link.streams.borrow_mut().remove(&handle.ticket().0);
    drop(handle);
    let Some(stream) = stream.as_ref().and_then(Owned::<ResponseStream>::from_value) else { return Ok(()) };
    let (on_drain, on_close) = stream.get().take_callbacks();
    drop(on_drain);
    let Some(callback) = on_close else { return Ok(()) };
    invoke(server, Handler::Close, &stream, &callback, &mut [stream.value(), flag(complete)])
}

/// Calls a callback of a stream. If it throws and there is no onError, the stream is cut, as a connection
/// would be closed.
fn invoke(
    server: &Server,
    handler: Handler,
    stream: &Owned<ResponseStream>,
    callback: &Callback,
    arguments: &mut [Zval],
) -> Result<()> {
    server.link.with(|core| core.handling(handler));
    if callback.call(arguments).is_ok() {
        return Ok(());
    }
    if !server.callbacks.has(Hook::Error) {
        stream.get().terminate();
    }
    failed(server, None)
}
