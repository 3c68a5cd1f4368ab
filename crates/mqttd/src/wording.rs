//! Mosquitto's log lines, word for word: what the shards and the listeners report becomes text.
//!
//! Log readers (fail2ban, dashboards) match these lines from their beginning up to the reason; what
//! we have to add stands behind it. Pure: which lines are wanted and where they go is decided in
//! `crate::logging`.

use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

use mqtt_proto::packet::{Ack, PacketType};
use mqtt_proto::{Offence, Packet, ReasonCode};
use mqttd_conf::LogType;
use mqttd_core::notice::{Ending, Messages, Notice, SentPacket};
use serde_json::Value;

use crate::logging::Fields;

/// What stands for the Client Identifier until a CONNECT has brought one.
pub(crate) const NO_CLIENT_ID: &str = "<unknown>";

/// The program and its version, as `$SYS/broker/version` and the first log line say it.
pub(crate) const VERSION: &str = concat!("mqttd version ", env!("CARGO_PKG_VERSION"));

/// What the body knows about the connection a [`Notice`] is about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer<'a> {
    /// Address and port, `127.0.0.1:5000`.
    pub(crate) address: &'a str,
    /// What the socket said when it broke; `None` when the peer closed it.
    pub(crate) socket_error: Option<&'a io::Error>,
    /// What went over the connection, to be told when it has ended.
    pub(crate) traffic: Option<Traffic>,
}

/// What went over one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// How long it lasted.
    pub(crate) duration: Duration,
    /// Control Packets received.
    pub(crate) packets_received: u64,
    /// Bytes received, below TLS and WebSocket framing.
    pub(crate) bytes_received: u64,
    /// Bytes sent, below TLS and WebSocket framing.
    pub(crate) bytes_sent: u64,
}

/// The log type of the line about `notice`.
pub(crate) fn log_type(notice: &Notice<'_>) -> LogType {
    match notice {
        Notice::Connected { .. } | Notice::Refused { .. } | Notice::Disconnected { .. } => {
            LogType::Notice
        }
        Notice::SessionExpired { .. } | Notice::Dropping { .. } => LogType::Notice,
        Notice::Subscribed { .. } => LogType::Subscribe,
        Notice::Unsubscribed { .. } => LogType::Unsubscribe,
        Notice::PublishDenied { .. } | Notice::Sending { .. } => LogType::Debug,
    }
}

/// The line about `notice` is written only with `connection_messages true`.
pub(crate) fn is_connection_message(notice: &Notice<'_>) -> bool {
    matches!(
        notice,
        Notice::Connected { .. } | Notice::Refused { .. } | Notice::Disconnected { .. }
    )
}

/// The words about `notice`, of [`log_type`]. `peer` is read only for
/// [`is_connection_message`]s.
pub(crate) fn words<'a>(notice: &'a Notice<'a>, peer: &'a Peer<'a>) -> impl Display + 'a {
    Words { notice, peer }
}

/// `New connection from 127.0.0.1:5000 on port 1883.` A notice, and a connection message.
pub(crate) fn new_connection(address: &str, port: u16) -> impl Display {
    words_of(move |f| write!(f, "New connection from {address} on port {port}."))
}

/// A connection is turned away before its CONNECT is read. A notice.
pub(crate) fn too_many_connections(address: &str) -> impl Display {
    words_of(move |f| {
        write!(f, "Client connection from {address} denied: max_connections exceeded.")
    })
}

