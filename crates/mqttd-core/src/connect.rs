//! CONNECT: admission, takeover, and what the CONNACK says. What a resumed session is sent stands
//! in
//! `resume.rs`, how a connection ends in `ending.rs`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use mqtt_proto::count::Count;

use mqtt_proto::packet::{Connack, Connect};
use mqtt_proto::property::{PropertyId, Value};
use mqtt_proto::{PropertiesBuf, QoS, ReasonCode};

use crate::alias::Aliases;
use crate::authenticate::Authentication;
use crate::event::Admission;
use crate::expiry::Timer;
use crate::ids::{RecordId, SessionKey, SessionUid};
use crate::limits::CONNACK_BYTES_MIN;
use crate::notice::{Ending, Messages, Notice, SentPacket};
use crate::output::Output;
use crate::publish::is_what_it_says;
use crate::record::{Record, SessionRecord};
use crate::session::{NEVER_EXPIRES, Online, Rare, Session};
use crate::shard::Shard;
use crate::time::Instant;
use crate::will::Will;

/// What a connection is told in CONNACK and then held to.
#[derive(Clone, Copy)]
struct Terms {
    topic_aliases_max: u16,
    receive_maximum: u16,
    /// Whether it is told where replies may be expected, if it asked.
    with_response_information: bool,
}

impl Shard {
    /// A verified Client asks for a connection.
    pub(crate) fn connect<O: Output>(
        &mut self,
        admission: &Admission<'_>,
        now: Instant,
        out: &mut O,
    ) {
        let connect = &admission.connect;
        // The session's own record, which is written now, is nothing that PUBREL speaks of.
        let before = self.journal.appended();
        if let Some(reason) = self.reason_to_go(admission) {
            return self.refuse(admission, reason, out);
        }
        let terms = match self.admit(admission) {
            Ok(terms) => terms,
            Err(reason) => return self.refuse(admission, reason, out),
        };
        let key = self.take_over(admission.client_id, connect.clean_start, now, out);
        let session_present = key.is_some();
        let key = match key {
            Some(key) => key,
            None => match self.new_session(admission) {
                Ok(key) => key,
                Err(reason) => return self.refuse(admission, reason, out),
            },
        };
        self.bind(key, admission, terms, now, out);
        self.send_connack(admission, terms, session_present, out);
        self.announce_presence(key, out);
        if session_present {
            self.resend(key, before, now, out);
            self.pump(key, now, out);
        }
    }

    /// What the shard itself may refuse, or the terms on which the Client comes in.
    fn admit(&self, admission: &Admission<'_>) -> Result<Terms, ReasonCode> {
        let connect = &admission.connect;
        let listener = self.settings.listener(admission.listener);
        if let Some(will) = &connect.will {
            if will.qos > listener.qos_max {
                return Err(ReasonCode::QoSNotSupported);
            }
            if self.settings.has_too_many_levels(will.topic) {
                return Err(ReasonCode::TopicNameInvalid);
            }
            if will.retain && !self.settings.retain_available {
                return Err(ReasonCode::RetainNotSupported);
            }
            if self.settings.payload_bytes_max.is_some_and(|max| will.payload.len() > max as usize)
            {
                return Err(ReasonCode::PacketTooLarge);
            }
            if self.settings.check_payload_format && !is_what_it_says(will.properties, will.payload)
            {
                return Err(ReasonCode::PayloadFormatInvalid);
            }
        }
        let keep_alive = connect.keep_alive_seconds;
        match self.settings.keep_alive_seconds_max {
            // 5.0 is told the Server's value instead.
            Some(max)
                if !connect.version.has_properties() && (keep_alive == 0 || keep_alive > max) =>
            {
                return Err(ReasonCode::ClientIdentifierNotValid);
            }
            _ => {}
        }
        let terms = Terms {
            topic_aliases_max: listener.topic_aliases_max,
            receive_maximum: self.receive_maximum(),
            with_response_information: true,
        };
        let Some(max) = connect.properties.u32(PropertyId::MaximumPacketSize) else {
            return Ok(terms);
        };
        // Who takes only small packets is told less: first no Response Information, then no
        // aliases, then no Receive Maximum, which is 65,535 when nothing is said. A Client that
        // can't be sent its CONNACK even so can't be served [MQTT-3.1.2-24].
        let short = Terms { with_response_information: false, ..terms };
        let no_aliases = Terms { topic_aliases_max: 0, ..short };
        let bare = Terms { receive_maximum: u16::MAX, ..no_aliases };
        [terms, short, no_aliases, bare]
            .into_iter()
            .find(|terms| self.connack_len(admission, *terms) <= max as usize)
            .ok_or(ReasonCode::PacketTooLarge)
    }

