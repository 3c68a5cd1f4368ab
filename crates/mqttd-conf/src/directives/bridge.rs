//! Rows of bridges, and the forms of `address`, `topic` and `restart_timeout`. Bridges work when
//! the row `connection` does: while it is planned, one warning stands for all options below it.
// tidy: dictionary

use std::time::Duration;

use super::persistence::filter_fault;
use super::{positive, tls::parse_version};
use crate::config::{
    Bridge as Target, BridgeTopic, BridgeVersion, DEFAULT_PORT, Direction, RemoteAddress, Restart,
    StartType, TcpKeepalive,
};
use crate::directive::{
    Directive,
    Meaning::{Bridge, Section},
    Section as Opens, Status, Tail,
    Value::{Flag, Integer, Parsed, Path, Text},
};

const ADDRESS: &str = "HOST or HOST:PORT, several with spaces between; [IPV6]:PORT";
const TOPIC: &str = "PATTERN [out, in or both [0, 1 or 2 [LOCAL_PREFIX [REMOTE_PREFIX]]]]";
const VERSION: &str = "mqttv31, mqttv311 or mqttv50";
const START: &str = "automatic, lazy or once";
const RESTART: &str = "SECONDS, or BASE CAP, or BASE CAP STABLE, with BASE at most CAP";
const RELOAD: &str = "lazy or immediate";
const KEEPALIVE: &str = "IDLE INTERVAL COUNT, three whole numbers above 0";
const TLS_VERSION: &str = "tlsv1.2 or tlsv1.3";
const KEY: &str = "an even number of hexadecimal digits";

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "connection",
        Section(Opens::Bridge, "a name"),
        "",
        "connection office",
        "Begins a bridge of this name.",
    )
    .repeats()
    .status(Status::Planned),
    Directive::new(
        "address",
        Bridge(Parsed(ADDRESS, Tail::Comment, |bridge: &mut Target, text| {
            for word in text.split_ascii_whitespace() {
                bridge.addresses.push(parse_address(word)?);
            }
            Ok(())
        })),
        "",
        "address broker.example.org:1883",
        "The remote broker; several are tried in turn, the first is the primary one.",
    )
    .aliases(&["addresses"])
    .repeats(),
    Directive::new(
        "topic",
        Bridge(Parsed(TOPIC, Tail::Quoted, |bridge: &mut Target, text| {
            bridge.topics.push(parse_topic(text)?);
            Ok(())
        })),
        "",
        "topic sensors/# out 1 local/ remote/",
        "Topics that are carried: `out` to the remote broker, `in` from it, or `both`, with this \
         QoS at most. The prefixes stand before the pattern here and there. Double quotes hold \
         spaces; `\"\"` is empty. Default: out 0.",
    )
    .repeats(),
    Directive::new(
        "remote_clientid",
        Bridge(Text(|bridge, text| bridge.remote.client_id = Some(text))),
        "HOSTNAME.NAME",
        "remote_clientid house.office",
        "Client Identifier at the remote broker.",
    )
    .aliases(&["clientid"]),
    Directive::new(
        "remote_username",
        Bridge(Text(|bridge, text| bridge.remote.username = Some(text))),
        "",
        "remote_username house",
        "User name at the remote broker.",
    )
    .aliases(&["username"]),
    Directive::new(
        "remote_password",
        Bridge(Text(|bridge, text| bridge.remote.password = Some(text))),
        "",
        "remote_password secret",
        "Password at the remote broker.",
    )
    .aliases(&["password"])
    .secret(),
    Directive::new(
        "local_clientid",
        Bridge(Text(|bridge, text| bridge.local.client_id = Some(text))),
        "local.REMOTE_CLIENTID",
        "local_clientid local.office",
        "Client Identifier at this broker.",
    ),
    Directive::new(
        "local_username",
        Bridge(Text(|bridge, text| bridge.local.username = Some(text))),
        "",
        "local_username bridge",
        "User name at this broker.",
    ),
    Directive::new(
        "local_password",
        Bridge(Text(|bridge, text| bridge.local.password = Some(text))),
        "",
        "local_password secret",
        "Password at this broker.",
    )
    .secret(),
    Directive::new(
        "bridge_protocol_version",
        Bridge(Parsed(VERSION, Tail::Comment, |bridge: &mut Target, text| {
            bridge.session.version = match text {
                "mqttv31" => BridgeVersion::V31,
                "mqttv311" => BridgeVersion::V311,
                "mqttv50" => BridgeVersion::V5,
                _ => return Err(VERSION.to_owned()),
            };
            Ok(())
        })),
        "mqttv311",
        "bridge_protocol_version mqttv50",
        "The MQTT version spoken with the remote broker.",
    ),
    Directive::new(
        "try_private",
        Bridge(Flag(|bridge, on| bridge.session.try_private = on)),
        "true",
        "try_private false",
        "Tells the remote broker that a bridge connects, which keeps it from sending our own \
         messages back. Brokers that do not know the sign refuse it.",
    ),
    Directive::new(
        "cleansession",
        Bridge(Flag(|bridge, on| bridge.session.clean_session = on)),
        "false",
        "cleansession true",
        "Keeps no session at the remote broker.",
    ),
    Directive::new(
        "local_cleansession",
        Bridge(Flag(|bridge, on| bridge.session.local_clean_session = Some(on))),
        "as cleansession",
        "local_cleansession false",
        "Keeps no messages for the bridge here while it is disconnected.",
    ),
    Directive::new(
        "keepalive_interval",
        Bridge(Integer(5, 65535, |bridge, n| bridge.session.keep_alive = seconds(n))),
        "60",
        "keepalive_interval 30",
        "Seconds without a packet after which a PINGREQ is sent.",
    ),
    Directive::new(
        "bridge_session_expiry_interval",
        Bridge(Integer(0, u32::MAX as i64, |bridge, n| {
            bridge.session.session_expiry_interval = u32::try_from(n).unwrap_or(u32::MAX);
        })),
        "0",
        "bridge_session_expiry_interval 3600",
        "Session Expiry Interval in seconds of an MQTT 5.0 bridge.",
    ),
    Directive::new(
        "bridge_receive_maximum",
        Bridge(Integer(0, 65535, |bridge, n| {
            bridge.session.receive_maximum = u16::try_from(n).ok().filter(|n| *n > 0);
        })),
        "0",
        "bridge_receive_maximum 100",
        "Receive Maximum of an MQTT 5.0 bridge; 0: not sent.",
    ),
    Directive::new(
        "bridge_max_packet_size",
        Bridge(Integer(0, i32::MAX as i64, |bridge, n| {
            bridge.session.max_packet_size = positive(n);
        })),
        "0",
        "bridge_max_packet_size 100000",
        "Bytes of the largest packet sent to the remote broker; 0: no bound.",
    ),
    Directive::new(
        "bridge_max_topic_alias",
        Bridge(Integer(0, 65535, |bridge, n| {
            bridge.session.max_topic_alias = u16::try_from(n).unwrap_or(u16::MAX);
        })),
        "10",
        "bridge_max_topic_alias 0",
        "Topic aliases the remote broker may use towards an MQTT 5.0 bridge.",
    ),
    Directive::new(
        "bridge_outgoing_retain",
        Bridge(Flag(|bridge, on| bridge.session.outgoing_retain = on)),
        "true",
        "bridge_outgoing_retain false",
        "With false, messages lose their retain flag towards the remote broker.",
    ),
    Directive::new(
        "bridge_attempt_unsubscribe",
        Bridge(Flag(|bridge, on| bridge.session.attempt_unsubscribe = on)),
        "true",
        "bridge_attempt_unsubscribe false",
        "Unsubscribes at the remote broker, when connected, from topics that go out only.",
    ),
    Directive::new(
        "start_type",
        Bridge(Parsed(START, Tail::Comment, |bridge: &mut Target, text| {
            bridge.start.start_type = match text {
                "automatic" => StartType::Automatic,
                "lazy" => StartType::Lazy,
                "once" => StartType::Once,
                _ => return Err(START.to_owned()),
            };
            Ok(())
        })),
        "automatic",
        "start_type lazy",
        "`automatic` connects at start and whenever the connection is lost, `lazy` while messages \
         wait, `once` at start.",
    ),
    Directive::new(
        "restart_timeout",
        Bridge(Parsed(RESTART, Tail::Comment, |bridge: &mut Target, text| {
            bridge.start.restart = parse_restart(text)?;
            Ok(())
        })),
        "5 30",
        "restart_timeout 10 120",
        "Seconds until a lost connection is tried again: one number is always waited; of two, \
         the wait grows from the first to the second. A connection that lived for the third \
         starts again with the first.",
    ),
    Directive::new(
        "round_robin",
        Bridge(Flag(|bridge, on| bridge.start.round_robin = on)),
        "false",
        "round_robin true",
        "Takes the addresses in turn; with false, goes back to the first when it answers again.",
    ),
    Directive::new(
        "threshold",
        Bridge(Integer(1, i32::MAX as i64, |bridge, n| {
            bridge.start.threshold = u32::try_from(n).unwrap_or(u32::MAX);
        })),
        "10",
        "threshold 100",
        "Waiting messages that make a lazy bridge connect.",
    ),
    Directive::new(
        "idle_timeout",
        Bridge(Integer(1, i32::MAX as i64, |bridge, n| bridge.start.idle_timeout = seconds(n))),
        "60",
        "idle_timeout 10",
        "Seconds without a message after which a lazy bridge disconnects.",
    ),
    Directive::new(
        "bridge_reload_type",
        Bridge(Parsed(RELOAD, Tail::Comment, |bridge: &mut Target, text| {
            bridge.start.reloads_immediately = match text {
                "lazy" => false,
                "immediate" => true,
                _ => return Err(RELOAD.to_owned()),
            };
            Ok(())
        })),
        "lazy",
        "bridge_reload_type immediate",
        "When changed options are used: after the connection is lost anyway, or at once.",
    ),
    Directive::new(
        "notifications",
        Bridge(Flag(|bridge, on| bridge.notifications.enabled = on)),
        "true",
        "notifications false",
        "Publishes 1 or 0, retained, when the bridge connects or disconnects.",
    ),
    Directive::new(
        "notifications_local_only",
        Bridge(Flag(|bridge, on| bridge.notifications.local_only = on)),
        "false",
        "notifications_local_only true",
        "Publishes the state at this broker only.",
    ),
    Directive::new(
        "notification_topic",
        Bridge(Text(|bridge, text| bridge.notifications.topic = Some(text))),
        "$SYS/broker/connection/CLIENTID/state",
        "notification_topic bridges/office",
        "The topic the state is published to.",
    ),
    Directive::new(
        "bridge_bind_address",
        Bridge(Text(|bridge, text| bridge.socket.bind_address = Some(text))),
        "any",
        "bridge_bind_address 192.168.1.10",
        "The local address of the connection.",
    ),
    Directive::new(
        "bridge_tcp_keepalive",
        Bridge(Parsed(KEEPALIVE, Tail::Comment, |bridge: &mut Target, text| {
            let numbers = whole_numbers(text).ok_or(KEEPALIVE)?;
            let [idle, interval, count] = numbers[..] else { return Err(KEEPALIVE.to_owned()) };
            if idle == 0 || interval == 0 || count == 0 {
                return Err(KEEPALIVE.to_owned());
            }
            let (idle, interval) = (Duration::from_secs(idle.into()), interval.into());
            let interval = Duration::from_secs(interval);
            bridge.socket.keepalive = Some(TcpKeepalive { idle, interval, count });
            Ok(())
        })),
        "the system's",
        "bridge_tcp_keepalive 60 10 5",
        "TCP keepalive: idle seconds, seconds between probes, unanswered probes.",
    ),
    Directive::new(
        "bridge_tcp_user_timeout",
        Bridge(Integer(-1, i32::MAX as i64, |bridge, n| {
            bridge.socket.user_timeout = u64::try_from(n).ok().map(Duration::from_millis);
        })),
        "-1",
        "bridge_tcp_user_timeout 30000",
        "TCP_USER_TIMEOUT in milliseconds; -1: the system's default.",
    ),
    Directive::new(
        "bridge_cafile",
        Bridge(Path(|bridge, path| bridge.tls.cafile = Some(path))),
        "",
        "bridge_cafile /etc/mqttd/certs/ca.crt",
        "Authorities that the remote broker's certificate is checked with; turns TLS on.",
    ),
    Directive::new(
        "bridge_capath",
        Bridge(Path(|bridge, path| bridge.tls.capath = Some(path))),
        "",
        "bridge_capath /etc/ssl/certs",
        "A folder of such authorities; turns TLS on.",
    ),
    Directive::new(
        "bridge_tls_use_os_certs",
        Bridge(Flag(|bridge, on| bridge.tls.use_os_certs = on)),
        "false",
        "bridge_tls_use_os_certs true",
        "Takes the system's authorities; turns TLS on.",
    ),
    Directive::new(
        "bridge_certfile",
        Bridge(Path(|bridge, path| bridge.tls.certfile = Some(path))),
        "",
        "bridge_certfile /etc/mqttd/certs/bridge.crt",
        "The certificate shown to the remote broker.",
    ),
    Directive::new(
        "bridge_keyfile",
        Bridge(Path(|bridge, path| bridge.tls.keyfile = Some(path))),
        "",
        "bridge_keyfile /etc/mqttd/certs/bridge.key",
        "The private key of that certificate.",
    ),
    Directive::new(
        "bridge_tls_version",
        Bridge(Parsed(TLS_VERSION, Tail::Comment, |bridge: &mut Target, text| {
            bridge.tls.version_min = parse_version(text)?;
            Ok(())
        })),
        "tlsv1.2",
        "bridge_tls_version tlsv1.3",
        "The lowest version of TLS.",
    ),
    Directive::new(
        "bridge_ciphers",
        Bridge(Text(|bridge, text| bridge.tls.ciphers = Some(text))),
        "",
        "bridge_ciphers ECDHE-RSA-AES256-GCM-SHA384",
        "Ciphers up to TLS 1.2, as OpenSSL names them.",
    ),
    Directive::new(
        "bridge_ciphers_tls1.3",
        Bridge(Text(|bridge, text| bridge.tls.ciphers_tls13 = Some(text))),
        "",
        "bridge_ciphers_tls1.3 TLS_AES_256_GCM_SHA384",
        "Ciphers of TLS 1.3, as OpenSSL names them.",
    ),
    Directive::new(
        "bridge_insecure",
        Bridge(Flag(|bridge, on| bridge.tls.insecure = on)),
        "false",
        "bridge_insecure true",
        "Does not compare the certificate with the name of the host: anybody with a certificate \
         of the same authority can be the remote broker.",
    ),
    Directive::new(
        "bridge_alpn",
        Bridge(Text(|bridge, text| bridge.tls.alpn = Some(text))),
        "",
        "bridge_alpn mqtt",
        "The ALPN protocol offered.",
    ),
    Directive::new(
        "bridge_require_ocsp",
        Bridge(Flag(|bridge, on| bridge.tls.require_ocsp = on)),
        "false",
        "bridge_require_ocsp true",
        "Demands a stapled OCSP answer for the remote broker's certificate.",
    ),
    Directive::new(
        "bridge_identity",
        Bridge(Text(|bridge, text| bridge.tls.psk.identity = Some(text))),
        "",
        "bridge_identity house",
        "Identity of a pre-shared key.",
    ),
    Directive::new(
        "bridge_psk",
        Bridge(Parsed(KEY, Tail::Comment, |bridge: &mut Target, text| {
            if text.len() % 2 != 0 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(KEY.to_owned());
            }
            bridge.tls.psk.key = Some(text.to_owned());
            Ok(())
        })),
        "",
        "bridge_psk 00112233445566778899aabbccddeeff",
        "The pre-shared key.",
    )
    .secret(),
];

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