/// The lines about a packet received from `client_id`, one call of `line` for each: the packet, and
/// below SUBSCRIBE and UNSUBSCRIBE their filters. Debug lines.
pub(crate) fn received(
    client_id: &str,
    packet: &Packet<'_>,
    mut line: impl FnMut(fmt::Arguments<'_>),
) {
    let id = client_id;
    let name = packet.packet_type().name();
    match packet {
        Packet::Publish(publish) => {
            let (dup, qos, retain) =
                (publish.dup.into(), publish.qos.as_u8(), publish.retain.into());
            let flags: [u8; 3] = [dup, qos, retain];
            let mid = publish.packet_id.map_or(0, |packet_id| packet_id.get());
            let publish = publish_words(flags, mid, publish.topic, publish.payload.len());
            line(format_args!("Received PUBLISH from {id} {publish}"));
        }
        Packet::Puback(ack) | Packet::Pubcomp(ack) => {
            let Ack { packet_id, reason, .. } = ack;
            let code = reason.value();
            line(format_args!("Received {name} from {id} (Mid: {packet_id}, RC:{code})"));
        }
        Packet::Pubrec(ack) | Packet::Pubrel(ack) => {
            line(format_args!("Received {name} from {id} (Mid: {})", ack.packet_id));
        }
        Packet::Subscribe(subscribe) => {
            line(format_args!("Received SUBSCRIBE from {id}"));
            for (filter, options) in subscribe.filters.iter() {
                line(format_args!("\t{filter} (QoS {})", options.qos.as_u8()));
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            line(format_args!("Received UNSUBSCRIBE from {id}"));
            for filter in unsubscribe.filters.iter() {
                line(format_args!("\t{filter}"));
            }
        }
        Packet::Disconnect(disconnect) if disconnect.reason != ReasonCode::Success => {
            let code = disconnect.reason.value();
            line(format_args!("Received DISCONNECT from {id} (rc{code})"));
        }
        Packet::Connect(_)
        | Packet::Connack(_)
        | Packet::Suback(_)
        | Packet::Unsuback(_)
        | Packet::Pingreq
        | Packet::Pingresp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => line(format_args!("Received {name} from {id}")),
    }
}

/// Why, in Mosquitto's words.
pub(crate) fn reason_word(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::MalformedPacket => "malformed packet",
        // Mosquitto does not tell a wrong password from a missing right, and intrusion filters
        // wait for these two words.
        ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized => "not authorised",
        ReasonCode::KeepAliveTimeout => "exceeded timeout",
        ReasonCode::PacketTooLarge => "oversize packet",
        ReasonCode::Banned => "client banned",
        ReasonCode::BadAuthenticationMethod => "bad authentication method",
        ReasonCode::RetainNotSupported
        | ReasonCode::QoSNotSupported
        | ReasonCode::SharedSubscriptionsNotSupported
        | ReasonCode::SubscriptionIdentifiersNotSupported
        | ReasonCode::WildcardSubscriptionsNotSupported => "used disallowed feature",
        ReasonCode::ProtocolError
        | ReasonCode::UnsupportedProtocolVersion
        | ReasonCode::PayloadFormatInvalid => "protocol error",
        ReasonCode::TopicNameInvalid | ReasonCode::TopicFilterInvalid => "malformed packet",
        // Session taken over, administrative action, receive maximum exceeded, quota exceeded, …:
        // the standard's words are Mosquitto's.
        reason => reason.text(),
    }
}

struct Words<'a> {
    notice: &'a Notice<'a>,
    peer: &'a Peer<'a>,
}

impl Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.notice {
            notice @ Notice::Connected { .. } => connected(f, notice, self.peer.address),
            Notice::Refused { client_id, reason, .. } => {
                let id = if client_id.is_empty() { NO_CLIENT_ID } else { client_id };
                begin_of_end(f, id, self.peer.address)?;
                write!(f, ": {}", reason_word(*reason))?;
                if reason_word(*reason) != reason.text() && !is_login_failure(*reason) {
                    write!(f, " ({reason})")?;
                }
                f.write_str(".")
            }
            Notice::Disconnected { client_id, ending, messages, .. } => {
                disconnected(f, client_id, *ending, *messages, self.peer)
            }
            Notice::SessionExpired { client_id } => {
                write!(f, "Expiring client {client_id} due to timeout.")
            }
            Notice::Subscribed { client_id, filter, qos } => {
                write!(f, "{client_id} {} {filter}", qos.as_u8())
            }
            Notice::Unsubscribed { client_id, filter } => write!(f, "{client_id} {filter}"),
            Notice::Dropping { client_id, reason } => {
                let reason = reason.name();
                write!(f, "Outgoing messages are being dropped for client {client_id}. ({reason})")
            }
            Notice::PublishDenied { client_id, topic } => {
                write!(f, "Denied PUBLISH from {client_id} ('{topic}')")
            }
            Notice::Sending { client_id, packet } => sending(f, client_id, packet),
        }
    }
}

