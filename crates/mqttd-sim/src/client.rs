//! A Client that keeps its session as the standard asks: it sends again what was not acknowledged,
//! answers what it is sent, and forgets when it must. Every packet of the broker goes through
//! `mqtt-proto`'s machine of the Client's side, so that a broker that breaks the protocol is seen.

use std::collections::{BTreeMap, VecDeque};

use mqtt_proto::codec::Frame;
use mqtt_proto::connection::{ClientConnection, Due, Opening, Phase, Received};
use mqtt_proto::packet::{Packet, PacketType};
use mqtt_proto::{QoS, ReasonCode, Version};

use crate::body::Link;
use crate::dice::Dice;
use crate::history::{Copy, Death, Fact, History, Subscription};
use crate::packets::{self, Hello};
use crate::plan::WATCHER;

/// Packet identifiers go round in so many.
const IDENTIFIERS: u16 = 40;

/// What the Client has sent and must send again if the connection ends.
#[derive(Clone, Debug)]
struct Outgoing {
    id: u16,
    message: usize,
    is_released: bool,
}

/// What it has asked for.
#[derive(Clone, Debug)]
enum Asked {
    Subscribe { filter: &'static str, qos: QoS, no_local: bool },
    Unsubscribe,
}

/// See the file's head.
pub(crate) struct Client {
    pub(crate) who: usize,
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) persists: bool,
    keep_alive: u16,
    receive_max: Option<u16>,
    packet_max: Option<u32>,
    alias_max: Option<u16>,
    /// Messages that it lets be unacknowledged.
    window: usize,
    has_will: bool,
    pub(crate) lag: u64,
    pub(crate) link: Option<usize>,
    machine: Option<ClientConnection>,
    unread: Vec<u8>,
    bytes_in: u64,
    pub(crate) reads: bool,
    holds_answers: bool,
    held: Vec<(PacketType, u16)>,
    outgoing: VecDeque<Outgoing>,
    /// Messages that wait for room in the window.
    todo: VecDeque<usize>,
    /// QoS 2 identifiers of the Server's that are open, and the copy that each came with.
    open: BTreeMap<u16, usize>,
    asked: BTreeMap<u16, Asked>,
    next_id: u16,
    pub(crate) era: usize,
    asked_clean: bool,
    /// Connections without CONNACK, and which of them asked for a clean start: whether they ended a
    /// session, or began one, the Client can't know.
    unanswered: Vec<(usize, bool)>,
    /// The CONNACK of a session that ends with its connection: when it was written.
    ends_with_link: Option<u64>,
    /// Its next CONNECT asks for a clean start, whatever the plan says.
    starts_anew: bool,
    /// SUBACK or an acknowledgement has come in this session: it is kept.
    kept_since: Option<u64>,
    /// It has waited for something since then.
    pub(crate) waits_since: Option<u64>,
    /// When the shard wrote the packet in hand.
    written_at: u64,
    /// The next connection is the session's last.
    pub(crate) ends: bool,
}

impl Client {
    pub(crate) fn new(who: usize, people: u64) -> Self {
        let mut dice = Dice::new(people ^ (who as u64) << 32);
        let is_watcher = who == WATCHER;
        let version = if is_watcher || dice.once_in(2) { Version::V5 } else { Version::V311 };
        let is_v5 = version == Version::V5 && !is_watcher;
        Self {
            who,
            name: format!("c{who}"),
            version,
            persists: is_watcher || dice.roll(4) > 0,
            keep_alive: if is_watcher { 0 } else { dice.pick(&[0, 0, 1, 3]) },
            receive_max: (is_v5 && dice.once_in(3)).then(|| 1 + dice.roll(4) as u16),
            packet_max: (is_v5 && dice.once_in(6)).then(|| 60 + dice.roll(300) as u32),
            alias_max: (is_v5 && dice.once_in(2)).then(|| 1 + dice.roll(3) as u16),
            window: 1 + dice.roll(4) as usize,
            has_will: !is_watcher && dice.once_in(2),
            lag: dice.pick(&[0, 0, 1, 5]),
            link: None,
            machine: None,
            unread: Vec::new(),
            bytes_in: 0,
            reads: true,
            holds_answers: false,
            held: Vec::new(),
            outgoing: VecDeque::new(),
            todo: VecDeque::new(),
            open: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_id: 0,
            era: 0,
            asked_clean: false,
            unanswered: Vec::new(),
            ends_with_link: None,
            starts_anew: false,
            kept_since: None,
            waits_since: None,
            written_at: 0,
            ends: false,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.phase() == Phase::Connected)
    }