fn whole_numbers(text: &str) -> Option<Vec<u32>> {
    text.split_ascii_whitespace().map(|word| word.parse().ok()).collect()
}

/// `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT`, or an IPv6 address alone.
fn parse_address(word: &str) -> Result<RemoteAddress, String> {
    let (host, port) = match word.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(None) => return Err(ADDRESS.to_owned()),
        Some(Some((host, ""))) => (host, None),
        Some(Some((host, rest))) => (host, Some(rest.strip_prefix(':').ok_or(ADDRESS)?)),
        None if word.matches(':').count() > 1 => (word, None),
        None => match word.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (word, None),
        },
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or(ADDRESS)?,
    };
    if host.is_empty() {
        return Err(ADDRESS.to_owned());
    }
    Ok(RemoteAddress { host: host.to_owned(), port })
}

fn parse_restart(text: &str) -> Result<Restart, String> {
    let numbers = whole_numbers(text).ok_or(RESTART)?;
    let long = |number: u32| Duration::from_secs(number.into());
    match numbers[..] {
        [wait] if wait > 0 => Ok(Restart::Constant(long(wait))),
        [base, cap] if 0 < base && base <= cap => {
            Ok(Restart::Backoff { base: long(base), cap: long(cap), stable: Duration::ZERO })
        }
        [base, cap, stable] if 0 < base && base <= cap => {
            Ok(Restart::Backoff { base: long(base), cap: long(cap), stable: long(stable) })
        }
        _ => Err(RESTART.to_owned()),
    }
}