fn connected(f: &mut fmt::Formatter<'_>, notice: &Notice<'_>, address: &str) -> fmt::Result {
    let Notice::Connected {
        client_id,
        username,
        version,
        clean_start,
        keep_alive_seconds,
        is_bridge,
        ..
    } = notice
    else {
        return Ok(());
    };
    let who = if *is_bridge { "bridge" } else { "client" };
    let (level, clean) = (version.level(), u8::from(*clean_start));
    write!(f, "New {who} connected from {address} as {client_id} ")?;
    write!(f, "(p{level}, c{clean}, k{keep_alive_seconds}")?;
    if let Some(username) = username {
        write!(f, ", u'{username}'")?;
    }
    f.write_str(").")
}

fn begin_of_end(f: &mut fmt::Formatter<'_>, client_id: &str, address: &str) -> fmt::Result {
    write!(f, "Client {client_id} [{address}] disconnected")
}

fn disconnected(
    f: &mut fmt::Formatter<'_>,
    client_id: &str,
    ending: Ending,
    messages: Messages,
    peer: &Peer<'_>,
) -> fmt::Result {
    begin_of_end(f, client_id, peer.address)?;
    ended_because(f, ending, peer)?;
    match peer.traffic {
        Some(traffic) => write!(f, " {}", traffic.words(messages)),
        None => Ok(()),
    }
}

/// What follows "disconnected".
fn ended_because(f: &mut fmt::Formatter<'_>, ending: Ending, peer: &Peer<'_>) -> fmt::Result {
    match ending {
        Ending::Disconnected => f.write_str("."),
        Ending::DisconnectedWithWill(reason) => write!(f, ". Its reason: {reason}."),
        Ending::ConnectionLost => match peer.socket_error.filter(|error| !is_close(error)) {
            Some(error) => write!(f, ": bad socket read/write: {error}."),
            None => f.write_str(": connection closed by client."),
        },
        Ending::KeepAliveTimeout => f.write_str(": exceeded timeout."),
        Ending::TakenOver => f.write_str(": session taken over."),
        Ending::Offence(offence) => offended(f, offence),
        Ending::Server(reason) => {
            write!(f, ": {}", reason_word(reason))?;
            if reason_word(reason) != reason.text() && !is_login_failure(reason) {
                write!(f, " ({reason})")?;
            }
            f.write_str(".")
        }
    }
}

/// What a line of `log_format json` says beside its text.
pub(crate) fn fields(notice: &Notice<'_>, peer: &Peer<'_>) -> Fields {
    let mut fields = Fields::new();
    let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    match notice {
        Notice::Connected { client_id, username, version, keep_alive_seconds, .. } => {
            put("event", "connected".into());
            put("client", (*client_id).into());
            put("address", peer.address.into());
            put("user", username.map(str::to_owned).into());
            put("version", version.level().into());
            put("keep_alive", (*keep_alive_seconds).into());
        }
        Notice::Refused { client_id, reason, .. } => {
            put("event", "refused".into());
            put("client", (*client_id).into());
            put("address", peer.address.into());
            put("reason", reason_word(*reason).into());
        }
        Notice::Disconnected { client_id, ending, messages, .. } => {
            put("event", "disconnected".into());
            put("client", (*client_id).into());
            put("address", peer.address.into());
            put("reason", ending_words(*ending, peer).into());
            put("messages_received", messages.received.into());
            put("messages_sent", messages.sent.into());
            if let Some(traffic) = peer.traffic {
                put("seconds", traffic.duration.as_secs_f64().into());
                put("packets_received", traffic.packets_received.into());
                put("bytes_received", traffic.bytes_received.into());
                put("bytes_sent", traffic.bytes_sent.into());
            }
        }
        _ => {}
    }
    fields
}

/// The same of a connection that did not get in.
pub(crate) fn refused_fields(client_id: &str, address: &str, reason: &str) -> Fields {
    let fields =
        [("event", "refused"), ("client", client_id), ("address", address), ("reason", reason)];
    fields.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect()
}

/// The reason alone, without colon and full stop.
fn ending_words(ending: Ending, peer: &Peer<'_>) -> String {
    let words = words_of(|f| ended_because(f, ending, peer)).to_string();
    let words = words.trim_start_matches([':', '.', ' ']).trim_end_matches('.');
    if words.is_empty() { "disconnected by client".to_owned() } else { words.to_owned() }
}