    fn connack_len(&self, admission: &Admission<'_>, terms: Terms) -> usize {
        let properties = self.connack_properties(admission, terms);
        let mut encoded = Vec::new();
        #[allow(clippy::expect_used, reason = "the Server's own properties fit")]
        Connack { session_present: false, code: 0, properties: properties.as_properties() }
            .encode(admission.connect.version, &mut encoded)
            .expect("the Server's own properties fit");
        encoded.len()
    }

    fn refuse<O: Output>(&mut self, admission: &Admission<'_>, reason: ReasonCode, out: &mut O) {
        let connection = admission.connection;
        let version = admission.connect.version;
        let code = if version.has_properties() {
            Some(reason.value())
        } else {
            reason.connect_return_code()
        };
        let max = admission.connect.properties.u32(PropertyId::MaximumPacketSize);
        let fits = max.is_none_or(|max| max >= CONNACK_BYTES_MIN);
        if let Some(code) = code.filter(|_| fits) {
            let properties = mqtt_proto::Properties::EMPTY;
            #[allow(clippy::expect_used, reason = "no properties")]
            Connack { session_present: false, code, properties }
                .encode(version, out.wire(connection).bytes_mut())
                .expect("a CONNACK without properties fits");
            self.stats.packets_sent.up(1);
        }
        out.notice(Notice::Refused { connection, client_id: admission.client_id, reason });
        out.close(connection);
    }

    /// Ends the identifier's present connection, and its session when a clean start is asked for.
    /// Returns the session that goes on.
    fn take_over<O: Output>(
        &mut self,
        client_id: &str,
        clean_start: bool,
        now: Instant,
        out: &mut O,
    ) -> Option<SessionKey> {
        let key = self.find_session(client_id)?;
        let session = &self.sessions[key];
        if let Some(online) = &session.online {
            let connection = online.connection;
            let goes_on = session.is_persistent() && !clean_start;
            // A delayed will is not due when the session goes on at once [MQTT-3.1.3-9].
            self.end_connection(connection, Ending::TakenOver, now, out);
            if !goes_on && self.find_session(client_id).is_some() {
                self.end_session(key, now, out);
            }
        } else if clean_start {
            self.end_session(key, now, out);
        }
        let key = self.find_session(client_id)?;
        self.discard_will(key, out);
        Some(key)
    }

    fn new_session(&mut self, admission: &Admission<'_>) -> Result<SessionKey, ReasonCode> {
        let max = self.settings.sessions_max;
        let count =
            (self.sessions.len() as u64).saturating_add(u64::from(admission.sessions_elsewhere));
        let is_full = self.settings.memory.as_ref().is_some_and(|memory| memory.is_full());
        if is_full || max.is_some_and(|max| count >= u64::from(max)) {
            return Err(ReasonCode::QuotaExceeded);
        }
        let uid = SessionUid(self.journal.new_id().0);
        Ok(self.insert_session(Session::new(uid, admission.client_id)))
    }

