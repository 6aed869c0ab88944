//! Sockets to a broker: TCP or Unix, with TLS on top.

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::url::{BrokerUrl, Place};
use sprocket_protocol::pem;

/// A stream of either kind.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl fmt::Debug for dyn Duplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Duplex")
    }
}

/// Connects to a server, with TLS if the scheme demands it. A TCP connection is made to the first
/// address of the host that accepts.
///
/// # Errors
/// The connection or the TLS handshake fails, or a certificate of the address can't be used. The kind
/// is that of the system's error.
pub(crate) async fn connect(url: &BrokerUrl, place: &Place) -> io::Result<Box<dyn Duplex>> {
    match place {
        Place::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            // Batches and commands are written as a whole, so Nagle's algorithm would only delay them.
            stream.set_nodelay(true)?;
            if !url.tls {
                return Ok(Box::new(stream));
            }
            secure(stream, url, host).await.map_err(tls_failed)
        }
        Place::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
    }
}

/// Performs the TLS handshake on a connection.
async fn secure(stream: TcpStream, url: &BrokerUrl, host: &str) -> io::Result<Box<dyn Duplex>> {
    // The files are read for each connection, so that a renewed certificate needs no restart.
    let for_config = url.clone();
    let config = tokio::task::spawn_blocking(move || client_config(&for_config)).await?;
    let config = config.map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::other(format!("{host:?} can't be a name in a certificate")))?;
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}

/// Adds to an error that TLS has failed, unless it is one of the system.
pub(crate) fn tls_failed(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(_) => error,
        None => io::Error::new(error.kind(), format!("TLS failed: {error}")),
    }
}

/// Settings for TLS 1.2 and 1.3, with the certificates that the address names. The server's
/// certificate is always verified.
fn client_config(url: &BrokerUrl) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?
        .with_root_certificates(trusted(url.ca.as_deref())?);
    let config = match &url.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = pem::certificates(certificate).map_err(|error| error.to_string())?;
            let private = pem::private_key(key, None).map_err(|error| error.to_string())?;
            let unfit = |error| format!("cannot use {}: {error}", key.display());
            builder.with_client_auth_cert(chain, private).map_err(unfit)?
        }
    };
    Ok(Arc::new(config))
}

fn trusted(ca: Option<&Path>) -> Result<RootCertStore, String> {
    if let Some(path) = ca {
        return pem::roots(path).map_err(|error| error.to_string());
    }
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!("the system has no CA certificates{why}; name a file by ?ca=/PATH"));
    }
    Ok(roots)
}
