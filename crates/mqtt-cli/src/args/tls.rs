//! Flags about TLS. What rustls cannot do (engines, old versions) is refused by name; pre-shared
//! keys go through OpenSSL, where the tools are built with it (feature `psk`).

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use mqtt_auth::{PSK_BYTES_MAX, decode_psk};
use mqtt_client::{MinimumVersion, Tls, TlsSettings, Verification};

use super::Persona;
use crate::exit::{Exit, Failure, TLS_REFUSED};

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
    /// Kind of the key file; pem is the only one
    #[arg(long, value_name = "KEYFORM")]
    pub keyform: Option<String>,
    /// Ciphers up to TLS 1.2, as an OpenSSL list; of those it names, the safe ones are offered
    #[arg(long, value_name = "CIPHERS")]
    pub ciphers: Option<String>,
    /// Speak TLS with a key that the broker has too, in hexadecimal, instead of certificates.
    /// Others on this machine can see it: an options file (-o) hides it
    #[arg(long, value_name = "KEY")]
    pub psk: Option<String>,
    /// The name of that key
    #[arg(long, value_name = "IDENTITY")]
    pub psk_identity: Option<String>,
    /// Not supported
    #[arg(long, value_name = "ENGINE", hide = true)]
    pub tls_engine: Option<String>,
    /// Not supported
    #[arg(long, value_name = "SHA1", hide = true)]
    pub tls_engine_kpass_sha1: Option<String>,
    /// Append the secrets of the connection to FILE, which lets Wireshark read it; for debugging
    #[arg(long, value_name = "FILE")]
    pub tls_keylog: Option<PathBuf>,
}

impl TlsArgs {
    /// Is TLS to be spoken on this port?
    pub fn is_wanted(&self, port: Option<u16>) -> bool {
        !self.no_tls
            && (self.tls
                || self.cafile.is_some()
                || self.capath.is_some()
                || self.psk.is_some()
                || self.tls_use_os_certs
                || port == Some(8883))
    }

    /// The settings for the client library; `None` when TLS is not wanted.
    ///
    /// # Errors
    /// A flag that is not supported, or a file that can't be used.
    pub fn tls(&self, port: Option<u16>, persona: &Persona) -> Result<Option<Tls>, Failure> {
        let usage = |text: String| Failure::usage(persona, &text);
        self.check().map_err(usage)?;
        let is_wanted = self.is_wanted(port);
        // Mosquitto's tools take no notice of these without TLS, and scripts may rely on it.
        if is_wanted || !persona.is_mosquitto {
            self.refuse_unsupported().map_err(usage)?;
        }
        if !is_wanted {
            return Ok(None);
        }
        if let (Some(key), Some(identity)) = (&self.psk, &self.psk_identity) {
            return self.with_pre_shared_key(key, identity, persona).map(Some);
        }
        let settings = TlsSettings {
            authorities: self.authorities(persona)?,
            identity: match (&self.cert, &self.key) {
                (Some(cert), Some(key)) => Some([read(cert, persona)?, read(key, persona)?]),
                _ => None,
            },
            verification: match self.insecure {
                true => Verification::InsecureAnyName,
                false => Verification::Full,
            },
            minimum: self.minimum(),
            alpn: self.tls_alpn.iter().cloned().collect(),
            ciphers: self.ciphers.clone(),
            key_log: self.tls_keylog.clone(),
        };
        Tls::new(&settings).map(Some).map_err(|error| match persona.is_mosquitto {
            true => Failure::new(TLS_REFUSED),
            false => Failure::new(format!("Error: TLS: {error}")),
        })
    }

