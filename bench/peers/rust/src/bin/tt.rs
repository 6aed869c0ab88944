//! tokio-tungstenite in an efficient configuration: a 4 KiB read buffer, and one flush for all
//! messages that have arrived.
#![forbid(unsafe_code)]

use anyhow::Result;
use futures_util::{FutureExt, SinkExt, StreamExt};
use peers::Mode;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::WebSocketConfig};

/// Members of each room, by connection number.
type Rooms = Rc<RefCell<HashMap<String, HashMap<u64, UnboundedSender<Message>>>>>;
type Socket = WebSocketStream<TcpStream>;

fn main() -> Result<()> {
    let (listener, mode) = peers::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let config = WebSocketConfig::default().read_buffer_size(4096);
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let rooms = Rooms::default();
        for id in 0.. {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let rooms = rooms.clone();
            tokio::task::spawn_local(async move {
                let accepted = tokio_tungstenite::accept_async_with_config(stream, Some(config));
                let Ok(mut socket) = accepted.await else {
                    return;
                };
                // The end of a connection needs no handling.
                let _ = match mode {
                    Mode::Echo => echo(&mut socket).await,
                    Mode::Fan => member(&mut socket, id, "all".into(), &rooms).await,
                    Mode::Chat => chat(&mut socket, id, &rooms).await,
                };
            });
        }
        Ok(())
    })
}

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

async fn echo(socket: &mut Socket) -> Result<(), Error> {
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

async fn chat(socket: &mut Socket, id: u64, rooms: &Rooms) -> Result<(), Error> {
    let Some(name) = socket.next().await.transpose()? else {
        return Ok(());
    };
    let room = name.to_text()?.to_owned();
    socket.send(name).await?;
    member(socket, id, room, rooms).await
}

async fn member(socket: &mut Socket, id: u64, room: String, rooms: &Rooms) -> Result<(), Error> {
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
