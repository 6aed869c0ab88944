//! TLS for `wss://` targets: version 1.3 with X25519 and AES-128-GCM, so that every server does the same
//! cryptography.

use anyhow::{Context, Result};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Settings of all connections.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Settings without verification of certificates, because the targets are servers on this machine with
    /// certificates that they issue themselves. With `resume`, a handshake resumes an earlier session if a
    /// ticket is left (RFC 8446 section 2.2); the client keeps up to eight. Without it, every handshake is a
    /// full one.
    pub(crate) fn new(resume: bool) -> Result<Self> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![ring::kx_group::X25519],
            ..ring::default_provider()
        });
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let mut config = builder
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        config.resumption = if resume { Resumption::in_memory_sessions(1) } else { Resumption::disabled() };
        Ok(Self(Arc::new(config)))
    }

    /// The client's side of one connection. The first flight waits to be sent.
    pub(crate) fn session(&self) -> Result<Box<Session>> {
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        Ok(Box::new(Session(ClientConnection::new(self.0.clone(), name)?)))
    }
}

/// The TLS state of one connection.
pub(crate) struct Session(ClientConnection);

impl Session {
    /// Encrypts `data` and appends what is to be sent, with any earlier handshake messages, to `out`. Data
    /// written before the end of the handshake leaves with it.
    pub(crate) fn encrypt(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> Result<()> {
        loop {
            let taken = self.0.writer().write(data)?;
            data = &data[taken..];
            while self.0.wants_write() {
                self.0.write_tls(out)?;
            }
            if data.is_empty() {
                return Ok(());
            }
        }
    }

    /// Decrypts `input` and appends the data to `plain`, and any answers of the handshake to `out`.
    pub(crate) fn decrypt(&mut self, mut input: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<()> {
        // Nothing is read after `close_notify`.
        while !input.is_empty() && self.0.read_tls(&mut input)? > 0 {
            let state = self.0.process_new_packets().context("TLS")?;
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.0.reader().read_exact(&mut plain[start..])?;
        }
        while self.0.wants_write() {
            self.0.write_tls(out)?;
        }
        Ok(())
    }
}

/// Accepts every certificate.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
