//! Exit codes, and the words that go with them.

use mqtt_client::{ConnectError, Refusal, RequestError, TlsError, Version};

use crate::args::Persona;

/// What a tool ends with. The numbers are Mosquitto's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All that was asked for is done.
    Success,
    /// A mistake on the command line, no connection, a file that can't be read, a message that
    /// was not acknowledged.
    Failure,
    /// The words of a command are wrong (`mqtt-ctrl`).
    Arguments,
    /// The connection was lost.
    ConnectionLost,
    /// TLS failed: the certificate, the handshake.
    Tls,
    /// There is no such module (`mqtt-ctrl`).
    NoModule,
    /// There is no such command (`mqtt-ctrl`).
    NoCommand,
    /// No connection to the host (`mqtt-ctrl`).
    NoConnection,
    /// The host is not known (`mqtt-ctrl`).
    NoHost,
    /// `-W` ran out.
    TimedOut,
    /// The broker refused the connection with this CONNACK code.
    Refused(u8),
}

impl Exit {
    /// The number for the operating system.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Arguments => 3,
            Self::ConnectionLost => 7,
            Self::Tls => 8,
            Self::NoModule => 10,
            Self::NoCommand => 13,
            Self::NoConnection => 14,
            Self::NoHost => 15,
            Self::TimedOut => 27,
            Self::Refused(code) => code,
        }
    }
}

/// Mosquitto's words for a connection that breaks in the handshake.
pub const TLS_ERROR: &str = "Error: A TLS error occurred.";

/// Mosquitto's words for a certificate that is not trusted, and for files that are no use.
pub const TLS_REFUSED: &str = "Unable to connect (A TLS error occurred.).";

/// A tool's last words and its exit code.
#[derive(Debug)]
pub struct Failure {
    /// Lines for stderr; not printed with `--quiet`.
    pub text: String,
    /// The exit code.
    pub exit: Exit,
}

impl Failure {
    /// With exit code 1.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Failure }
    }

    /// A mistake on the command line, with a hint where to read on.
    pub fn usage(persona: &Persona, text: &str) -> Self {
        let name = &persona.name;
        Self::new(format!("Error: {text}\n\nUse '{name} --help' to see usage."))
    }

    /// What a failed connect leads to.
    pub fn connect(error: &ConnectError, persona: &Persona) -> Self {
        match error {
            ConnectError::Refused(refusal) => {
                Self { text: refused(refusal, persona), exit: Exit::Refused(refusal.code) }
            }
            ConnectError::Options(text) => Self::new(format!("Error: {text}")),
            ConnectError::Tcp(mqtt_net::tcp::ConnectError::Resolve { host, .. }) => {
                match persona.is_mosquitto {
                    true => Self::new("Unable to connect (Lookup error.)."),
                    false => Self::new(format!(
                        "Unable to connect (Lookup error.): the host name `{host}` is not known"
                    )),
                }
            }
            ConnectError::Tcp(error) => match (error.io_error(), persona.is_mosquitto) {
                (Some(io), true) => Self::new(format!("Error: {}", system_words(io))),
                (Some(io), false) => Self::new(format!("Error: {} ({error})", system_words(io))),
                (None, _) => Self::new(format!("Error: {error}")),
            },
            ConnectError::Transport { source, .. } if source.is::<TlsError>() => {
                let tls = source.downcast_ref::<TlsError>();
                // Mosquitto's tools tell a broken connection from what TLS itself objects to.
                match (persona.is_mosquitto, tls.and_then(TlsError::rustls_error)) {
                    (true, Some(_)) => Self::new(TLS_REFUSED),
                    (true, None) => Self { text: TLS_ERROR.to_owned(), exit: Exit::Tls },
                    (false, _) => Self { text: format!("Error: {error}"), exit: Exit::Tls },
                }
            }
            ConnectError::Transport { source, .. } if persona.is_mosquitto => {
                match source.downcast_ref::<std::io::Error>() {
                    Some(io) => Self::new(format!("Error: {}", system_words(io))),
                    None => Self::new(format!("Error: {error}")),
                }
            }
            ConnectError::Closed => {
                Self { text: "Error: The connection was lost.".into(), exit: Exit::ConnectionLost }
            }
            error => Self::new(format!("Error: {error}")),
        }
    }

    /// What a failed request leads to.
    pub fn request(error: &RequestError) -> Self {
        match error {
            RequestError::Closed | RequestError::Lost => {
                Self { text: "Error: The connection was lost.".into(), exit: Exit::ConnectionLost }
            }
            error => Self::new(format!("Error: {error}.")),
        }
    }
}

