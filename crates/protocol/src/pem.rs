//! Reads certificates and private keys from PEM files (RFC 7468), for the server's TLS listeners and
//! for connections to brokers. Writes the certificates of clients in PEM form.

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::pem::{LineEnding, encode_string};
use rustls::RootCertStore;
use rustls_pki_types::pem::{self, PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// A certificate or key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file cannot be read: correct its path or its permissions.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The content of the file is unusable.
    #[error("cannot use {path}: {why}")]
    Unfit {
        /// Path of the file.
        path: PathBuf,
        /// A clause about the fault, with the file as its subject.
        why: String,
    },
    /// The key is encrypted, and no passphrase is configured.
    #[error("the key in {path} is encrypted and needs a passphrase")]
    NoPassphrase {
        /// Path of the key file.
        path: PathBuf,
    },
    /// The key was encrypted with another passphrase.
    #[error("the passphrase does not decrypt the key in {path}")]
    WrongPassphrase {
        /// Path of the key file.
        path: PathBuf,
    },
}

/// The passphrase of an encrypted private key. Its `Debug` output hides it.
#[derive(Clone)]
pub struct Passphrase(pub Vec<u8>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    fs::read(path).map_err(|source| PemError::Read { path: path.to_owned(), source })
}

/// Reads the certificates of a file, in the order of the file.
///
/// # Errors
/// The file cannot be read, is malformed, or contains no certificate.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let unfit = |why: String| PemError::Unfit { path: path.to_owned(), why };
    let chain = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unfit(format!("it is not well-formed PEM: {error}")))?;
    if chain.is_empty() { Err(unfit("it contains no PEM certificate".to_owned())) } else { Ok(chain) }
}

/// Reads the private key of a file: PKCS#8, PKCS#1 or SEC1. An encrypted key (PKCS#8 only) needs its
/// passphrase.
///
/// # Errors
/// The file cannot be read, is malformed, or contains no key; or the passphrase is missing or wrong.
pub fn private_key(path: &Path, passphrase: Option<&Passphrase>) -> Result<PrivateKeyDer<'static>, PemError> {
    let unfit = |why: &str| PemError::Unfit { path: path.to_owned(), why: why.to_owned() };
    let text = read(path)?;
    let has = |needle: &[u8]| text.windows(needle.len()).any(|w| w == needle);
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") {
        let passphrase = passphrase.ok_or_else(|| PemError::NoPassphrase { path: path.to_owned() })?;
        return decrypt(path, &text, passphrase);
    }
    if has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(unfit(
            "its key is encrypted in the legacy format of OpenSSL; convert it with \"openssl pkcs8 -topk8 \
             -in OLD -out NEW\"",
        ));
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(unfit("it contains no PEM private key")),
        Err(_) => Err(unfit("it is not well-formed PEM")),
    }
}

/// Decrypts a PKCS#8 key that is encrypted with PBES2 (RFC 5958, RFC 8018), the format of OpenSSL since
/// 1.1.
fn decrypt(path: &Path, text: &[u8], passphrase: &Passphrase) -> Result<PrivateKeyDer<'static>, PemError> {
    struct Encrypted(Vec<u8>);
    impl PemObject for Encrypted {
        fn from_pem(kind: SectionKind, der: Vec<u8>) -> Option<Self> {
            // The library has no section kind for "ENCRYPTED PRIVATE KEY", so the caller replaces the
            // label.
            (kind == SectionKind::PrivateKey).then_some(Self(der))
        }
    }
    let unfit = |why: String| PemError::Unfit { path: path.to_owned(), why };
    let relabelled = String::from_utf8_lossy(text).replace("ENCRYPTED PRIVATE KEY", "PRIVATE KEY");
    let Encrypted(der) = Encrypted::from_pem_slice(relabelled.as_bytes())
        .map_err(|error| unfit(format!("it is not well-formed PEM: {error}")))?;
    let info = EncryptedPrivateKeyInfoRef::try_from(der.as_slice()).map_err(|error| {
        unfit(format!("its key is encrypted with an unsupported method ({error}); use PBES2"))
    })?;
    let key = info.decrypt(&passphrase.0).map_err(|_| PemError::WrongPassphrase { path: path.to_owned() })?;
    PrivateKeyDer::try_from(key.as_bytes())
        .map(|key| key.clone_key())
        // With a wrong passphrase the padding can be valid by chance; the result is then not a key.
        .map_err(|_| PemError::WrongPassphrase { path: path.to_owned() })
}

/// Reads the certificates of a file as trust anchors.
///
/// # Errors
/// The errors of [`certificates`]; or a certificate cannot serve as a trust anchor.
pub fn roots(path: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| PemError::Unfit {
            path: path.to_owned(),
            why: format!("a certificate in it cannot be used as a root: {error}"),
        })?;
    }
    Ok(roots)
}

/// A certificate in PEM form, with lines of 64 characters.
pub fn certificate_text(der: &[u8]) -> String {
    // Encoding fails only if the length of the text overflows a `usize`.
    encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_in_pem_form_are_read_back() {
        for length in 1..=200_u8 {
            let der: Vec<u8> = (0..length).map(|i| i.wrapping_mul(7)).collect();
            let text = certificate_text(&der);
            assert!(text.ends_with("\n-----END CERTIFICATE-----\n"), "{text}");
            assert!(text.lines().all(|line| line.len() <= 64), "{text}");
            let read: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect();
            assert_eq!(read, [CertificateDer::from(der)]);
        }
    }
}
