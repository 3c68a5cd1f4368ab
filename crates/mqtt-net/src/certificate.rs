//! What a certificate says about its owner: names, dates, fingerprint. Trust is decided elsewhere,
//! by rustls.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::asn1::{AnyRef, GeneralizedTime, ObjectIdentifier, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

/// The facts of a certificate that the broker uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The last common name of the subject (`use_identity_as_username`).
    pub common_name: Option<String>,
    /// The whole subject as RFC 2253 writes it, `CN=pump,O=Mill` (`use_subject_as_username`).
    pub subject: String,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// Since when it is valid.
    pub not_before: SystemTime,
    /// Whether it names its owner in the extension that is made for it (subjectAltName).
    pub has_alternative_name: bool,
    /// The X.509 version, 1 to 3.
    pub version: u8,
    /// The public key with its algorithm, as DER.
    pub(crate) public_key: Vec<u8>,
}

impl PeerCertificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// The bytes are no X.509 certificate.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        read(certificate).map_err(|_| CertificateError(()))
    }

    /// Whole days until it ends, negative when it has ended.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        const DAY: u64 = 86_400;
        let days = |span: Duration| i64::try_from(span.as_secs() / DAY).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => days(left),
            Err(ago) => -1 - days(ago.duration()),
        }
    }

    /// The fingerprint as hexadecimal digits with colons, as `openssl x509 -fingerprint -sha256`
    /// shows it.
    pub fn fingerprint_text(&self) -> String {
        let digits: Vec<String> =
            self.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
        digits.join(":")
    }
}

/// The bytes are no X.509 certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateError(());

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is not a readable X.509 certificate")
    }
}

impl std::error::Error for CertificateError {}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// The short names that OpenSSL prints, so that usernames are the same as with Mosquitto.
const SHORT_NAMES: [(&str, &str); 16] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

/// Walks the fields of RFC 5280 section 4.1 in their order.
fn read(certificate: &[u8]) -> der::Result<PeerCertificate> {
    let outer = AnyRef::from_der(certificate)?;
    let mut fields = inside(&outer, Tag::Sequence)?;
    let body = AnyRef::decode(&mut fields)?;
    let mut fields = inside(&body, Tag::Sequence)?;

    let mut version = 1;
    let mut first = AnyRef::decode(&mut fields)?;
    if first.tag().is_context_specific() {
        let number = AnyRef::from_der(first.value())?;
        version = number.value().last().map_or(1, |last| last.saturating_add(1));
        first = AnyRef::decode(&mut fields)?;
    }
    let _serial_number = first;
    let _signature_algorithm = AnyRef::decode(&mut fields)?;
    let _issuer = AnyRef::decode(&mut fields)?;
    let validity = AnyRef::decode(&mut fields)?;
    let subject = AnyRef::decode(&mut fields)?;
    let public_key = fields.tlv_bytes()?.to_vec();

    let mut dates = inside(&validity, Tag::Sequence)?;
    let not_before = time(AnyRef::decode(&mut dates)?)?;
    let not_after = time(AnyRef::decode(&mut dates)?)?;
    let (subject, common_name) = read_subject(&subject)?;
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
    Ok(PeerCertificate {
        common_name,
        subject,
        fingerprint,
        not_after,
        not_before,
        has_alternative_name: has_alternative_name(fields)?,
        version,
        public_key,
    })
}

fn inside<'a>(any: &AnyRef<'a>, tag: Tag) -> der::Result<SliceReader<'a>> {
    any.tag().assert_eq(tag)?;
    SliceReader::new(any.value())
}

fn time(any: AnyRef<'_>) -> der::Result<SystemTime> {
    let since = match any.tag() {
        Tag::UtcTime => any.decode_as::<UtcTime>()?.to_unix_duration(),
        _ => any.decode_as::<GeneralizedTime>()?.to_unix_duration(),
    };
    Ok(UNIX_EPOCH + since)
}

