//! TLS settings: certificates, keys and client verification, read from PEM files (rustls, ring).

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use crate::error::TlsError;
use sprocket_protocol::pem::{Passphrase, PemError, certificates, private_key, roots};

/// TLS settings of all listeners of a server. The files are read at start and by
/// [`Server::reload_tls`](crate::Server::reload_tls).
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificate for clients that name no host, or one that is not in [`Tls::hosts`].
    pub identity: Identity,
    /// Certificates by host name (SNI), in lower case: `chat.example.com`, or `*.example.com` for any single
    /// label.
    pub hosts: Vec<(String, Identity)>,
    /// PEM file of CA certificates. If set, clients are asked for a certificate issued by one of them.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is refused. Only with [`Tls::client_ca`].
    pub client_required: bool,
    /// Whether TLS 1.2 is refused.
    pub only_tls13: bool,
    /// How often the files are checked for changes; `None` for never.
    pub watch: Option<Duration>,
    /// Whether HTTP/2 is offered, which carries WebSockets by extended CONNECT (RFC 8441).
    pub http2: bool,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM file of the certificate, followed by the intermediate certificates up to the root.
    pub certificate: PathBuf,
    /// PEM file of the key: PKCS#8 (encrypted or not), PKCS#1 or SEC1. May be the same file as the
    /// certificate.
    pub key: PathBuf,
    /// Decrypts an encrypted key.
    pub passphrase: Option<Passphrase>,
}

/// Modification time and size of each file; `None` for a file that cannot be read.
pub(crate) type Stamps = Vec<Option<(SystemTime, u64)>>;

impl Tls {
    /// Settings with one certificate for all hosts, HTTP/2, and no client certificates.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            hosts: Vec::new(),
            client_ca: None,
            client_required: true,
            only_tls13: false,
            watch: None,
            http2: true,
        }
    }

    /// Reads the files and builds the configuration of the TLS library.
    fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut hosts = HashMap::new();
        for (host, identity) in &self.hosts {
            let key = identity.load(&provider)?;
            check_host(host, &key, &identity.certificate)?;
            hosts.insert(host.to_ascii_lowercase(), Arc::new(key));
        }
        let resolver = Resolver { default: Arc::new(self.identity.load(&provider)?), hosts };
        let versions: &[&SupportedProtocolVersion] =
            if self.only_tls13 { &[&version::TLS13] } else { &[&version::TLS13, &version::TLS12] };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(TlsError::Setup)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if self.client_required { verifier } else { verifier.allow_unauthenticated() };
                let unfit = |error: rustls::server::VerifierBuilderError| PemError::Unfit {
                    path: path.clone(),
                    why: error.to_string(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(unfit)?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        let offered: &[&[u8]] = if self.http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        // Session tickets keep the state on the client, so that resumption costs the server no memory,
        // whatever the number of clients.
        config.ticketer = ring::Ticketer::new().map_err(TlsError::Setup)?;
        Ok(Arc::new(config))
    }

    fn stamps(&self) -> Stamps {
        let identities = std::iter::once(&self.identity).chain(self.hosts.iter().map(|(_, i)| i));
        let files = identities.flat_map(|i| [&i.certificate, &i.key]).chain(&self.client_ca);
        files.map(|path| fs::metadata(path).and_then(|m| Ok((m.modified()?, m.len()))).ok()).collect()
    }
}

impl Identity {
    fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain = certificates(&self.certificate)?;
        let key = private_key(&self.key, self.passphrase.as_ref())?;
        let unfit = |path: &Path, why: String| PemError::Unfit { path: path.to_owned(), why };
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| unfit(&self.key, format!("its key cannot be used: {error}")))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Kinds of keys that can't be compared here are tested by the handshake.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(TlsError::Mismatch { key: self.key.clone(), certificate: self.certificate.clone() })
            }
            Err(error) => {
                Err(unfit(&self.certificate, format!("its certificate is malformed: {error}")).into())
            }
        }
    }
}

/// Checks that a certificate is valid for the host it is configured for. Otherwise only clients would notice
/// a mismatch.
fn check_host(host: &str, key: &CertifiedKey, path: &Path) -> Result<(), TlsError> {
    let mismatch = || TlsError::Host { host: host.to_owned(), path: path.to_owned() };
    // Any label matches the wildcard.
    let probe = host.replacen('*', "any-label", 1);
    let name = ServerName::try_from(probe.as_str()).map_err(|_| mismatch())?;
    let leaf = key.end_entity_cert().map_err(|_| mismatch())?;
    let leaf = ParsedCertificate::try_from(leaf).map_err(|_| mismatch())?;
    verify_server_name(&leaf, &name).map_err(|_| mismatch())
}

/// Chooses the certificate by the host name that the client requests (RFC 6066 section 3).
#[derive(Debug)]
struct Resolver {
    default: Arc<CertifiedKey>,
    hosts: HashMap<String, Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let by_name = |name: &str| {
            let name = name.to_ascii_lowercase();
            self.hosts.get(&name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.hosts.get(&format!("*.{parent}"))
            })
        };
        let found = hello.server_name().filter(|_| !self.hosts.is_empty()).and_then(by_name);
        Some(found.unwrap_or(&self.default).clone())
    }
}

/// The configuration that new connections use, and the settings from which a reload replaces it.
#[derive(Debug)]
pub(crate) struct TlsState {
    tls: Tls,
    current: RwLock<Arc<ServerConfig>>,
}

impl TlsState {
    pub(crate) fn load(tls: Tls) -> Result<Self, TlsError> {
        let current = RwLock::new(tls.load()?);
        Ok(Self { tls, current })
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the files are checked for changes; `None` for never.
    pub(crate) fn watch_interval(&self) -> Option<Duration> {
        self.tls.watch
    }

    /// Modification time and size of each file; a difference shows that a file has changed.
    pub(crate) fn stamps(&self) -> Stamps {
        self.tls.stamps()
    }

    /// Reads the files again. New connections use their contents; open connections keep the old ones.
    ///
    /// # Errors
    /// A file can't be used. Nothing changes then.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let fresh = self.tls.load()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}
