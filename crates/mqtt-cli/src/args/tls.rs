//! Flags about TLS. What rustls cannot do (PSK, engines, OpenSSL cipher lists, old versions) is
//! refused by name.

use std::fs;
use std::path::Path;

use clap::Args;
use mqtt_client::{MinimumVersion, Tls, TlsSettings, Verification};

/// Whom to trust and who we are in TLS.
#[derive(Args, Debug)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Speak TLS, trusting the operating system's CAs unless others are given
    #[arg(long)]
    pub tls: bool,
    /// Trust the CA certificates in FILE
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<String>,
    /// Trust the CA certificates in the files of DIR
    #[arg(long, value_name = "DIR")]
    pub capath: Option<String>,
    /// The client's certificate
    #[arg(long, value_name = "FILE")]
    pub cert: Option<String>,
    /// The client's private key
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,
    /// Do not check that the certificate is for this host
    #[arg(long)]
    pub insecure: bool,
    /// Trust the operating system's CAs
    #[arg(long)]
    pub tls_use_os_certs: bool,
    /// Lowest TLS version: tlsv1.2 or tlsv1.3
    #[arg(long, value_name = "VERSION")]
    pub tls_version: Option<String>,
    /// Application protocol to offer (ALPN)
    #[arg(long, value_name = "PROTOCOL")]
    pub tls_alpn: Option<String>,
    /// No TLS, also on port 8883
    #[arg(long)]
    pub no_tls: bool,
    /// Kind of the key file; only pem is supported
    #[arg(long, value_name = "KEYFORM")]
    pub keyform: Option<String>,
    /// Not supported
    #[arg(long, value_name = "CIPHERS", hide = true)]
    pub ciphers: Option<String>,
    /// Not supported
    #[arg(long, value_name = "KEY", hide = true)]
    pub psk: Option<String>,
    /// Not supported
    #[arg(long, value_name = "IDENTITY", hide = true)]
    pub psk_identity: Option<String>,
    /// Not supported
    #[arg(long, value_name = "ENGINE", hide = true)]
    pub tls_engine: Option<String>,
    /// Not supported
    #[arg(long, value_name = "SHA1", hide = true)]
    pub tls_engine_kpass_sha1: Option<String>,
    /// Not supported
    #[arg(long, value_name = "FILE", hide = true)]
    pub tls_keylog: Option<String>,
}

impl TlsArgs {
    /// Is TLS to be spoken on this port?
    pub fn is_wanted(&self, port: Option<u16>) -> bool {
        !self.no_tls
            && (self.tls
                || self.cafile.is_some()
                || self.capath.is_some()
                || self.tls_use_os_certs
                || port == Some(8883))
    }

    /// The settings for the client library.
    ///
    /// # Errors
    /// A flag that is not supported, or a file that can't be used.
    pub fn tls(&self, port: Option<u16>) -> Result<Option<Tls>, String> {
        self.refuse_unsupported()?;
        if self.cert.is_some() != self.key.is_some() {
            return Err("Both certfile and keyfile must be provided if one of them is set.".into());
        }
        if !self.is_wanted(port) {
            return Ok(None);
        }
        let settings = TlsSettings {
            authorities: self.authorities()?,
            identity: match (&self.cert, &self.key) {
                (Some(cert), Some(key)) => Some([read(cert)?, read(key)?]),
                _ => None,
            },
            verification: match self.insecure {
                true => Verification::InsecureAnyName,
                false => Verification::Full,
            },
            minimum: match self.tls_version.as_deref() {
                Some("tlsv1.3") => MinimumVersion::Tls13,
                _ => MinimumVersion::Tls12,
            },
            alpn: self.tls_alpn.iter().cloned().collect(),
        };
        Tls::new(&settings).map(Some).map_err(|error| format!("Unable to set TLS up: {error}"))
    }

    fn refuse_unsupported(&self) -> Result<(), String> {
        if self.psk.is_some() && self.psk_identity.is_none() {
            return Err("--psk-identity required if --psk used.".to_owned());
        }
        let refused = [
            ("--psk", &self.psk, "TLS-PSK is not supported; use certificates"),
            ("--psk-identity", &self.psk_identity, "TLS-PSK is not supported; use certificates"),
            ("--ciphers", &self.ciphers, "the cipher suites are rustls's safe ones"),
            ("--tls-engine", &self.tls_engine, "engines are OpenSSL's"),
            ("--tls-engine-kpass-sha1", &self.tls_engine_kpass_sha1, "engines are OpenSSL's"),
            ("--tls-keylog", &self.tls_keylog, "keys are not written to files"),
        ];
        if let Some((flag, _, why)) = refused.iter().find(|(_, value, _)| value.is_some()) {
            return Err(format!("{flag} is not supported: {why}."));
        }
        match self.keyform.as_deref() {
            None | Some("pem") => {}
            Some(other) => return Err(format!("--keyform {other} is not supported: only pem is.")),
        }
        match self.tls_version.as_deref() {
            None | Some("tlsv1.2" | "tlsv1.3") => Ok(()),
            Some(other) => {
                Err(format!("--tls-version {other} is not supported: write tlsv1.2 or tlsv1.3."))
            }
        }
    }

    fn authorities(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut files = Vec::new();
        if let Some(path) = &self.cafile {
            files.push(read(path)?);
        }
        if let Some(folder) = &self.capath {
            let unreadable = |error| format!("Unable to read the folder {folder}: {error}");
            let mut paths = Vec::new();
            for entry in fs::read_dir(folder).map_err(unreadable)? {
                paths.push(entry.map_err(unreadable)?.path());
            }
            // Two names (a hash and a link to it) may lead to one file; twice does no harm.
            paths.sort();
            for path in paths.iter().filter(|path| path.is_file()) {
                let (name, contents) = read(&path.display().to_string())?;
                if contents.windows(BEGIN.len()).any(|part| part == BEGIN) {
                    files.push((name, contents));
                }
            }
            if files.is_empty() {
                return Err(format!("There is no certificate in the folder {folder}."));
            }
        }
        Ok(files)
    }
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn read(path: &str) -> Result<(String, Vec<u8>), String> {
    let contents =
        fs::read(Path::new(path)).map_err(|error| format!("Unable to read {path}: {error}"))?;
    Ok((path.to_owned(), contents))
}