/// `PATTERN [[out|in|both] QOS] [LOCAL] [REMOTE]`, each word maybe in double quotes.
fn parse_topic(text: &str) -> Result<BridgeTopic, String> {
    let wrong = |why: &str| format!("{TOPIC} ({why})");
    let words = quoted_words(text).ok_or_else(|| wrong("a double quote is not closed"))?;
    let mut words = words.into_iter();
    let pattern = words.next().ok_or(TOPIC)?;
    let direction = match words.next().as_deref() {
        None | Some("out") => Direction::Out,
        Some("in") => Direction::In,
        Some("both") => Direction::Both,
        Some(_) => return Err(wrong("the direction is out, in or both")),
    };
    let qos = match words.next().as_deref() {
        None | Some("0") => 0,
        Some("1") => 1,
        Some("2") => 2,
        Some(_) => return Err(wrong("the QoS is 0, 1 or 2")),
    };
    let local_prefix = words.next().unwrap_or_default();
    let remote_prefix = words.next().unwrap_or_default();
    if words.next().is_some() {
        return Err(wrong("there are more than five words"));
    }
    if pattern.is_empty() && (local_prefix.is_empty() || remote_prefix.is_empty()) {
        return Err(wrong("an empty pattern needs both prefixes"));
    }
    for prefix in [&local_prefix, &remote_prefix] {
        if prefix.contains(['+', '#']) {
            return Err(wrong("a prefix has no '+' and no '#'"));
        }
        if let Some(fault) = filter_fault(&format!("{prefix}{pattern}")) {
            return Err(wrong(fault));
        }
    }
    Ok(BridgeTopic { pattern, direction, qos, local_prefix, remote_prefix })
}

