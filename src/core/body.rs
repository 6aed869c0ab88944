//! The body of a response: bytes, or a file that is read as the peer takes it.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;

/// What is sent behind the head of a response.
pub(crate) enum ResponseBody {
    Whole(Full<Bytes>),
    /// With the permit to have the file open. Boxed: few responses are files.
    File(Box<(hyper_staticfile::Body, OwnedSemaphorePermit)>),
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        ResponseBody::Whole(Full::new(bytes))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            ResponseBody::Whole(whole) => {
                Pin::new(whole).poll_frame(cx).map_err(|never: std::convert::Infallible| match never {})
            }
            ResponseBody::File(file) => Pin::new(&mut file.0).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, ResponseBody::Whole(whole) if whole.is_end_stream())
    }

    /// That of a file is in its `Content-Length` header.
    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(whole) => whole.size_hint(),
            ResponseBody::File(_) => SizeHint::default(),
        }
    }
}
