//! The TLS protocol without I/O: rustls on buffers that the caller lends for each call, so that an idle
//! connection holds none. [`TlsStream`](crate::net::tls_stream::TlsStream) owns one [`TlsSession`] and the socket.

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, WriteTraffic,
};
use rustls::{Error, ServerConfig};
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Most plaintext of one call of [`TlsSession::encrypt`], except for the end of the record that reaches it.
const WRITE: usize = 64 << 10;
/// Most plaintext of one record (RFC 8446 section 5.1).
const RECORD: usize = 16 << 10;
/// Bytes that encryption adds to a record at most (header, nonce, content type and tag), and a key update that
/// may precede it (RFC 8446 section 4.6.3), rounded up.
const OVERHEAD: usize = 64;
/// First guess at the size of a handshake message or an alert.
const MESSAGE: usize = 1024;

/// State of the protocol after all complete input was processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Handshake,
    Open,
    /// Both sides have sent `close_notify`.
    Closed,
}

/// Result of processing a piece of input.
#[derive(Debug)]
pub(super) struct Processed {
    /// Bytes of the input that were processed.
    pub(super) used: usize,
    pub(super) result: Result<Stage, Error>,
    /// Whether `close_notify` was received. Input after it must be ignored (RFC 8446 section 6.1).
    pub(super) peer_closed: bool,
}

/// The server's side of one TLS connection.
pub(super) struct TlsSession(UnbufferedServerConnection);

impl TlsSession {
    /// Begins the handshake.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        UnbufferedServerConnection::new(config).map(Self).map_err(broken)
    }

    /// The verified certificate of the client, in DER.
    pub(super) fn peer_certificate(&self) -> Option<&[u8]> {
        self.0.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// The application protocol that the client has negotiated (RFC 7301).
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.0.alpn_protocol()
    }

    /// Processes all complete records. Passes plaintext to `sink`, and appends handshake messages and alerts
    /// for the peer to `outgoing`. After an error no method may be called again, because the library
    /// remembers positions in its input. The response to a key update precedes the next data that is
    /// encrypted (RFC 8446 section 4.6.3).
    pub(super) fn process(
        &mut self,
        input: &mut [u8],
        outgoing: &mut Vec<u8>,
        mut sink: impl FnMut(&[u8]),
    ) -> Processed {
        let mut done = Processed { used: 0, result: Ok(Stage::Handshake), peer_closed: false };
        loop {
            let status = self.0.process_tls_records(&mut input[done.used..]);
            let mut used = status.discard;
            let end = match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            used += record.discard;
                            sink(record.payload);
                        }
                        Some(Err(error)) => break Some(Err(error)),
                        None => break None,
                    }
                },
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing).err().map(Err),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    done.peer_closed = true;
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Ok(Stage::Handshake)),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Ok(Stage::Open)),
                Ok(ConnectionState::Closed) => {
                    done.peer_closed = true;
                    Some(Ok(Stage::Closed))
                }
                // Early data is never offered.
                Ok(_) => Some(Err(Error::HandshakeNotComplete)),
                Err(error) => Some(Err(error)),
            };
            done.used += used;
            if let Some(result) = end {
                if result.is_err() {
                    self.alert(&mut input[done.used..], outgoing);
                }
                done.result = result;
                return done;
            }
        }
    }

    /// Appends the alert for the peer to `outgoing` after an error. `input` must be the rest of the input
    /// that caused the error.
    fn alert(&mut self, input: &mut [u8], outgoing: &mut Vec<u8>) {
        while self.0.wants_write() {
            match self.0.process_tls_records(input).state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    if encode(data, outgoing).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// Encrypts up to [`WRITE`] bytes of `bufs`, appends the records to `outgoing`, and returns how many
    /// plaintext bytes they hold. `incoming` is the start of an incomplete record.
    ///
    /// # Errors
    /// The protocol has failed, or the keys are exhausted, which TLS 1.3 prevents by a key update. Nothing of
    /// `bufs` was encrypted then.
    pub(super) fn encrypt(
        &mut self,
        incoming: &mut [u8],
        bufs: &[IoSlice<'_>],
        outgoing: &mut Vec<u8>,
    ) -> io::Result<usize> {
        self.write(incoming, outgoing, |mut traffic, outgoing| {
            let mut taken = 0;
            for piece in bufs.iter().flat_map(|buf| buf.chunks(RECORD)) {
                let room = piece.len() + OVERHEAD;
                match append(outgoing, room, |space| Ok(traffic.encrypt(piece, space)?)) {
                    Ok(()) => taken += piece.len(),
                    // The caller sends the records encrypted before the error; the next call fails.
                    Err(_) if taken > 0 => break,
                    Err(error) => return Err(broken(error)),
                }
                if taken >= WRITE {
                    break;
                }
            }
            Ok(taken)
        })?
    }

    /// Appends `close_notify` to `outgoing`. `incoming` is the start of an incomplete record.
    ///
    /// # Errors
    /// The protocol has failed, or `close_notify` was exchanged in both directions.
    pub(super) fn close_notify(&mut self, incoming: &mut [u8], outgoing: &mut Vec<u8>) -> io::Result<()> {
        self.write(incoming, outgoing, |mut traffic, outgoing| {
            append(outgoing, OVERHEAD, |space| Ok(traffic.queue_close_notify(space)?)).map_err(broken)
        })?
    }

    /// Calls `f` with the part of the session that encrypts. Messages that must precede the next record are
    /// appended to `outgoing` first.
    fn write<R>(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
        f: impl FnOnce(WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> R,
    ) -> io::Result<R> {
        loop {
            // Nothing is discarded here: complete records were processed when they were read.
            match self.0.process_tls_records(incoming).state {
                Ok(ConnectionState::WriteTraffic(traffic)) => return Ok(f(traffic, outgoing)),
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing).map_err(broken)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

/// Why the library did not write into the space given to it.
enum WriteRefused {
    /// It needs this many bytes.
    TooSmall(usize),
    Failed(Error),
}

impl From<EncodeError> for WriteRefused {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::TooSmall(required_size)
            }
            error => Self::Failed(Error::General(error.to_string())),
        }
    }
}

impl From<EncryptError> for WriteRefused {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::TooSmall(required_size)
            }
            error => Self::Failed(Error::General(error.to_string())),
        }
    }
}