/// Looks through what follows the public key for the extension.
fn has_alternative_name(mut fields: SliceReader<'_>) -> der::Result<bool> {
    while !fields.is_finished() {
        let field = AnyRef::decode(&mut fields)?;
        if field.tag().is_context_specific() && field.tag().number().value() == 3 {
            let list = AnyRef::from_der(field.value())?;
            let mut extensions = inside(&list, Tag::Sequence)?;
            while !extensions.is_finished() {
                let extension = AnyRef::decode(&mut extensions)?;
                let id = AnyRef::decode(&mut inside(&extension, Tag::Sequence)?)?;
                if id.decode_as::<ObjectIdentifier>()? == SUBJECT_ALT_NAME {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// The subject as text, last part first as RFC 2253 says, and its last common name.
fn read_subject(subject: &AnyRef<'_>) -> der::Result<(String, Option<String>)> {
    let mut common_name = None;
    let mut parts = Vec::new();
    let mut names = inside(subject, Tag::Sequence)?;
    while !names.is_finished() {
        let set = AnyRef::decode(&mut names)?;
        let mut attributes = inside(&set, Tag::Set)?;
        let mut texts = Vec::new();
        while !attributes.is_finished() {
            let attribute = AnyRef::decode(&mut attributes)?;
            let mut pair = inside(&attribute, Tag::Sequence)?;
            let id = ObjectIdentifier::decode(&mut pair)?;
            let value = text(&AnyRef::decode(&mut pair)?);
            let id_text = id.to_string();
            let known = SHORT_NAMES.iter().find(|(number, _)| *number == id_text);
            let name = known.map_or(id_text.as_str(), |(_, name)| name);
            texts.push(format!("{name}={}", escaped(&value)));
            if id == COMMON_NAME {
                common_name = Some(value);
            }
        }
        parts.push(texts.join("+"));
    }
    parts.reverse();
    Ok((parts.join(","), common_name))
}

/// The characters of any of ASN.1's string types.
fn text(value: &AnyRef<'_>) -> String {
    let bytes = value.value();
    match value.tag() {
        Tag::BmpString => {
            let units: Vec<u16> =
                bytes.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
            String::from_utf16_lossy(&units)
        }
        // T.61 is read as Latin-1, as everybody does.
        Tag::TeletexString => bytes.iter().map(|byte| char::from(*byte)).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// RFC 2253 section 2.4; bytes outside of printable ASCII become `\XX`, as OpenSSL prints them.
fn escaped(value: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let needs_escape = match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => true,
            b'#' => at == 0,
            b' ' => at == 0 || at == last,
            _ => false,
        };
        match byte {
            _ if needs_escape => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn certificate(fill: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        fill(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn names_and_dates_are_read() {
        let der = certificate(|params| {
            params.distinguished_name.push(DnType::CountryName, "CH");
            params.distinguished_name.push(DnType::OrganizationName, "Mill, Sons");
            params.distinguished_name.push(DnType::CommonName, "pümp #1");
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2040, 1, 1);
        });
        let read = PeerCertificate::read(&der).unwrap();
        assert_eq!(read.common_name.as_deref(), Some("pümp #1"));
        assert_eq!(read.subject, "CN=p\\C3\\BCmp #1,O=Mill\\, Sons,C=CH");
        assert_eq!((read.version, read.has_alternative_name), (3, false));
        assert_eq!(read.fingerprint_text().len(), 95);
        let day = Duration::from_secs(86_400);
        assert_eq!(read.days_left(read.not_after - 3 * day), 3);
        assert_eq!(read.days_left(read.not_after - day / 2), 0);
        assert_eq!(read.days_left(read.not_after + day / 2), -1);
        assert_eq!(read.not_after, UNIX_EPOCH + Duration::from_secs(2_208_988_800));
    }

    #[test]
    fn an_alternative_name_is_seen() {
        let der = certificate(|params| {
            params.subject_alt_names =
                vec![rcgen::SanType::DnsName("broker.example".try_into().unwrap())];
        });
        let read = PeerCertificate::read(&der).unwrap();
        assert!(read.has_alternative_name);
        assert_eq!((read.common_name, read.subject.as_str()), (None, ""));
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let der = certificate(|params| params.distinguished_name.push(DnType::CommonName, "x"));
        for cut in 0..der.len() {
            let cut = CertificateDer::from(der[..cut].to_vec());
            assert_eq!(PeerCertificate::read(&cut), Err(CertificateError(())));
        }
        let mut refused = 0;
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut bytes = der.to_vec();
                bytes[at] ^= 1 << bit;
                refused += usize::from(PeerCertificate::read(&bytes.into()).is_err());
            }
        }
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn escapes_follow_the_standard() {
        assert_eq!(escaped(" #a b+ "), "\\ #a b\\+\\ ");
        assert_eq!(escaped("#a\n"), "\\#a\\0A");
        assert_eq!(escaped(""), "");
    }
}
