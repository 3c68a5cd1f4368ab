//! The pre-shared keys of a listener (`psk_hint`, `psk_file`). Only a build with the feature `psk`
//! can use them; another one says so at its start.

use mqtt_net::Stream;
use mqttd_conf::Listener;

use crate::logging::Logger;

/// The keys of one listener, ready for connections.
pub(crate) struct PreSharedKeys {
    #[cfg(feature = "psk")]
    server: mqtt_net::tls::ServerPsk,
}

impl PreSharedKeys {
    /// Reads the file; `None` for a listener without `psk_hint`.
    #[cfg(feature = "psk")]
    pub(crate) fn load(listener: &Listener, logger: &Logger) -> anyhow::Result<Option<Self>> {
        use anyhow::Context as _;
        use mqtt_net::tls::{MinimumVersion, ServerPsk, ServerPskOptions};
        use mqttd_conf::{LogType, TlsVersion};

        let (Some(psk), Some(path)) = (&listener.psk, &listener.auth.psk_file) else {
            return Ok(None);
        };
        let text = crate::live::read_text(path, "psk_file")?;
        let (table, warnings) = mqtt_auth::PskTable::parse(&text)
            .with_context(|| format!("psk_file {}", path.display()))?;
        for warning in warnings {
            logger.line(
                LogType::Warning,
                format_args!("Warning: psk_file {}: {warning}", path.display()),
            );
        }
        let server = ServerPsk::new(ServerPskOptions {
            minimum: match psk.version_min {
                TlsVersion::V12 => MinimumVersion::Tls12,
                TlsVersion::V13 => MinimumVersion::Tls13,
            },
            ciphers: psk.ciphers.as_deref(),
            ciphers_tls13: psk.ciphers_tls13.as_deref(),
            keys: std::sync::Arc::new(move |identity| table.key(identity).map(<[u8]>::to_vec)),
        })?;
        Ok(Some(Self { server }))
    }

    /// Refuses a listener with `psk_hint`.
    #[cfg(not(feature = "psk"))]
    pub(crate) fn load(listener: &Listener, _: &Logger) -> anyhow::Result<Option<Self>> {
        if listener.psk.is_some() {
            anyhow::bail!(
                "psk_hint: pre-shared keys are not in this build; build it with \
                 --features mqttd/psk (wants OpenSSL), or give the listener certfile and keyfile"
            );
        }
        Ok(None)
    }

    /// Does the handshake; returns the identity of the key.
    #[cfg(feature = "psk")]
    pub(crate) async fn accept(&self, stream: Stream) -> Result<(Stream, String), String> {
        self.server.accept(stream).await.map_err(|error| error.to_string())
    }

    /// There are none to do it with.
    #[cfg(not(feature = "psk"))]
    pub(crate) async fn accept(&self, _: Stream) -> Result<(Stream, String), String> {
        Err("pre-shared keys are not in this build".to_owned())
    }
}