/// Appends one message of the library to `outgoing`.
fn encode<T>(mut data: EncodeTlsData<'_, T>, outgoing: &mut Vec<u8>) -> Result<(), Error> {
    append(outgoing, MESSAGE, |space| Ok(data.encode(space)?))
}

/// Appends the bytes that `write` puts into the space given to it: `room` bytes, or as many as it asks for.
///
/// # Errors
/// `write` failed. Nothing was appended then.
fn append(
    outgoing: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, WriteRefused>,
) -> Result<(), Error> {
    let start = outgoing.len();
    loop {
        outgoing.resize(start + room, 0);
        let error = match write(&mut outgoing[start..]) {
            Ok(n) => {
                outgoing.truncate(start + n);
                return Ok(());
            }
            Err(WriteRefused::TooSmall(size)) if size > room => {
                room = size;
                continue;
            }
            Err(WriteRefused::TooSmall(_)) => Error::EncryptError,
            Err(WriteRefused::Failed(error)) => error,
        };
        outgoing.truncate(start);
        return Err(error);
    }
}

/// Converts an error of the protocol to one of the stream.
pub(super) fn broken(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{
        CipherSuiteCommon, ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite,
        Tls12CipherSuite, Tls13CipherSuite,
    };
    use std::io::{Read, Write};

    /// The cipher suite, with keys that must be replaced after `limit` records.
    fn limited(suite: SupportedCipherSuite, limit: u64) -> SupportedCipherSuite {
        let common = |common: &CipherSuiteCommon| CipherSuiteCommon {
            suite: common.suite,
            hash_provider: common.hash_provider,
            confidentiality_limit: limit,
        };
        match suite {
            SupportedCipherSuite::Tls12(suite) => {
                let suite = Tls12CipherSuite { common: common(&suite.common), ..*suite };
                SupportedCipherSuite::Tls12(Box::leak(Box::new(suite)))
            }
            SupportedCipherSuite::Tls13(suite) => {
                let suite = Tls13CipherSuite { common: common(&suite.common), ..*suite };
                SupportedCipherSuite::Tls13(Box::leak(Box::new(suite)))
            }
        }
    }

    /// A session and its client, connected by function calls.
    struct Pair {
        client: ClientConnection,
        server: TlsSession,
        incoming: Vec<u8>,
    }

    impl Pair {
        /// Completes a handshake. The server's keys must be replaced after `limit` records.
        fn new(suite: SupportedCipherSuite, limit: u64) -> Self {
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(certificate.der().clone()).unwrap();
            let with = |suite| CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() };
            let client = ClientConfig::builder_with_provider(Arc::new(with(suite)))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let server = ServerConfig::builder_with_provider(Arc::new(with(limited(suite, limit))))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
                )
                .unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut pair = Self {
                client: ClientConnection::new(Arc::new(client), name).unwrap(),
                server: TlsSession::new(Arc::new(server)).unwrap(),
                incoming: Vec::new(),
            };
            while pair.receive().1 != Stage::Open {}
            pair
        }

        /// Passes to the server what the client sends, and its response back. Returns the data.
        fn receive(&mut self) -> (Vec<u8>, Stage) {
            while self.client.wants_write() {
                self.client.write_tls(&mut self.incoming).unwrap();
            }
            let (mut outgoing, mut data) = (Vec::new(), Vec::new());
            let done =
                self.server.process(&mut self.incoming, &mut outgoing, |part| data.extend_from_slice(part));
            self.incoming.drain(..done.used);
            assert_eq!(self.deliver(&outgoing), b"");
            (data, done.result.unwrap())
        }

        /// Passes records to the client, and returns their data.
        fn deliver(&mut self, mut records: &[u8]) -> Vec<u8> {
            let mut data = Vec::new();
            while !records.is_empty() {
                self.client.read_tls(&mut records).unwrap();
                let n = self.client.process_new_packets().unwrap().plaintext_bytes_to_read();
                let start = data.len();
                data.resize(start + n, 0);
                self.client.reader().read_exact(&mut data[start..]).unwrap();
            }
            data
        }

        /// Encrypts messages of one byte each. Returns how many, and the records.
        fn encrypt(&mut self, messages: &[u8]) -> io::Result<(usize, Vec<u8>)> {
            let bufs: Vec<_> = messages.chunks(1).map(IoSlice::new).collect();
            let mut records = Vec::new();
            let taken = self.server.encrypt(&mut self.incoming, &bufs, &mut records)?;
            Ok((taken, records))
        }
    }

    #[test]
    fn tls13_updates_its_keys_before_they_are_exhausted() {
        let mut pair = Pair::new(ring::cipher_suite::TLS13_AES_128_GCM_SHA256, 10);
        let messages: Vec<u8> = (0..100).collect();
        for messages in messages.chunks(1).chain([&messages[..]]) {
            let (taken, records) = pair.encrypt(messages).unwrap();
            assert_eq!(taken, messages.len());
            assert_eq!(pair.deliver(&records), messages);
        }
        // The client answers the updates with its own.
        pair.client.writer().write_all(b"still here").unwrap();
        assert_eq!(pair.receive(), (b"still here".to_vec(), Stage::Open));
    }

    #[test]
    fn tls12_sends_all_that_it_has_encrypted_before_its_keys_are_exhausted() {
        let mut pair = Pair::new(ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 10);
        let messages: Vec<u8> = (0..100).collect();
        let (taken, records) = pair.encrypt(&messages).unwrap();
        assert!(taken < 10, "{taken}");
        assert_eq!(pair.deliver(&records), messages[..taken]);
        pair.encrypt(&messages[taken..]).unwrap_err();
    }

    #[test]
    fn a_key_update_of_the_client_is_answered_before_the_next_data() {
        let mut pair = Pair::new(ring::cipher_suite::TLS13_AES_128_GCM_SHA256, 1 << 24);
        for i in 0..100 {
            pair.client.refresh_traffic_keys().unwrap();
            pair.client.writer().write_all(&[i]).unwrap();
            assert_eq!(pair.receive(), (vec![i], Stage::Open));
            let (_, records) = pair.encrypt(&[i]).unwrap();
            // Both have headers of five bytes, and 17 bytes of content type and tag.
            assert_eq!(records.len(), (5 + 5 + 17) + (5 + 1 + 17));
            assert_eq!(pair.deliver(&records), [i]);
        }
    }

    #[test]
    fn messages_larger_than_the_first_guess_are_appended_whole() {
        let mut out = b"before".to_vec();
        let write = |space: &mut [u8]| {
            let size = 5000;
            space.get_mut(..size).ok_or(WriteRefused::TooSmall(size))?.fill(7);
            Ok(size)
        };
        append(&mut out, MESSAGE, write).unwrap();
        assert!(out.len() == 5006 && out.starts_with(b"before\x07"));
        append(&mut out, MESSAGE, |_| Err(WriteRefused::Failed(Error::EncryptError))).unwrap_err();
        append(&mut out, MESSAGE, |_| Err(WriteRefused::TooSmall(0))).unwrap_err();
        assert_eq!(out.len(), 5006);
    }
}
