//! Rows of listeners: where they listen, what they speak, their bounds.

use super::positive;
use crate::config::{Address, Protocol, ProtocolVersions, SocketDomain};
use crate::directive::{
    Directive,
    Meaning::{DefaultListener, Listener, Section},
    Section as Opens, Tail,
    Value::{Flag, Integer, Parsed, Text},
};
use crate::raw::ListenerDraft;

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "listener",
        Section(Opens::Listener, "PORT [ADDRESS], or 0 PATH for a Unix socket"),
        "",
        "listener 1883 192.168.1.10",
        "Opens a listener on a port from 1 to 65535, on one address (a name or number) or on \
         all. `listener 0 PATH` opens a Unix socket.",
    )
    .repeats(),
    Directive::new(
        "port",
        DefaultListener(Integer(1, 65535, |draft, n| {
            if let (Address::Tcp { port, .. }, Ok(n)) =
                (&mut draft.listener.address, u16::try_from(n))
            {
                *port = n;
            }
        })),
        "1883",
        "port 1883",
        "The port of the default listener. `listener` says the same and more.",
    ),
    Directive::new(
        "bind_address",
        DefaultListener(Text(|draft, name| {
            if let Address::Tcp { host, .. } = &mut draft.listener.address {
                *host = Some(name);
            }
        })),
        "every address",
        "bind_address 127.0.0.1",
        "The address of the default listener.",
    ),
    Directive::new(
        "protocol",
        Listener(Parsed(PROTOCOL, Tail::Comment, |draft: &mut ListenerDraft, text| {
            draft.listener.protocol = match text {
                "mqtt" => Protocol::Mqtt,
                "websockets" => Protocol::Websockets,
                "http_api" => Protocol::HttpApi,
                _ => return Err(PROTOCOL.to_owned()),
            };
            Ok(())
        })),
        "mqtt",
        "protocol websockets",
        "What is spoken on this listener: MQTT, MQTT over WebSocket, or HTTP for whoever looks \
         after the broker. `http_api` has Mosquitto's `/api/v1/version`, `/api/v1/systree` and \
         `/api/v1/listeners`, `/metrics` for Prometheus, `/health` without a password, and the \
         files of `http_dir`. It asks for users as the listener does, and the ACL file's rights: \
         a path is a topic to read.",
    ),
    Directive::new(
        "accept_protocol_versions",
        Listener(Parsed(VERSIONS, Tail::Comment, |draft: &mut ListenerDraft, text| {
            draft.listener.versions = parse_versions(text)?;
            Ok(())
        })),
        "3,4,5",
        "accept_protocol_versions 4,5",
        "The MQTT versions let in: 3 for 3.1, 4 for 3.1.1, 5 for 5.0.",
    ),
    Directive::new(
        "socket_domain",
        Listener(Parsed(DOMAIN, Tail::Comment, |draft: &mut ListenerDraft, text| {
            draft.listener.socket_domain = match text {
                "ipv4" => Some(SocketDomain::Ipv4),
                "ipv6" => Some(SocketDomain::Ipv6),
                _ => return Err(DOMAIN.to_owned()),
            };
            Ok(())
        })),
        "both",
        "socket_domain ipv4",
        "Listens on addresses of this family only.",
    ),
    Directive::new(
        "bind_interface",
        Listener(Text(|draft, name| draft.listener.bind_interface = Some(name))),
        "every interface",
        "bind_interface eth0",
        "Listens on the addresses of this network interface only, those it has at the start.",
    ),
    Directive::new(
        "unix_socket_mode",
        Listener(Parsed(MODE, Tail::Comment, |draft: &mut ListenerDraft, text| {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
            draft.listener.socket_mode = Some(mode.ok_or_else(|| MODE.to_owned())?);
            Ok(())
        })),
        "as the umask says",
        "unix_socket_mode 0660",
        "Permissions of the socket file of `listener 0 PATH`: who may write to it may connect.",
    ),
    Directive::new(
        "max_connections",
        Listener(Integer(-1, i32::MAX as i64, |draft, n| {
            draft.listener.limits.max_connections = positive(n);
        })),
        "-1",
        "max_connections 100",
        "Connections to this listener at one time; 0 or -1: no bound.",
    ),
    Directive::new(
        "max_qos",
        Listener(Integer(0, 2, |draft, n| {
            draft.listener.limits.max_qos = u8::try_from(n).unwrap_or(2);
        })),
        "2",
        "max_qos 1",
        "The highest QoS of messages on this listener. MQTT 5.0 clients are told; a message with \
         a higher one ends the connection.",
    )
    .aliases(&["maximum_qos"]),
    Directive::new(
        "max_topic_alias",
        Listener(Integer(0, 65535, |draft, n| {
            draft.listener.limits.max_topic_alias = u16::try_from(n).unwrap_or(u16::MAX);
        })),
        "10",
        "max_topic_alias 100",
        "Topic aliases an MQTT 5.0 client may use towards the broker; 0: none.",
    ),
    Directive::new(
        "max_topic_alias_broker",
        Listener(Integer(0, 65535, |draft, n| {
            draft.listener.limits.max_topic_alias_broker = u16::try_from(n).unwrap_or(u16::MAX);
        })),
        "10",
        "max_topic_alias_broker 100",
        "Topic aliases the broker uses towards an MQTT 5.0 client at most; 0: none.",
    ),
    Directive::new(
        "mount_point",
        Listener(Parsed(MOUNT, Tail::Comment, |draft: &mut ListenerDraft, text| {
            if text.contains(['+', '#', '\0']) {
                return Err(MOUNT.to_owned());
            }
            draft.listener.mount_point = Some(text.to_owned());
            Ok(())
        })),
        "",
        "mount_point house/",
        "Put in front of every topic that clients of this listener use, and taken off again \
         towards them, so that they see only topics below it.",
    ),
    Directive::new(
        "use_username_as_clientid",
        Listener(Flag(|draft, on| draft.listener.identity.use_username_as_clientid = on)),
        "false",
        "use_username_as_clientid true",
        "Replaces the Client Identifier by the user name; clients without one are refused.",
    ),
    Directive::new(
        "enable_proxy_protocol",
        Listener(Integer(1, 2, |draft, n| draft.proxy_version = u8::try_from(n).ok())),
        "off",
        "enable_proxy_protocol 2",
        "Every connection must begin with a PROXY header of this version, whose address counts \
         as the client's. Only for listeners that nobody but the proxy can reach.",
    ),
    Directive::new(
        "proxy_protocol_v2_require_tls",
        Listener(Flag(|draft, on| draft.proxy_requires_tls = on)),
        "false",
        "proxy_protocol_v2_require_tls true",
        "Closes connections whose PROXY header (version 2) does not say that the client used TLS.",
    ),
];

