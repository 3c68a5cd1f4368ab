//! The certificate, key, authorities and revocation list of one listener, as they lie on disk; and
//! whether the files have changed since.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use mqtt_net::tls::{CipherSuites, ClientCertificates, MinimumVersion, ServerTlsOptions};
use mqtt_net::{Pem, ServerTls};
use mqttd_conf::{Listener, LogType, Protocol, Tls, TlsVersion};

use crate::logging::Logger;

/// A certificate that ends within so many days is warned of.
pub(crate) const DAYS_TO_WARN: i64 = 14;

/// See the file's head.
pub(crate) struct Certificates {
    pub(crate) server: ServerTls,
    /// Taken before the files were read.
    pub(crate) stamp: Stamp,
}

/// What tells a file from a changed one: device, inode, modification time and size of each; for a
/// folder also what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<(PathBuf, Option<[i128; 4]>)>);

impl Stamp {
    /// Looks at the files of a listener.
    pub(crate) fn of(tls: &Tls) -> Self {
        let mut paths = vec![tls.certfile.clone(), tls.keyfile.clone()];
        paths.extend([&tls.cafile, &tls.crlfile, &tls.capath].into_iter().flatten().cloned());
        if let Some(folder) = &tls.capath {
            // One that can't be read says so when it is loaded.
            paths.extend(authorities_in(folder).unwrap_or_default());
        }
        let look = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            let time = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
            Some([found.dev().into(), found.ino().into(), time, found.size().into()])
        };
        Self(paths.into_iter().map(|path| (path.clone(), look(&path))).collect())
    }
}

impl Certificates {
    /// Reads and checks the files; `None` for a listener without TLS.
    pub(crate) fn load(listener: &Listener, logger: &Logger) -> anyhow::Result<Option<Self>> {
        let Some(tls) = &listener.tls else { return Ok(None) };
        let stamp = Stamp::of(tls);
        let certificate = PemFile::read(&tls.certfile)?;
        let key = PemFile::read(&tls.keyfile)?;
        let mut authorities = Vec::new();
        if let Some(path) = &tls.cafile {
            authorities.push(PemFile::read(path)?);
        }
        if let Some(folder) = &tls.capath {
            for path in authorities_in(folder)? {
                authorities.push(PemFile::read(&path)?);
            }
        }
        let revocations = tls.crlfile.as_deref().map(PemFile::read).transpose()?;
        if tls.require_certificate && authorities.is_empty() {
            bail!(
                "require_certificate needs cafile or capath: who may sign the clients' certificates"
            );
        }
        let client_certificates = match (tls.require_certificate, authorities.is_empty()) {
            (true, _) => ClientCertificates::Required,
            (false, true) => ClientCertificates::NotAsked,
            (false, false) => ClientCertificates::Optional,
        };
        let ciphers = ciphers(tls, logger)?;
        let authorities: Vec<Pem<'_>> = authorities.iter().map(PemFile::pem).collect();
        let revocations: Vec<Pem<'_>> = revocations.iter().map(PemFile::pem).collect();
        let server = ServerTls::new(ServerTlsOptions {
            certificate: certificate.pem(),
            key: key.pem(),
            client_ca: &authorities,
            client_certificates,
            revocations: &revocations,
            minimum: match tls.version_min {
                TlsVersion::V12 => MinimumVersion::Tls12,
                TlsVersion::V13 => MinimumVersion::Tls13,
            },
            ciphers: ciphers.as_ref(),
            ignores_dates: tls.ignores_certificate_dates,
            alpn: match listener.protocol {
                Protocol::Mqtt => &[b"mqtt"],
                Protocol::Websockets | Protocol::HttpApi => &[b"http/1.1"],
            },
        })?;
        let loaded = Self { server, stamp };
        loaded.say(listener, logger);
        Ok(Some(loaded))
    }

    /// Which certificate it is, and how long it is good.
    pub(crate) fn say(&self, listener: &Listener, logger: &Logger) {
        let Some(tls) = &listener.tls else { return };
        let shown = self.server.certificate();
        let days = self.days_left();
        let log_type = if days < DAYS_TO_WARN { LogType::Warning } else { LogType::Information };
        logger.line(
            log_type,
            format_args!(
                "Certificate {} for {} on {}: {days} days left, fingerprint {}.",
                tls.certfile.display(),
                shown.subject,
                listener.address,
                shown.fingerprint_text()
            ),
        );
    }

    pub(crate) fn days_left(&self) -> i64 {
        self.server.days_left(SystemTime::now())
    }
}

fn ciphers(tls: &Tls, logger: &Logger) -> anyhow::Result<Option<CipherSuites>> {
    // Without TLS 1.2 its list means nothing.
    let older = tls.ciphers.as_deref().filter(|_| tls.version_min == TlsVersion::V12);
    let newer = tls.ciphers_tls13.as_deref();
    if older.is_none() && newer.is_none() {
        return Ok(None);
    }
    let suites = CipherSuites::parse(older, newer)?;
    if !suites.unavailable.is_empty() {
        let names = suites.unavailable.join(", ");
        logger.line(
            LogType::Warning,
            format_args!("Warning: ciphers that are not available are left out: {names}."),
        );
    }
    Ok(Some(suites))
}

/// The files of `capath`, in the order of their names.
fn authorities_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("capath {}", folder.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}

/// A PEM file with its name for messages.
struct PemFile {
    name: String,
    contents: Vec<u8>,
}

impl PemFile {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let contents = std::fs::read(path).with_context(|| format!("{name} can't be opened"))?;
        Ok(Self { name, contents })
    }

    fn pem(&self) -> Pem<'_> {
        Pem { name: &self.name, contents: &self.contents }
    }
}