    /// Gives the session its new connection.
    fn bind<O: Output>(
        &mut self,
        key: SessionKey,
        admission: &Admission<'_>,
        terms: Terms,
        now: Instant,
        out: &mut O,
    ) {
        let connect = &admission.connect;
        let expiry_seconds = self.session_expiry(connect);
        let online = self.online(admission, terms, now);
        if online.keep_alive_seconds > 0 {
            let timer = Timer::KeepAlive(key, online.epoch);
            self.timers.set(now.plus_millis(online.silence_millis_max()), timer);
            self.prune_timers();
        }
        let send_window = match connect.properties.u16(PropertyId::ReceiveMaximum) {
            Some(max) => max.min(self.receive_maximum()),
            None => self.receive_maximum(),
        };
        let receive_window = if connect.version.has_properties() {
            terms.receive_maximum
        } else {
            // 3.x knows no limit; identifiers are one.
            u16::MAX
        };
        let session = &mut self.sessions[key];
        session.sender.set_window(NonZeroU16::new(send_window).unwrap_or(NonZeroU16::MIN));
        session.receiver.set_limit(NonZeroU16::new(receive_window).unwrap_or(NonZeroU16::MIN));
        session.online = Some(Box::new(online));
        session.username = admission.username.map(Box::from);
        session.listener = admission.listener;
        let mount = self.settings.listener(admission.listener).mount_point.as_deref();
        let uid = session.uid;
        let memory = &self.settings.memory;
        let will = connect.will.as_ref();
        session.will = will.map(|it| Box::new(Will::new(it, mount, uid, memory.clone())));
        let was_persistent = session.is_persistent();
        session.expiry_seconds = expiry_seconds;
        session.offline_since = Instant::NEVER;
        if was_persistent && expiry_seconds == 0 {
            self.forget_records(key, out);
        }
        self.write_session_record(key, out);
        self.set_connection(admission.connection, key);
        self.stats.connected.up(1);
    }

    /// A new connection as its session sees it.
    fn online(&mut self, admission: &Admission<'_>, terms: Terms, now: Instant) -> Online {
        let connect = &admission.connect;
        let listener = self.settings.listener(admission.listener);
        let alias_max = connect.properties.u16(PropertyId::TopicAliasMaximum).unwrap_or(0);
        let aliases_out_max = alias_max.min(listener.server_topic_aliases_max);
        let aliases = Aliases::new(terms.topic_aliases_max, aliases_out_max);
        self.epochs.up(1);
        let packet_max = connect.properties.u32(PropertyId::MaximumPacketSize);
        let problem = connect.properties.byte(PropertyId::RequestProblemInformation);
        let mount = listener.mount_point.clone();
        let authentication = admission.authenticated.as_ref().map(Authentication::of);
        Online {
            connection: admission.connection,
            epoch: self.epochs,
            version: connect.version,
            keep_alive_seconds: self.keep_alive(connect),
            last_received: now,
            backlog_seen: 0,
            packet_bytes_max: packet_max.unwrap_or(u32::MAX),
            wants_problem_information: problem != Some(0),
            aliases,
            inflight_bytes: 0,
            held: 0,
            is_paused: false,
            receiving: 0,
            receive_maximum: terms.receive_maximum,
            messages: Messages::default(),
            is_dropping: false,
            proof: admission.proof,
            proved_under: admission
                .proved_under
                .map_or(self.settings.generation, |settings| settings.generation),
            rare: (mount.is_some() || authentication.is_some())
                .then(|| Box::new(Rare { mount, authentication, ..Rare::default() })),
        }
    }

    /// Seconds the session lives without its connection.
    fn session_expiry(&self, connect: &Connect<'_>) -> u32 {
        let asked = if connect.version.session_outlives_connection_by_default() {
            if connect.clean_start { 0 } else { NEVER_EXPIRES }
        } else {
            connect.properties.u32(PropertyId::SessionExpiryInterval).unwrap_or(0)
        };
        match self.settings.session_expiry_seconds_max {
            Some(max) => asked.min(max),
            None => asked,
        }
    }

    /// The Keep Alive in force: the Client's, or the Server's where that is shorter
    /// [MQTT-3.1.2-21].
    fn keep_alive(&self, connect: &Connect<'_>) -> u16 {
        let asked = connect.keep_alive_seconds;
        match self.settings.keep_alive_seconds_max {
            Some(max) if asked == 0 || asked > max => max,
            _ => asked,
        }
    }