const PROTOCOL: &str = "mqtt, websockets or http_api";
const DOMAIN: &str = "ipv4 or ipv6";
const VERSIONS: &str = "a list of 3, 4 and 5 with commas between";
const MODE: &str = "permissions as three octal digits, such as 0660";
const MOUNT: &str = "a topic without '+' and '#'";

fn parse_versions(text: &str) -> Result<ProtocolVersions, String> {
    let mut versions = ProtocolVersions { v31: false, v311: false, v5: false };
    // Commas and blanks, any number of them, as in Mosquitto.
    let words = text.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    for word in words {
        match word {
            "3" => versions.v31 = true,
            "4" => versions.v311 = true,
            "5" => versions.v5 = true,
            _ => return Err(VERSIONS.to_owned()),
        }
    }
    if versions == (ProtocolVersions { v31: false, v311: false, v5: false }) {
        return Err(VERSIONS.to_owned());
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let all = ProtocolVersions::default();
        assert_eq!(parse_versions("3, 4,5"), Ok(all));
        assert_eq!(parse_versions("   ,  3 , 4  5,"), Ok(all));
        assert_eq!(parse_versions("5"), Ok(ProtocolVersions { v31: false, v311: false, ..all }));
        for wrong in ["", " , ", "6", "4,6"] {
            assert!(parse_versions(wrong).is_err(), "{wrong}");
        }
    }
}