/// Splits at white space outside double quotes; `None` when a quote stays open.
fn quoted_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(inside) => inside.split_once('"')?,
            None => rest.split_at(rest.find([' ', '\t']).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |word: &str, wanted: Option<(&str, u16)>| {
            let wanted = wanted.map(|(host, port)| RemoteAddress { host: host.to_owned(), port });
            assert_eq!(parse_address(word).ok(), wanted, "{word}");
        };
        check("a", Some(("a", 1883)));
        check("a:8883", Some(("a", 8883)));
        check("::1", Some(("::1", 1883)));
        check("[::1]", Some(("::1", 1883)));
        check("[::1]:1", Some(("::1", 1)));
        for wrong in ["", ":1", "a:", "a:0", "a:65536", "[::1", "[::1]1", "[]:1"] {
            check(wrong, None);
        }
    }

    #[test]
    fn topics() {
        let check = |text: &str, wanted: (&str, Direction, u8, &str, &str)| {
            let (pattern, direction, qos, local, remote) = wanted;
            let wanted = BridgeTopic {
                pattern: pattern.to_owned(),
                direction,
                qos,
                local_prefix: local.to_owned(),
                remote_prefix: remote.to_owned(),
            };
            assert_eq!(parse_topic(text), Ok(wanted), "{text}");
        };
        check("#", ("#", Direction::Out, 0, "", ""));
        check("a/# in", ("a/#", Direction::In, 0, "", ""));
        check("a/# both 2 l/ r/", ("a/#", Direction::Both, 2, "l/", "r/"));
        check(r#""a b" out 1 "" "r s/""#, ("a b", Direction::Out, 1, "", "r s/"));
        check(r#""" in 0 here there"#, ("", Direction::In, 0, "here", "there"));
        for wrong in [
            "",
            "a up",
            "a in 3",
            "a in 0 b c d",
            r#""a"#,
            r#""""#,
            r#""" out 0 a"#,
            "a/#/b",
            "a in 0 #/ x",
        ] {
            assert!(parse_topic(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn waits() {
        let seconds = Duration::from_secs;
        assert_eq!(parse_restart("7"), Ok(Restart::Constant(seconds(7))));
        let (base, cap) = (seconds(5), seconds(30));
        let stable = Duration::ZERO;
        assert_eq!(parse_restart("5 30"), Ok(Restart::Backoff { base, cap, stable }));
        let stable = seconds(9);
        assert_eq!(parse_restart("5 30 9"), Ok(Restart::Backoff { base, cap, stable }));
        for wrong in ["", "0", "30 5", "1 2 3 4", "a", "-1"] {
            assert!(parse_restart(wrong).is_err(), "{wrong}");
        }
    }
}