    /// Flags that contradict each other.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.cert.is_some() != self.key.is_some() {
            return Err("Both certfile and keyfile must be provided if one of them is set.".into());
        }
        if self.keyform.is_some() && self.key.is_none() {
            return Err("If keyform is set, keyfile must be also specified.".to_owned());
        }
        if self.psk.is_some() && (self.cafile.is_some() || self.capath.is_some()) {
            return Err("Only one of --psk or --cafile/--capath may be used at once.".to_owned());
        }
        if self.tls_engine_kpass_sha1.is_some()
            && (self.tls_engine.is_none() || self.keyform.is_none())
        {
            return Err("when using tls-engine-kpass-sha1, both tls-engine and keyform must also \
                be provided."
                .to_owned());
        }
        if self.psk.is_some() && self.psk_identity.is_none() {
            return Err("--psk-identity required if --psk used.".to_owned());
        }
        Ok(())
    }

    fn with_pre_shared_key(
        &self,
        key: &str,
        identity: &str,
        persona: &Persona,
    ) -> Result<Tls, Failure> {
        let wrong = |text: String| match persona.is_mosquitto {
            true => Failure::new("Error: Problem setting TLS-PSK options."),
            false => Failure::new(format!("Error: {text}")),
        };
        let key = decode_psk(key).filter(|key| !key.is_empty());
        let Some(key) = key.filter(|key| key.len() <= PSK_BYTES_MAX) else {
            return Err(wrong(format!(
                "--psk wants a key of 1 to {PSK_BYTES_MAX} bytes, two hexadecimal digits each."
            )));
        };
        if identity.is_empty() || identity.len() > PSK_IDENTITY_BYTES_MAX {
            return Err(wrong(format!(
                "--psk-identity wants a name of 1 to {PSK_IDENTITY_BYTES_MAX} bytes."
            )));
        }
        if self.tls_keylog.is_some() {
            return Err(wrong("--tls-keylog and --psk cannot be used together.".to_owned()));
        }
        self.connect_by_key(identity, &key).map_err(wrong)
    }

    #[cfg(feature = "psk")]
    fn connect_by_key(&self, identity: &str, key: &[u8]) -> Result<Tls, String> {
        let settings = mqtt_client::PskSettings {
            identity: identity.to_owned(),
            key: key.to_owned(),
            minimum: self.minimum(),
            alpn: self.tls_alpn.iter().cloned().collect(),
            ciphers: self.ciphers.clone(),
        };
        Tls::with_pre_shared_key(&settings).map_err(|error| error.to_string())
    }

    #[cfg(not(feature = "psk"))]
    fn connect_by_key(&self, _identity: &str, _key: &[u8]) -> Result<Tls, String> {
        Err("--psk is not in this build of the tool: build with --features mqtt-cli/psk (wants \
             OpenSSL), or use the Debian package, which has it."
            .to_owned())
    }

    fn minimum(&self) -> MinimumVersion {
        match self.tls_version.as_deref() {
            Some("tlsv1.3") => MinimumVersion::Tls13,
            _ => MinimumVersion::Tls12,
        }
    }

    fn refuse_unsupported(&self) -> Result<(), String> {
        const ENGINE: &str = "the TLS library, rustls, has none of OpenSSL's engines";
        let refused = [
            ("--tls-engine", &self.tls_engine, ENGINE),
            ("--tls-engine-kpass-sha1", &self.tls_engine_kpass_sha1, ENGINE),
        ];
        if let Some((flag, _, why)) = refused.iter().find(|(_, value, _)| value.is_some()) {
            return Err(format!("{flag} is not supported: {why}."));
        }
        match self.keyform.as_deref() {
            None | Some("pem") => {}
            Some(other) => {
                return Err(format!("--keyform {other} is not supported, only pem is: {ENGINE}."));
            }
        }
        match self.tls_version.as_deref() {
            None | Some("tlsv1.2" | "tlsv1.3") => Ok(()),
            Some(old @ ("tlsv1" | "tlsv1.0" | "tlsv1.1")) => Err(format!(
                "--tls-version {old} is not supported: it is no longer safe (RFC 8996); write \
                 tlsv1.2 or tlsv1.3."
            )),
            Some(other) => {
                Err(format!("--tls-version {other} is unknown: write tlsv1.2 or tlsv1.3."))
            }
        }
    }

    fn authorities(&self, persona: &Persona) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let mut files = Vec::new();
        if let Some(path) = &self.cafile {
            files.push(read(path, persona)?);
        }
        if let Some(folder) = &self.capath {
            // OpenSSL looks into the folder in the middle of the handshake.
            let useless = |text: String| match persona.is_mosquitto {
                true => Failure::new(TLS_REFUSED),
                false => Failure { text: format!("Error: {text}"), exit: Exit::Tls },
            };
            let unreadable =
                |error| useless(format!("Unable to read the folder {folder}: {error}"));
            let mut paths = Vec::new();
            for entry in fs::read_dir(folder).map_err(unreadable)? {
                paths.push(entry.map_err(unreadable)?.path());
            }
            // Two names (a hash and a link to it) may lead to one file; twice does no harm.
            paths.sort();
            for path in paths.iter().filter(|path| path.is_file()) {
                let (name, contents) = read(&path.display().to_string(), persona)?;
                if contents.windows(BEGIN.len()).any(|part| part == BEGIN) {
                    files.push((name, contents));
                }
            }
            if files.is_empty() {
                return Err(useless(format!("There is no certificate in the folder {folder}.")));
            }
        }
        Ok(files)
    }
}

/// Longest name of a key in bytes; what OpenSSL can send.
const PSK_IDENTITY_BYTES_MAX: usize = 128;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn read(path: &str, persona: &Persona) -> Result<(String, Vec<u8>), Failure> {
    let contents = fs::read(Path::new(path)).map_err(|error| match persona.is_mosquitto {
        true => Failure::new("Error: Problem setting TLS options: File not found."),
        false => Failure::new(format!("Error: Unable to read {path}: {error}")),
    })?;
    Ok((path.to_owned(), contents))
}
