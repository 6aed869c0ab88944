//! The table of `phpinfo()` and `php --ri sprocket`.

use ext_php_rs::zend::ModuleEntry;
use ext_php_rs::{info_table_end, info_table_header, info_table_row, info_table_start};

/// Prints the table.
pub(crate) extern "C" fn print(_module: *mut ModuleEntry) {
    info_table_start!();
    info_table_header!("Sprocket", "enabled");
    info_table_row!("Version", env!("CARGO_PKG_VERSION"));
    info_table_row!("Protocols", "WebSocket (RFC 6455, version 13), HTTP/1.1, HTTP/2 (RFC 8441)");
    info_table_row!("Listeners", "ws://, wss://, unix://, fd://, streams, sockets");
    info_table_row!("Publishers", "unix://, redis://, rediss://, redis+unix://, nats://, tls://");
    info_table_row!("TLS", "1.2, 1.3 (rustls)");
    info_table_row!("Compression", "permessage-deflate (RFC 7692)");
    info_table_row!("Event loops", "own, stream_select, Revolt, ReactPHP");
    info_table_row!("tokio", env!("SPROCKET_TOKIO"));
    info_table_row!("tokio-tungstenite", env!("SPROCKET_TOKIO_TUNGSTENITE"));
    info_table_row!("hyper", env!("SPROCKET_HYPER"));
    info_table_row!("rustls", env!("SPROCKET_RUSTLS"));
    info_table_row!("zlib-rs", env!("SPROCKET_ZLIB_RS"));
    info_table_row!("INI settings", "none: use Sprocket\\Options");
    info_table_end!();
}