    fn send_connack<O: Output>(
        &mut self,
        admission: &Admission<'_>,
        terms: Terms,
        session_present: bool,
        out: &mut O,
    ) {
        let connect = &admission.connect;
        let properties = self.connack_properties(admission, terms);
        #[allow(clippy::expect_used, reason = "the Server's own properties fit")]
        Connack { session_present, code: 0, properties: properties.as_properties() }
            .encode(connect.version, out.wire(admission.connection).bytes_mut())
            .expect("the Server's own properties fit");
        self.stats.packets_sent.up(1);
        let client_id = admission.client_id;
        out.notice(Notice::Connected {
            connection: admission.connection,
            client_id,
            username: admission.username,
            version: connect.version,
            clean_start: connect.clean_start,
            keep_alive_seconds: connect.keep_alive_seconds,
            is_bridge: connect.is_bridge,
        });
        if self.settings.debug {
            let packet = SentPacket::Connack { session_present, code: 0 };
            out.notice(Notice::Sending { client_id, packet });
        }
    }

    /// In Mosquitto's order, so that a default broker's CONNACK is the same byte for byte.
    fn connack_properties(&self, admission: &Admission<'_>, terms: Terms) -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        if !admission.connect.version.has_properties() {
            return properties;
        }
        let listener = self.settings.listener(admission.listener);
        let mut push = |id, value| {
            #[allow(clippy::expect_used, reason = "identifiers came in packets")]
            properties.push(id, value).expect("identifiers came in packets, so they fit");
        };
        let keep_alive = self.keep_alive(&admission.connect);
        if keep_alive != admission.connect.keep_alive_seconds {
            push(PropertyId::ServerKeepAlive, Value::U16(keep_alive));
        }
        let expiry = self.session_expiry(&admission.connect);
        let asked = admission.connect.properties.u32(PropertyId::SessionExpiryInterval);
        if asked.unwrap_or(0) != expiry {
            push(PropertyId::SessionExpiryInterval, Value::U32(expiry));
        }
        if terms.topic_aliases_max > 0 {
            push(PropertyId::TopicAliasMaximum, Value::U16(terms.topic_aliases_max));
        }
        if admission.connect.client_id.is_empty() {
            let assigned = Value::Text(admission.client_id);
            push(PropertyId::AssignedClientIdentifier, assigned);
        }
        let response_information =
            terms.with_response_information.then(|| self.response_information(admission)).flatten();
        if let Some(text) = &response_information {
            push(PropertyId::ResponseInformation, Value::Text(text));
        }
        if !self.settings.retain_available {
            push(PropertyId::RetainAvailable, Value::Byte(0));
        }
        if self.settings.packet_bytes_max < mqtt_proto::codec::REMAINING_LENGTH_MAX {
            let max = Value::U32(self.settings.packet_bytes_max);
            push(PropertyId::MaximumPacketSize, max);
        }
        if terms.receive_maximum < u16::MAX {
            push(PropertyId::ReceiveMaximum, Value::U16(terms.receive_maximum));
        }
        if listener.qos_max < QoS::ExactlyOnce {
            push(PropertyId::MaximumQoS, Value::Byte(listener.qos_max as u8));
        }
        if let Some(authenticated) = &admission.authenticated {
            authenticated.push_to(&mut properties);
        }
        properties
    }

    /// For a Client that asks [MQTT-3.1.2-28].
    fn response_information(&self, admission: &Admission<'_>) -> Option<String> {
        let asked = admission.connect.properties.byte(PropertyId::RequestResponseInformation);
        let pattern = self.settings.response_information.as_ref().filter(|_| asked == Some(1))?;
        let text = pattern
            .replace("%c", admission.client_id)
            .replace("%u", admission.username.unwrap_or_default());
        (text.len() <= usize::from(u16::MAX)).then_some(text)
    }

    /// Writes or replaces the session's record.
    pub(crate) fn write_session_record<O: Output>(&mut self, key: SessionKey, out: &mut O) {
        let session = &self.sessions[key];
        if !session.is_persistent() {
            return;
        }
        let record = Record::Session(SessionRecord {
            client_id: &session.client_id,
            username: session.username.as_deref(),
            listener: session.listener.0,
            expiry_seconds: session.expiry_seconds,
            offline_since: session.offline_since,
        });
        self.journal.put_as(RecordId(session.uid.0), &record, out);
        self.sessions[key].is_recorded = self.journal.is_on();
    }
}
