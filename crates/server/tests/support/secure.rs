//! A certificate authority for tests, servers with TLS, and clients for them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sprocket_server::{Bind, Config, Identity, Listen, Server, Tls};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use crate::support::*;

pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// A temporary folder for one test, removed on drop.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sprocket-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate authority that the clients of the tests trust.
pub struct Authority(pub CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Issues a certificate for a host and returns it with its key, in PEM.
    pub fn issue(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    pub fn identity(&self, folder: &Folder, host: &str) -> Identity {
        let (certificate, key) = self.issue(host);
        let name = host.replace('*', "any");
        Identity {
            certificate: folder.write(&format!("{name}.pem"), &certificate),
            key: folder.write(&format!("{name}.key"), &key),
            passphrase: None,
        }
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    pub fn client(&self) -> ClientConfig {
        builder().with_root_certificates(self.roots()).with_no_client_auth()
    }
}

pub fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
}

pub fn serve(tls: Tls, config: Config) -> (Server, SocketAddr) {
    let listen = Listen { tls: true, ..Bind::Tcp(([127, 0, 0, 1], 0).into()).into() };
    let server = Server::start(Config { tls: Some(tls), ..config }, vec![listen]).unwrap();
    let address = server.addresses()[0].strip_prefix("wss://").unwrap().parse().unwrap();
    (server, address)
}

pub fn secure(address: SocketAddr, client: ClientConfig, host: &str) -> Secure {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(client), name).unwrap();
    StreamOwned::new(connection, connect(address))
}

/// Opens a connection and completes the handshakes of TLS and WebSocket.
pub fn upgraded(address: SocketAddr, client: ClientConfig, host: &str) -> Secure {
    let mut stream = secure(address, client, host);
    stream.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    let head = head_of(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

pub fn head_of(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Reads the next data frame and returns its payload.
pub fn payload(stream: &mut impl Read) -> Vec<u8> {
    let mut head = [0u8; 2];
    stream.read_exact(&mut head).unwrap();
    let length = match head[1] {
        127 => {
            let mut bytes = [0; 8];
            stream.read_exact(&mut bytes).unwrap();
            u64::from_be_bytes(bytes) as usize
        }
        126 => {
            let mut bytes = [0; 2];
            stream.read_exact(&mut bytes).unwrap();
            u16::from_be_bytes(bytes).into()
        }
        n => n.into(),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    payload
}
