//! Certificates, keys and revocation lists out of PEM contents, with errors that name the file.

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::TlsError;

/// The contents of a PEM file and its name for messages.
#[derive(Debug, Clone, Copy)]
pub struct Pem<'a> {
    /// The name of the file.
    pub name: &'a str,
    /// What stands in it.
    pub contents: &'a [u8],
}

impl Pem<'_> {
    /// All certificates, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.all("certificate", CertificateDer::pem_slice_iter(self.contents))
    }

    /// All revocation lists, at least one.
    pub(super) fn revocations(
        &self,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let found = CertificateRevocationListDer::pem_slice_iter(self.contents);
        self.all("certificate revocation list", found)
    }

    /// The first private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        if self.is_encrypted() {
            return Err(TlsError::EncryptedKey { file: self.name.to_owned() });
        }
        match PrivateKeyDer::from_pem_slice(self.contents) {
            Ok(key) => Ok(key),
            Err(PemError::NoItemsFound) => Err(self.empty("private key")),
            Err(error) => Err(self.broken(error.to_string())),
        }
    }

    pub(super) fn broken(&self, reason: String) -> TlsError {
        TlsError::Broken { file: self.name.to_owned(), reason }
    }

    fn empty(&self, wanted: &'static str) -> TlsError {
        TlsError::Empty { file: self.name.to_owned(), wanted }
    }

    fn all<T>(
        &self,
        wanted: &'static str,
        found: impl Iterator<Item = Result<T, PemError>>,
    ) -> Result<Vec<T>, TlsError> {
        let all: Vec<T> =
            found.collect::<Result<_, _>>().map_err(|error| self.broken(error.to_string()))?;
        if all.is_empty() { Err(self.empty(wanted)) } else { Ok(all) }
    }

    /// Both the old (`Proc-Type: 4,ENCRYPTED`) and the new form (`BEGIN ENCRYPTED PRIVATE KEY`).
    fn is_encrypted(&self) -> bool {
        self.contents.windows(9).any(|nine| nine == b"ENCRYPTED")
    }
}