fn offended(f: &mut fmt::Formatter<'_>, offence: Offence) -> fmt::Result {
    let (word, clause) = (reason_word(offence.reason()), offence.clause());
    write!(f, ": {word} ({offence}, {clause}).")
}

/// Nothing is put behind "not authorised", so that filters that match whole lines work.
fn is_login_failure(reason: ReasonCode) -> bool {
    matches!(reason, ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized)
}

/// The peer is gone, rudely perhaps: no fault of the socket.
fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

impl Traffic {
    fn words(self, messages: Messages) -> impl Display {
        words_of(move |f| {
            let (seconds, packets) = (self.duration.as_secs_f64(), self.packets_received);
            write!(f, "Connected {seconds:.3} s, received {packets} packets with ")?;
            write!(f, "{} messages ({} bytes), ", messages.received, self.bytes_received)?;
            write!(f, "sent {} messages ({} bytes).", messages.sent, self.bytes_sent)
        })
    }
}

fn sending(f: &mut fmt::Formatter<'_>, id: &str, packet: &SentPacket<'_>) -> fmt::Result {
    match *packet {
        SentPacket::Connack { session_present, code } => {
            write!(f, "Sending CONNACK to {id} ({}, {code})", u8::from(session_present))
        }
        SentPacket::Publish { dup, qos, retain, packet_id, topic, bytes } => {
            let flags = [dup.into(), qos.as_u8(), retain.into()];
            let publish = publish_words(flags, packet_id, topic, bytes);
            write!(f, "Sending PUBLISH to {id} {publish}")
        }
        SentPacket::Ack { packet_type, packet_id, reason } => {
            let name = packet_type.name();
            write!(f, "Sending {name} to {id} (m{packet_id}")?;
            if matches!(packet_type, PacketType::Puback | PacketType::Pubrec) {
                write!(f, ", rc{}", reason.value())?;
            }
            f.write_str(")")
        }
        SentPacket::Other(packet_type) => write!(f, "Sending {} to {id}", packet_type.name()),
    }
}

/// `(d0, q1, r0, m1, 'T', ... (5 bytes))`; the flags are DUP, QoS and RETAIN.
fn publish_words(flags: [u8; 3], packet_id: u16, topic: &str, bytes: usize) -> impl Display {
    let [dup, qos, retain] = flags;
    words_of(move |f| {
        write!(f, "(d{dup}, q{qos}, r{retain}, m{packet_id}, '{topic}', ... ({bytes} bytes))")
    })
}