    /// The session of this connection outlives it.
    pub(crate) fn outlives(&self) -> bool {
        self.persists && !(self.version == Version::V311 && self.asked_clean)
    }

    /// It waits for nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_connected()
            && self.outgoing.is_empty()
            && self.todo.is_empty()
            && self.asked.is_empty()
            && self.held.is_empty()
    }

    pub(crate) fn state(&self) -> String {
        let Self { name, outgoing, asked, todo, open, .. } = self;
        let connected = self.is_connected();
        format!("{name} connected {connected} owes {outgoing:?} {asked:?} {todo:?} open {open:?}")
    }

    /// Largest packet and most bytes of payload it takes, for what is not promised to arrive.
    pub(crate) fn packet_max(&self) -> Option<u32> {
        self.packet_max
    }

    // === Connecting ===

    /// The CONNECT of a new connection, whose number is `link`.
    pub(crate) fn connect(
        &mut self,
        link: usize,
        (clean, delay): (bool, u32),
        now: u64,
        history: &mut History,
    ) -> Vec<u8> {
        self.is_gone(now, history);
        self.asked_clean = clean || !self.persists || self.starts_anew;
        let hello = Hello {
            version: self.version,
            name: self.name.clone(),
            clean: self.asked_clean,
            keep_alive: self.keep_alive,
            expiry_seconds: if self.persists && !self.ends { 100_000 } else { 0 },
            receive_max: self.receive_max,
            packet_max: self.packet_max,
            alias_max: self.alias_max,
            will: self.has_will.then(|| (format!("w/{}", self.who), format!("w{link}"), delay)),
        };
        // The old session ends with what the broker does, and it may never do it.
        self.unanswered.push((link, self.asked_clean));
        let outlives = self.outlives() && !self.ends;
        let is_v5 = self.version == Version::V5;
        let seen = &mut history.connections[link];
        seen.clean = self.asked_clean;
        seen.will = hello.will.as_ref().map(|(_, payload, _)| payload.clone());
        seen.delay_millis = if is_v5 { u64::from(delay) * 1000 } else { 0 };
        seen.session_millis = if outlives { 100_000_000 } else { 0 };
        let clean = self.asked_clean;
        history.note(now, Fact::Connects { who: self.who, connection: link, clean });
        self.link = Some(link);
        let mut opening = None;
        let bytes = hello.write(|connect| opening = Some(Opening::of(connect)));
        self.machine = opening.map(|opening| ClientConnection::new(opening, now));
        bytes
    }

    /// The connection is gone.
    pub(crate) fn is_gone(&mut self, now: u64, history: &mut History) {
        if self.link.take().is_some() {
            history.note(now, Fact::Gone { who: self.who });
        }
        self.machine = None;
        self.unread.clear();
        self.bytes_in = 0;
        self.reads = true;
        self.holds_answers = false;
        self.held.clear();
        self.asked.clear();
    }

    /// A new session begins.
    fn forgets(&mut self, now: u64, history: &mut History) {
        let place = history.note(now, Fact::Forgets { who: self.who });
        let (who, era) = (self.who, self.era);
        for subscription in &mut history.subscriptions {
            if subscription.who == who && subscription.era == era {
                subscription.until.get_or_insert(place);
            }
        }
        self.era += 1;
        let admitted_at = self.link.and_then(|link| history.connections[link].admitted_at);
        history.eras.push((who, self.era, admitted_at.unwrap_or(now)));
        self.outgoing.clear();
        self.todo.clear();
        self.open.clear();
        self.kept_since = None;
    }

    // === Asking ===

    fn write(&mut self, link: &mut Link, packet: &Packet<'_>, now: u64) {
        let Some(machine) = &mut self.machine else { return };
        if machine.phase() != Phase::Connected {
            return;
        }
        let bytes = packets::write(self.version, packet);
        machine.on_sent(packet, now);
        link.to_broker.send(bytes, now);
    }

    fn new_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % IDENTIFIERS + 1;
            let id = self.next_id;
            let is_used = self.outgoing.iter().any(|outgoing| outgoing.id == id);
            if !is_used && !self.asked.contains_key(&id) {
                return id;
            }
        }
    }

    /// Publishes a message of the history, now or when there is room.
    pub(crate) fn publishes(
        &mut self,
        message: usize,
        link: &mut Link,
        now: u64,
        history: &mut History,
    ) {
        self.todo.push_back(message);
        self.send_more(link, now, history);
    }

    fn send_more(&mut self, link: &mut Link, now: u64, history: &mut History) {
        while let Some(&message) = self.todo.front() {
            let server_max = match &self.machine {
                Some(machine) if machine.phase() == Phase::Connected => {
                    usize::from(machine.server().receive_maximum)
                }
                _ => return,
            };
            let qos = history.sent[message].qos;
            if qos > QoS::AtMostOnce && self.outgoing.len() >= self.window.min(server_max) {
                return;
            }
            self.todo.pop_front();
            let id = if qos > QoS::AtMostOnce { self.new_id() } else { 0 };
            if id > 0 {
                self.outgoing.push_back(Outgoing { id, message, is_released: false });
            }
            self.send(message, id, false, link, now, history);
        }
    }

    fn send(
        &mut self,
        message: usize,
        id: u16,
        dup: bool,
        link: &mut Link,
        now: u64,
        history: &mut History,
    ) {
        let place = history.note(now, Fact::Publishes { who: self.who, message, dup });
        let sent = &mut history.sent[message];
        sent.is_repeated |= dup;
        sent.attempts.push(now);
        if !dup {
            sent.first = place;
            sent.first_at = now;
        }
        let payload = if sent.clears { Vec::new() } else { packets::payload(message, sent.bytes) };
        let (topic, how) = (sent.topic.clone(), (sent.qos, sent.retain, dup));
        let expires = sent.expires;
        packets::publish((&topic, &payload), how, id, expires, |packet| {
            self.write(link, &packet, now);
        });
    }

    pub(crate) fn subscribes(
        &mut self,
        (filter, qos, no_local): (&'static str, QoS, bool),
        link: &mut Link,
        now: u64,
        history: &mut History,
    ) {
        // No Local on a Shared Subscription is a Protocol Error [MQTT-3.8.3-4].
        let no_local = no_local && self.version == Version::V5 && !filter.starts_with("$share");
        let place = history.note(now, Fact::Subscribes { who: self.who, filter, qos });
        self.ends_promise(filter, place, history);
        history.asked.push((self.who, self.era, place));
        if filter.starts_with("$share") {
            history.asked_shared.insert(self.who);
        }
        let id = self.new_id();
        self.asked.insert(id, Asked::Subscribe { filter, qos, no_local });
        packets::subscribe(id, filter, qos, no_local, |packet| self.write(link, &packet, now));
    }

    pub(crate) fn unsubscribes(
        &mut self,
        filter: &'static str,
        link: &mut Link,
        now: u64,
        history: &mut History,
    ) {
        let place = history.note(now, Fact::Unsubscribes { who: self.who, filter });
        self.ends_promise(filter, place, history);
        // An answer that is still to come promises nothing any more.
        for asked in self.asked.values_mut() {
            if matches!(asked, Asked::Subscribe { filter: other, .. } if *other == filter) {
                *asked = Asked::Unsubscribe;
            }
        }
        let id = self.new_id();
        self.asked.insert(id, Asked::Unsubscribe);
        packets::unsubscribe(id, filter, |packet| self.write(link, &packet, now));
    }

    fn ends_promise(&self, filter: &str, place: usize, history: &mut History) {
        for subscription in &mut history.subscriptions {
            let same = subscription.who == self.who
                && subscription.era == self.era
                && subscription.filter == filter;
            if same && subscription.until.is_none() {
                subscription.until = Some(place);
            }
        }
    }

    pub(crate) fn leaves(&mut self, with_will: bool, link: &mut Link, now: u64) {
        let packet = packets::disconnect(self.version, with_will);
        self.write(link, &packet, now);
        link.to_broker.end(now);
    }

    pub(crate) fn holds_answers(&mut self) {
        self.holds_answers = true;
    }

    pub(crate) fn gives_answers(&mut self, link: &mut Link, now: u64) {
        self.holds_answers = false;
        for (packet_type, id) in std::mem::take(&mut self.held) {
            self.answers(packet_type, id, link, now);
        }
    }

    /// When the Keep Alive wants something.
    pub(crate) fn due(&self, now: u64) -> Option<u64> {
        match self.machine.as_ref()?.due(now) {
            Due::Never => None,
            Due::At(at) => Some(at),
            Due::Pingreq => Some(now),
            // Given up by `keep_alive`.
            Due::ServerGone => Some(now),
        }
    }

    /// Pings when it is due. False: the Server has been silent for too long.
    pub(crate) fn keep_alive(&mut self, link: &mut Link, now: u64) -> bool {
        let Some(machine) = &mut self.machine else { return true };
        if !self.reads {
            machine.on_reading_paused(now);
        }
        match machine.due(now) {
            Due::Pingreq => self.write(link, &Packet::Pingreq, now),
            Due::ServerGone => return false,
            Due::Never | Due::At(_) => {}
        }
        true
    }

    // === Hearing ===

    /// Reads what has arrived. True when something came.
    pub(crate) fn hears(&mut self, link: &mut Link, now: u64, history: &mut History) -> bool {
        let bytes = link.to_client.take(now, usize::MAX);
        if bytes.is_empty() {
            return false;
        }
        self.unread.extend_from_slice(&bytes);
        let all = std::mem::take(&mut self.unread);
        let mut used = 0;
        loop {
            let rest = &all[used..];
            let frame = match Frame::peek(rest, usize::MAX) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(offence) => return self.accuse(format!("{offence:?}"), history),
            };
            used += frame.len;
            self.bytes_in += frame.len as u64;
            self.written_at = self.when_written(link);
            let max = self.packet_max.map_or(usize::MAX, |max| max as usize);
            if frame.len > max {
                let words = format!("a packet of {} bytes, {max} allowed", frame.len);
                history.offences.push(("bounds", format!("{} was sent {words}", self.name)));
            }
            let packet = match Packet::decode(self.version, frame, rest) {
                Ok(packet) => packet,
                Err(offence) => return self.accuse(format!("{offence:?}"), history),
            };
            self.hears_packet(packet, link, now, history);
        }
        self.unread = all[used..].to_vec();
        self.send_more(link, now, history);
        true
    }

    fn accuse(&self, words: String, history: &mut History) -> bool {
        history.offences.push(("speech", format!("{} was sent {words}", self.name)));
        true
    }

    fn hears_packet(
        &mut self,
        packet: Packet<'_>,
        link: &mut Link,
        now: u64,
        history: &mut History,
    ) {
        let Some(machine) = &mut self.machine else { return };
        let received = match machine.on_received(packet, now) {
            Ok(received) => received,
            Err(offence) => {
                self.accuse(format!("{offence:?}"), history);
                return;
            }
        };
        match received {
            Received::Connack(connack) => {
                self.hears_connack(connack.code, connack.session_present, link, now, history);
            }
            Received::Publish(publish) => {
                let topic = machine.topic_of(&publish).to_owned();
                let id = publish.packet_id.map_or(0, |id| id.get());
                let how = (publish.qos, publish.retain, publish.dup);
                self.receives(topic, publish.payload, how, id, link, now, history);
            }
            Received::Puback(ack) => {
                self.answered(ack.packet_id.get(), ack.reason, now, history);
                self.outgoing.retain(|outgoing| outgoing.id != ack.packet_id.get());
            }
            Received::Pubrec(ack) => {
                self.hears_pubrec(ack.packet_id.get(), ack.reason, link, now, history)
            }
            Received::Pubcomp(ack) => {
                self.outgoing.retain(|outgoing| outgoing.id != ack.packet_id.get());
            }
            Received::Pubrel(ack) => {
                if let Some(copy) = self.open.remove(&ack.packet_id.get()) {
                    history.copies[copy].released_at = Some(self.written_at);
                }
                self.answers(PacketType::Pubcomp, ack.packet_id.get(), link, now);
            }
            Received::Suback(suback) => {
                let code = suback.reason_codes.first().copied().unwrap_or(0xFF);
                self.granted(suback.packet_id.get(), code, now, history);
            }
            Received::Unsuback(unsuback) => {
                self.asked.remove(&unsuback.packet_id.get());
            }
            Received::Pingresp => return,
            Received::Ignored | Received::Disconnect(_) => {}
            Received::Auth(_) => {
                self.accuse("AUTH".into(), history);
            }
        }
        // Something goes on.
        self.waits_since = None;
    }

    fn hears_connack(
        &mut self,
        code: u8,
        present: bool,
        link: &mut Link,
        now: u64,
        history: &mut History,
    ) {
        if code != 0 {
            history.note(now, Fact::Refused { who: self.who, code });
            return;
        }
        history.note(now, Fact::Connected { who: self.who, present });
        let in_between = self.taken_unanswered(history);
        let is_in_doubt = in_between.contains(&true) && !self.asked_clean;
        let ended = self.ends_with_link.take();
        if present && (is_in_doubt || ended.is_some()) {
            let ended = ended.filter(|_| in_between.is_empty());
            if let Some(words) = ended.and_then(|at| self.is_back(at, history)) {
                history.offences.push(("ended", words));
            }
            // A session that the Client has no state of [MQTT-3.2.2-4].
            self.starts_anew = true;
            self.leaves(false, link, now);
            return self.is_gone(now, history);
        }
        self.starts_anew = false;
        self.ends_with_link = (!self.outlives()).then_some(self.written_at);
        if !present {
            let is_promised =
                |since: &u64| !self.asked_clean && !is_in_doubt && !history.may_be_lost(*since);
            if self.kept_since.filter(is_promised).is_some() && !history.is_damaged {
                let words = format!("the session of {} is gone", self.name);
                history.offences.push(("lost", words));
            }
            self.forgets(now, history);
        }
        for outgoing in self.outgoing.clone() {
            if outgoing.is_released {
                let ack = packets::ack(outgoing.id);
                self.write(link, &Packet::Pubrel(ack), now);
            } else {
                self.send(outgoing.message, outgoing.id, true, link, now, history);
            }
        }
    }

    /// Which connections the broker has taken before this one and never answered, and whether they
    /// asked for a clean start. One whose CONNECT is still under way may end the session later.
    fn taken_unanswered(&mut self, history: &History) -> Vec<bool> {
        let place = |link: usize| {
            let connection = &history.connections[link];
            connection.admitted_at.map(|_| connection.admitted)
        };
        let here = self.link.and_then(place);
        let was_taken = |link: usize| place(link).is_some_and(|at| Some(at) <= here);
        let all = std::mem::take(&mut self.unanswered);
        let (taken, waiting) = all.into_iter().partition::<Vec<_>, _>(|(it, _)| was_taken(*it));
        self.unanswered = waiting;
        let others = taken.into_iter().filter(|(it, _)| Some(*it) != self.link);
        others.map(|(_, clean)| clean).collect()
    }

    /// What to say of a session that ended with its connection and is there again. CONNACK waits
    /// for no device: a power cut may bring it back, and a log that refuses.
    fn is_back(&self, at: u64, history: &History) -> Option<String> {
        let may_be = |death: &Death| death.is_power_cut || death.safe_until < at;
        let mut later = history.deaths.iter().filter(|death| death.at >= at);
        let is_excused = history.is_damaged || history.had_disk_fault || later.any(may_be);
        (!is_excused).then(|| format!("the session of {} is back after its end", self.name))
    }

    fn answered(&mut self, id: u16, reason: ReasonCode, now: u64, history: &mut History) {
        let Some(outgoing) = self.outgoing.iter().find(|outgoing| outgoing.id == id) else {
            return;
        };
        if outgoing.is_released {
            return;
        }
        let (who, message, is_error) = (self.who, outgoing.message, reason.is_error());
        let place = history.note(now, Fact::Answered { who, message, is_error });
        let sent = &mut history.sent[message];
        if !is_error {
            sent.kept.get_or_insert((place, self.written_at));
        }
    }

    fn hears_pubrec(
        &mut self,
        id: u16,
        reason: ReasonCode,
        link: &mut Link,
        now: u64,
        history: &mut History,
    ) {
        self.answered(id, reason, now, history);
        if reason.is_error() {
            self.outgoing.retain(|outgoing| outgoing.id != id);
            return;
        }
        if let Some(outgoing) = self.outgoing.iter_mut().find(|outgoing| outgoing.id == id) {
            outgoing.is_released = true;
        }
        self.write(link, &Packet::Pubrel(packets::ack(id)), now);
    }

    fn granted(&mut self, id: u16, code: u8, now: u64, history: &mut History) {
        let Some(Asked::Subscribe { filter, qos, no_local }) = self.asked.remove(&id) else {
            return;
        };
        let (who, era) = (self.who, self.era);
        let since = history.note(now, Fact::Granted { who, filter, code });
        if code > 2 {
            return;
        }
        if self.outlives() {
            self.kept_since.get_or_insert(self.written_at);
        }
        // A later SUBSCRIBE for the same filter may be in force already.
        let later = self.asked.values().filter_map(|asked| match asked {
            Asked::Subscribe { filter: other, qos, .. } if *other == filter => Some(*qos),
            _ => None,
        });
        let qos = later.fold(qos, QoS::min);
        history.subscriptions.push(Subscription {
            who,
            era,
            filter,
            qos,
            no_local,
            since,
            since_at: self.written_at,
            until: None,
            is_lasting: self.outlives(),
        });
    }

    #[allow(clippy::too_many_arguments, reason = "what a PUBLISH is made of")]
    fn receives(
        &mut self,
        topic: String,
        payload: &[u8],
        (qos, retain, _): (QoS, bool, bool),
        id: u16,
        link: &mut Link,
        now: u64,
        history: &mut History,
    ) {
        let payload = String::from_utf8_lossy(payload).into_owned();
        let number =
            payload.strip_prefix('m').and_then(|rest| rest.split('.').next()?.parse().ok());
        let copy = history.copies.len();
        let is_new = qos < QoS::ExactlyOnce || *self.open.entry(id).or_insert(copy) == copy;
        history.note(now, Fact::Receives { who: self.who, copy });
        history.copies.push(Copy {
            who: self.who,
            era: self.era,
            message: number,
            topic,
            payload,
            qos,
            retain,
            is_new,
            at: now,
            written_at: self.written_at,
            shard: link.shard as u8,
            released_at: None,
        });
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.answers(PacketType::Puback, id, link, now),
            QoS::ExactlyOnce => self.answers(PacketType::Pubrec, id, link, now),
        }
    }

    /// When the shard wrote the packet that ends at the byte in hand.
    fn when_written(&self, link: &mut Link) -> u64 {
        while link.marks.len() > 1 && link.marks[0].0 < self.bytes_in {
            link.marks.pop_front();
        }
        link.marks.front().map_or(0, |(_, at)| *at)
    }

    /// An answer to the Server's message: in the session's state it counts at once.
    fn answers(&mut self, packet_type: PacketType, id: u16, link: &mut Link, now: u64) {
        if self.holds_answers {
            self.held.push((packet_type, id));
            return;
        }
        let ack = packets::ack(id);
        let packet = match packet_type {
            PacketType::Puback => Packet::Puback(ack),
            PacketType::Pubrec => Packet::Pubrec(ack),
            _ => Packet::Pubcomp(ack),
        };
        self.write(link, &packet, now);
    }
}