/// `Connection refused (os error 111)` without its number, as C's strerror has it.
fn system_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn refused(refusal: &Refusal, persona: &Persona) -> String {
    let is_v5 = refusal.version == Version::V5;
    let mut text = match is_v5 {
        true => format!("Connection error: {}", capitalised(&refusal.to_string())),
        false => format!("Connection error: Connection Refused: {}.", v3_words(refusal.code)),
    };
    if persona.is_mosquitto && persona.name.ends_with("pub") {
        text.push_str(match is_v5 {
            true => {
                "\nError: A network protocol error occurred when communicating with the broker."
            }
            false => "\nError: The connection was refused.",
        });
    }
    let reason = refusal.properties.as_properties();
    if let Some(reason) = reason.text(mqtt_client::PropertyId::ReasonString) {
        text.push_str(&format!(" ({reason})"));
    }
    if let Some(other) = refusal.server_reference().filter(|_| !persona.is_mosquitto) {
        text.push_str(&format!("\nThe server names another one: {other}"));
    }
    if is_v5 && refusal.code == 0x84 {
        text.push_str("\nTry connecting to an MQTT v5 broker, or use MQTT v3.x mode.");
    }
    text
}

/// Mosquitto's words for the return codes of 3.x.
fn v3_words(code: u8) -> &'static str {
    match code {
        1 => "unacceptable protocol version",
        2 => "identifier rejected",
        3 => "broker unavailable",
        4 => "bad user name or password",
        5 => "not authorised",
        _ => "unknown reason",
    }
}

/// The first letter large, as Mosquitto writes reason codes.
pub fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use mqtt_client::{PropertiesBuf, PropertyId, Value};

    use super::*;

    fn refusal(version: Version, code: u8) -> ConnectError {
        ConnectError::Refused(Refusal { version, code, properties: PropertiesBuf::new() })
    }

    #[test]
    fn a_refused_connect_gives_its_code_and_mosquittos_line() {
        let ours = Persona::of("mqtt-pub");
        let failure = Failure::connect(&refusal(Version::V311, 5), &ours);
        assert_eq!(failure.text, "Connection error: Connection Refused: not authorised.");
        assert_eq!(failure.exit.code(), 5);
        let failure = Failure::connect(&refusal(Version::V5, 0x87), &ours);
        assert_eq!(failure.text, "Connection error: Not authorized");
        assert_eq!(failure.exit.code(), 135);
    }

    #[test]
    fn the_server_to_use_instead_is_named() {
        let mut properties = PropertiesBuf::new();
        let other = Value::Text("other.example:1884");
        properties.push(PropertyId::ServerReference, other).unwrap();
        let refusal = Refusal { version: Version::V5, code: 0x9C, properties };
        let said = |name: &str| {
            let refused = ConnectError::Refused(refusal.clone());
            Failure::connect(&refused, &Persona::of(name)).text
        };
        let expected = "Connection error: Use another server\nThe server names another one: \
                        other.example:1884";
        assert_eq!(said("mqtt-sub"), expected);
        assert_eq!(said("mosquitto_sub"), "Connection error: Use another server");
    }

    #[test]
    fn exit_codes_are_mosquittos() {
        let codes = [
            (Exit::Success, 0),
            (Exit::Failure, 1),
            (Exit::ConnectionLost, 7),
            (Exit::Tls, 8),
            (Exit::TimedOut, 27),
            (Exit::Refused(135), 135),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code);
        }
    }
}
