//! tokio-tungstenite in an efficient configuration: a 4 KiB read buffer, and one flush for all
//! messages that have arrived.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use futures_util::{FutureExt, SinkExt, StreamExt};
use peers::Mode;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::WebSocketConfig};

/// Members of each room, by connection number.
type Rooms = Rc<RefCell<HashMap<String, HashMap<u64, UnboundedSender<Message>>>>>;

/// A stream that carries WebSocket frames: TCP, or TLS on it.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

fn main() -> Result<()> {
    let (listener, mode) = peers::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let tls = (mode == Mode::Tls).then(acceptor).transpose()?;
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let rooms = Rooms::default();
        for id in 0.. {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let rooms = rooms.clone();
            let tls = tls.clone();
            tokio::task::spawn_local(async move {
                // The end of a connection needs no handling.
                let _ = match tls {
                    None => serve(stream, mode, id, &rooms).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream, mode, id, &rooms).await,
                        Err(error) => Err(error.into()),
                    },
                };
            });
        }
        Ok(())
    })
}

/// Accepts TLS with the certificate that the suite has made.
fn acceptor() -> Result<TlsAcceptor> {
    let file = |name| std::env::var_os(name).context(name);
    let certificates =
        CertificateDer::pem_file_iter(file("SPROCKET_BENCH_CERTIFICATE")?)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(file("SPROCKET_BENCH_KEY")?)?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(stream: impl Stream, mode: Mode, id: u64, rooms: &Rooms) -> Result<(), Error> {
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    match mode {
        Mode::Echo | Mode::Tls => echo(&mut socket).await,
        Mode::Fan => member(&mut socket, id, "all".into(), rooms).await,
        Mode::Chat => chat(&mut socket, id, rooms).await,
    }
}

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

async fn echo(socket: &mut WebSocketStream<impl Stream>) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if !is_data(&message) {
            continue;
        }
        socket.feed(message).await?;
        while let Some(next) = socket.next().now_or_never() {
            match next.transpose()? {
                Some(message) if is_data(&message) => socket.feed(message).await?,
                Some(_) => {}
                None => return Ok(()),
            }
        }
        socket.flush().await?;
    }
    Ok(())
}

async fn chat(socket: &mut WebSocketStream<impl Stream>, id: u64, rooms: &Rooms) -> Result<(), Error> {
    let Some(name) = socket.next().await.transpose()? else {
        return Ok(());
    };
    let room = name.to_text()?.to_owned();
    socket.send(name).await?;
    member(socket, id, room, rooms).await
}

async fn member(
    socket: &mut WebSocketStream<impl Stream>,
    id: u64,
    room: String,
    rooms: &Rooms,
) -> Result<(), Error> {
    let (sender, mut inbox) = unbounded_channel();
    rooms.borrow_mut().entry(room.clone()).or_default().insert(id, sender);
    let result = async {
        loop {
            tokio::select! {
                biased;
                Some(message) = inbox.recv() => {
                    socket.feed(message).await?;
                    while let Ok(message) = inbox.try_recv() {
                        socket.feed(message).await?;
                    }
                    socket.flush().await?;
                }
                message = socket.next() => match message.transpose()? {
                    Some(message) if is_data(&message) => {
                        for member in rooms.borrow().get(&room).into_iter().flatten() {
                            // A member that is leaving gets nothing.
                            let _ = member.1.send(message.clone());
                        }
                    }
                    Some(_) => {}
                    None => return Ok(()),
                }
            }
        }
    }
    .await;
    if let Some(members) = rooms.borrow_mut().get_mut(&room) {
        members.remove(&id);
    }
    result
}
