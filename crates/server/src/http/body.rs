//! The body of a response: bytes, a file that is read as the peer accepts it, or a stream that the
//! host writes.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::http::stream_body::StreamBody;
use crate::static_files::FileBody;
use crate::static_files::open_files::SharedFile;

/// The body of a response.
pub(crate) enum ResponseBody {
    /// A body that is in memory.
    Whole(Full<Bytes>),
    /// A file. Boxed, because few responses are files.
    File(Box<hyper_staticfile::Body<SharedFile>>),
    /// A body that the host writes in pieces.
    Stream(StreamBody),
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        ResponseBody::Whole(Full::new(bytes))
    }
}

impl From<FileBody> for ResponseBody {
    fn from(body: FileBody) -> Self {
        match body {
            FileBody::Whole(bytes) => bytes.into(),
            FileBody::File(file) => ResponseBody::File(file),
        }
    }
}

impl ResponseBody {
    /// Records that everything read from this body was written.
    pub(crate) fn flushed(&self) {
        if let ResponseBody::Stream(stream) = self {
            stream.flushed();
        }
    }

    /// Bytes of memory that the body occupies until it has been sent, as far as nothing else counts
    /// them.
    pub(crate) fn held(&self) -> usize {
        match self {
            ResponseBody::Whole(whole) => whole.size_hint().exact().unwrap_or(0) as usize,
            ResponseBody::File(_) | ResponseBody::Stream(_) => 0,
        }
    }

    /// Whether the host has cut the stream. If not, the task of `cx` is woken when it does.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> bool {
        matches!(self, ResponseBody::Stream(stream) if stream.poll_cut(cx))
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
            ResponseBody::File(file) => Pin::new(&mut **file).poll_frame(cx),
            ResponseBody::Stream(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Whole(whole) => whole.is_end_stream(),
            ResponseBody::File(_) => false,
            ResponseBody::Stream(stream) => stream.is_end_stream(),
        }
    }

    /// The size of a file is in its `Content-Length` header instead.
    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(whole) => whole.size_hint(),
            ResponseBody::File(_) | ResponseBody::Stream(_) => SizeHint::default(),
        }
    }
}