/// Words that are made when they are written.
fn words_of(write: impl Fn(&mut fmt::Formatter<'_>) -> fmt::Result) -> impl Display {
    struct WordsOf<F>(F);
    impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> Display for WordsOf<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            (self.0)(f)
        }
    }
    WordsOf(write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_proto::packet::{Disconnect, Publish, Subscribe, SubscribeFilters};
    use mqtt_proto::packet::{SubscriptionOptions, Unsubscribe, UnsubscribeFilters};
    use mqtt_proto::packet::{subscribe, unsubscribe};
    use mqtt_proto::topic::TopicError;
    use mqtt_proto::{PacketIdentifier, Properties, QoS, Version};
    use mqttd_core::drops::DropReason;
    use mqttd_core::ids::ConnectionKey;

    const PEER: Peer<'static> =
        Peer { address: "127.0.0.1:5000", socket_error: None, traffic: None };
    const KEY: ConnectionKey = ConnectionKey(1);

    fn say(notice: Notice<'_>) -> String {
        words(&notice, &PEER).to_string()
    }

    #[test]
    fn connects() {
        let connected = |version, clean_start, username, is_bridge| {
            let notice = Notice::Connected {
                connection: KEY,
                client_id: "ID",
                username,
                version,
                clean_start,
                keep_alive_seconds: 60,
                is_bridge,
            };
            assert_eq!(log_type(&notice), LogType::Notice);
            assert!(is_connection_message(&notice));
            say(notice)
        };
        assert_eq!(
            connected(Version::V311, true, Some("bob"), false),
            "New client connected from 127.0.0.1:5000 as ID (p4, c1, k60, u'bob')."
        );
        assert_eq!(
            connected(Version::V31, false, None, false),
            "New client connected from 127.0.0.1:5000 as ID (p3, c0, k60)."
        );
        assert_eq!(
            connected(Version::V5, true, None, true),
            "New bridge connected from 127.0.0.1:5000 as ID (p5, c1, k60)."
        );
        assert_eq!(
            new_connection("127.0.0.1:5000", 1883).to_string(),
            "New connection from 127.0.0.1:5000 on port 1883."
        );
        assert_eq!(
            too_many_connections("127.0.0.1:5000").to_string(),
            "Client connection from 127.0.0.1:5000 denied: max_connections exceeded."
        );
    }

    fn ended(ending: Ending) -> String {
        let messages = Messages::default();
        let notice = Notice::Disconnected { connection: KEY, client_id: "ID", ending, messages };
        assert_eq!(log_type(&notice), LogType::Notice);
        assert!(is_connection_message(&notice));
        let line = say(notice);
        line.strip_prefix("Client ID [127.0.0.1:5000] disconnected").unwrap().to_owned()
    }

    #[test]
    fn every_way_to_end() {
        assert_eq!(ended(Ending::Disconnected), ".");
        assert_eq!(
            ended(Ending::DisconnectedWithWill(ReasonCode::DisconnectWithWillMessage)),
            ". Its reason: disconnect with will message."
        );
        assert_eq!(ended(Ending::ConnectionLost), ": connection closed by client.");
        assert_eq!(ended(Ending::KeepAliveTimeout), ": exceeded timeout.");
        assert_eq!(ended(Ending::TakenOver), ": session taken over.");
        for (offence, line) in [
            (
                Offence::SecondConnect,
                ": protocol error (second CONNECT on one connection, MQTT-3.1.0-2).",
            ),
            (
                Offence::PacketTooLarge,
                ": oversize packet (packet is larger than the maximum packet size, \
                 MQTT-3.2.2-15).",
            ),
            (Offence::NulCharacter, ": malformed packet (string contains U+0000, MQTT-1.5.4-2)."),
            (Offence::TopicAliasZero, ": topic alias invalid (topic alias is zero, MQTT-3.3.2-8)."),
        ] {
            assert_eq!(ended(Ending::Offence(offence)), line);
        }
        let topic = ended(Ending::Offence(Offence::Topic(TopicError::HashNotLast)));
        assert!(topic.starts_with(": malformed packet ("), "{topic}");
        assert!(topic.ends_with(", MQTT-4.7.1-1)."), "{topic}");
    }

    #[test]
    fn mosquittos_reason_words() {
        for (reason, word) in [
            (ReasonCode::MalformedPacket, "malformed packet"),
            (ReasonCode::ProtocolError, "protocol error"),
            (ReasonCode::NotAuthorized, "not authorised"),
            (ReasonCode::KeepAliveTimeout, "exceeded timeout (keep alive timeout)"),
            (ReasonCode::PacketTooLarge, "oversize packet (packet too large)"),
            (ReasonCode::SessionTakenOver, "session taken over"),
            (ReasonCode::AdministrativeAction, "administrative action"),
            (ReasonCode::ReceiveMaximumExceeded, "receive maximum exceeded"),
            (ReasonCode::ClientIdentifierNotValid, "client identifier not valid"),
            (ReasonCode::ServerUnavailable, "server unavailable"),
            (ReasonCode::ServerBusy, "server busy"),
            (ReasonCode::Banned, "client banned (banned)"),
            (ReasonCode::BadAuthenticationMethod, "bad authentication method"),
            (ReasonCode::QuotaExceeded, "quota exceeded"),
            (ReasonCode::ConnectionRateExceeded, "connection rate exceeded"),
            (ReasonCode::TopicAliasInvalid, "topic alias invalid"),
            (ReasonCode::ImplementationSpecificError, "implementation specific error"),
            (ReasonCode::RetainNotSupported, "used disallowed feature (retain not supported)"),
            (ReasonCode::ServerShuttingDown, "server shutting down"),
        ] {
            assert_eq!(ended(Ending::Server(reason)), format!(": {word}."));
        }
    }

    #[test]
    fn refusals() {
        let refused = |client_id, reason| {
            let notice = Notice::Refused { connection: KEY, client_id, reason };
            assert!(is_connection_message(&notice));
            say(notice)
        };
        // What intrusion filters match, to the last character.
        for reason in [ReasonCode::BadUserNameOrPassword, ReasonCode::NotAuthorized] {
            assert_eq!(
                refused("ID", reason),
                "Client ID [127.0.0.1:5000] disconnected: not authorised."
            );
        }
        assert_eq!(
            refused("", ReasonCode::ClientIdentifierNotValid),
            "Client <unknown> [127.0.0.1:5000] disconnected: client identifier not valid."
        );
        assert_eq!(
            refused("ID", ReasonCode::UnsupportedProtocolVersion),
            "Client ID [127.0.0.1:5000] disconnected: protocol error (unsupported protocol \
             version)."
        );
    }

    #[test]
    fn broken_sockets_and_rude_peers() {
        let lost = |error: io::Error| {
            let peer = Peer { socket_error: Some(&error), ..PEER };
            let (ending, messages) = (Ending::ConnectionLost, Messages::default());
            let notice =
                Notice::Disconnected { connection: KEY, client_id: "ID", ending, messages };
            words(&notice, &peer).to_string()
        };
        assert_eq!(
            lost(io::Error::new(io::ErrorKind::TimedOut, "timed out")),
            "Client ID [127.0.0.1:5000] disconnected: bad socket read/write: timed out."
        );
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof] {
            assert_eq!(
                lost(kind.into()),
                "Client ID [127.0.0.1:5000] disconnected: connection closed by client."
            );
        }
    }

    #[test]
    fn the_traffic_stands_behind_the_reason() {
        let traffic = Traffic {
            duration: Duration::from_millis(12_345),
            packets_received: 4,
            bytes_received: 120,
            bytes_sent: 1024,
        };
        let peer = Peer { traffic: Some(traffic), ..PEER };
        let (ending, messages) = (Ending::KeepAliveTimeout, Messages { received: 3, sent: 9 });
        let notice = Notice::Disconnected { connection: KEY, client_id: "ID", ending, messages };
        assert_eq!(
            words(&notice, &peer).to_string(),
            "Client ID [127.0.0.1:5000] disconnected: exceeded timeout. Connected 12.345 s, \
             received 4 packets with 3 messages (120 bytes), sent 9 messages (1024 bytes)."
        );
        assert_eq!(
            Value::Object(fields(&notice, &peer)),
            serde_json::json!({
                "event": "disconnected", "client": "ID", "address": "127.0.0.1:5000",
                "reason": "exceeded timeout", "seconds": 12.345,
                "messages_received": 3, "messages_sent": 9,
                "packets_received": 4, "bytes_received": 120, "bytes_sent": 1024,
            })
        );
        let ending = Ending::Disconnected;
        let notice = Notice::Disconnected { connection: KEY, client_id: "ID", ending, messages };
        assert_eq!(fields(&notice, &PEER)["reason"], "disconnected by client");
    }

    #[test]
    fn sessions_and_subscriptions() {
        let (client_id, filter) = ("ID", "t/#");
        for (notice, kind, line) in [
            (
                Notice::SessionExpired { client_id },
                LogType::Notice,
                "Expiring client ID due to timeout.",
            ),
            (
                Notice::Subscribed { client_id, filter, qos: QoS::ExactlyOnce },
                LogType::Subscribe,
                "ID 2 t/#",
            ),
            (Notice::Unsubscribed { client_id, filter }, LogType::Unsubscribe, "ID t/#"),
            (
                Notice::Dropping { client_id, reason: DropReason::QueueFull },
                LogType::Notice,
                "Outgoing messages are being dropped for client ID. (queue_full)",
            ),
            (
                Notice::PublishDenied { client_id, topic: "t" },
                LogType::Debug,
                "Denied PUBLISH from ID ('t')",
            ),
        ] {
            assert_eq!(log_type(&notice), kind);
            assert!(!is_connection_message(&notice));
            assert_eq!(say(notice), line);
        }
    }

    #[test]
    fn packets_sent() {
        let sent = |packet| {
            let notice = Notice::Sending { client_id: "ID", packet };
            assert_eq!(log_type(&notice), LogType::Debug);
            say(notice)
        };
        let ack = |packet_type, reason| SentPacket::Ack { packet_type, packet_id: 1, reason };
        let ok = ReasonCode::Success;
        let publish = SentPacket::Publish {
            dup: true,
            qos: QoS::AtLeastOnce,
            retain: false,
            packet_id: 65_535,
            topic: "t/a",
            bytes: 5,
        };
        for (packet, line) in [
            (
                SentPacket::Connack { session_present: true, code: 0 },
                "Sending CONNACK to ID (1, 0)",
            ),
            (publish, "Sending PUBLISH to ID (d1, q1, r0, m65535, 't/a', ... (5 bytes))"),
            (ack(PacketType::Puback, ok), "Sending PUBACK to ID (m1, rc0)"),
            (
                ack(PacketType::Pubrec, ReasonCode::QuotaExceeded),
                "Sending PUBREC to ID (m1, rc151)",
            ),
            (ack(PacketType::Pubrel, ok), "Sending PUBREL to ID (m1)"),
            (ack(PacketType::Pubcomp, ok), "Sending PUBCOMP to ID (m1)"),
            (SentPacket::Other(PacketType::Suback), "Sending SUBACK to ID"),
            (SentPacket::Other(PacketType::Pingresp), "Sending PINGRESP to ID"),
        ] {
            assert_eq!(sent(packet), line);
        }
    }

    fn heard(packet: Packet<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        received("ID", &packet, |line| lines.push(line.to_string()));
        lines
    }

    #[test]
    fn packets_received() {
        let packet_id = PacketIdentifier::new(7).unwrap();
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: "T",
            packet_id: Some(packet_id),
            properties: Properties::EMPTY,
            payload: b"hello",
        };
        let qos0 = Publish { qos: QoS::AtMostOnce, packet_id: None, ..publish };
        let ack = Ack::success(packet_id);
        for (packet, line) in [
            (
                Packet::Publish(publish),
                "Received PUBLISH from ID (d0, q1, r1, m7, 'T', ... (5 bytes))",
            ),
            (
                Packet::Publish(qos0),
                "Received PUBLISH from ID (d0, q0, r1, m0, 'T', ... (5 bytes))",
            ),
            (Packet::Puback(ack), "Received PUBACK from ID (Mid: 7, RC:0)"),
            (Packet::Pubrec(ack), "Received PUBREC from ID (Mid: 7)"),
            (Packet::Pubrel(ack), "Received PUBREL from ID (Mid: 7)"),
            (Packet::Pubcomp(ack), "Received PUBCOMP from ID (Mid: 7, RC:0)"),
            (Packet::Pingreq, "Received PINGREQ from ID"),
            (
                Packet::Disconnect(Disconnect::new(ReasonCode::Success)),
                "Received DISCONNECT from ID",
            ),
            (
                Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWillMessage)),
                "Received DISCONNECT from ID (rc4)",
            ),
        ] {
            assert_eq!(heard(packet), [line]);
        }
    }

    #[test]
    fn filters_stand_below_their_packet() {
        let packet_id = PacketIdentifier::new(7).unwrap();
        let mut filters = Vec::new();
        for (filter, qos) in [("a/#", QoS::AtMostOnce), ("b", QoS::ExactlyOnce)] {
            let options = SubscriptionOptions::with_qos(qos);
            subscribe::push_filter(&mut filters, filter, options).unwrap();
        }
        let filters = SubscribeFilters::from_pushed(&filters);
        let packet = Subscribe { packet_id, properties: Properties::EMPTY, filters };
        assert_eq!(
            heard(Packet::Subscribe(packet)),
            ["Received SUBSCRIBE from ID", "\ta/# (QoS 0)", "\tb (QoS 2)"]
        );
        let mut filters = Vec::new();
        unsubscribe::push_filter(&mut filters, "a/#").unwrap();
        let filters = UnsubscribeFilters::from_pushed(&filters);
        let packet = Unsubscribe { packet_id, properties: Properties::EMPTY, filters };
        assert_eq!(heard(Packet::Unsubscribe(packet)), ["Received UNSUBSCRIBE from ID", "\ta/#"]);
    }
}
