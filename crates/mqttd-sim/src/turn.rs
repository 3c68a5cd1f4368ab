//! The turn of a shard, as `mqttd/src/shard/turn.rs`, `reading.rs` and `closing.rs` do it: mailbox,
//! timers, sockets, commit, other mailboxes, one write for each socket. The broker can die at each
//! border.

use std::mem;

use mqtt_proto::codec::Frame;
use mqtt_proto::packet::PacketType;
use mqtt_proto::{Packet, ReasonCode, Version};
use mqttd_core::Event;
use mqttd_core::event::{Admission, Proof};
use mqttd_core::ids::{ConnectionKey, ListenerId, ShardId};
use mqttd_core::limits::OUTPUT_BYTES_MAX;
use mqttd_core::time::Instant;
use mqttd_durability::Outcome;

use crate::body::{Body, Item, State};
use crate::broker::{Broker, Trap};
use crate::history::{Fact, History};

/// As `READ_BYTES` of the body.
const READ_BYTES: usize = 64 * 1024;
/// As `CLOSE_TIMEOUT` of the body.
const CLOSE_MILLIS: u64 = 3000;

impl Broker {
    /// One turn. False: the broker has died in it.
    pub(crate) fn turn(&mut self, shard: usize, history: &mut History) -> bool {
        let Some(mut body) = self.bodies[shard].take() else { return true };
        body.wake_at = None;
        body.out.now = self.now;
        body.out.all = mem::take(&mut self.links);
        let survives = self.turn_of(&mut body, shard, history);
        self.links = mem::take(&mut body.out.all);
        self.bodies[shard] = Some(body);
        self.collect_jobs();
        survives
    }

    fn turn_of(&mut self, body: &mut Body, shard: usize, history: &mut History) -> bool {
        self.open_mailbox(body, shard, history);
        self.tick(body, history);
        self.serve_ready(body, history);
        self.keep_records(body, history);
        if body.out.is_dead() || self.trap == Some(Trap::AfterCommit) {
            return false;
        }
        self.send_outbox(body, shard);
        if self.trap == Some(Trap::AfterLetters) {
            return false;
        }
        for link in body.out.links.values() {
            body.out.all[*link].mark(self.now);
        }
        self.write_touched(body, history);
        self.end_closing(body);
        !body.out.is_dead()
    }

    fn instant(&self) -> Instant {
        Instant(self.wall + self.now)
    }

    fn handle(&mut self, body: &mut Body, event: Event<'_>, history: &mut History) {
        body.shard.handle(event, self.instant(), &mut body.out);
        for (key, connected) in mem::take(&mut body.out.notices) {
            let Some(&number) = body.out.links.get(&key.0) else { continue };
            let seen = &mut history.connections[number];
            if connected {
                seen.admitted_at = Some(self.now);
                let place = history.note(self.now, Fact::Admitted { connection: number });
                history.connections[number].admitted = place;
            } else if seen.ended.is_none() {
                let normally = body.out.all[number].left;
                seen.ended = Some((self.now, normally));
                history.note(self.now, Fact::Ended { connection: number, normally });
            }
        }
    }

    // === Mailbox ===

    fn open_mailbox(&mut self, body: &mut Body, shard: usize, history: &mut History) {
        for item in mem::take(&mut self.mail[shard]) {
            match item {
                Item::Letters(from, mut letters) => {
                    letters.open(from, |event| self.handle(body, event, history));
                }
                Item::Admit(number) => self.admit(body, number, history),
                Item::Settings(settings, acl) => {
                    history.acls[shard].push((self.now, acl));
                    history.note(self.now, Fact::Reloaded { shard: shard as u8, acl });
                    self.handle(body, Event::Settings(settings), history);
                }
                Item::Synced(done) => {
                    if let Some(durability) = &mut body.out.durability {
                        let outcomes = durability.synced(done);
                        body.out.outcomes.extend(outcomes);
                    }
                }
                Item::Shutdown => self.handle(body, Event::Shutdown, history),
            }
        }
    }

    fn admit(&mut self, body: &mut Body, number: usize, history: &mut History) {
        if body.out.all[number].state != State::Waiting {
            return; // broken on its way
        }
        let key = (0..).find(|key| !body.out.links.contains_key(key)).unwrap_or_default();
        body.out.links.insert(key, number);
        let link = &mut body.out.all[number];
        link.key = key;
        link.state = State::Open;
        let connect = mem::take(&mut link.connect);
        let frame = Frame::peek(&connect, usize::MAX).ok().flatten();
        let packet = frame.and_then(|frame| Packet::decode(Version::V311, frame, &connect).ok());
        let Some(Packet::Connect(connect)) = packet else {
            panic!("the lobby has decoded it before");
        };
        let elsewhere = 0;
        let admission = Admission {
            connection: ConnectionKey(key),
            client_id: connect.client_id,
            username: connect.username,
            listener: ListenerId(0),
            sessions_elsewhere: elsewhere,
            proof: Proof::Password,
            proved_under: None,
            authenticated: None,
            connect,
        };
        self.handle(body, Event::Connect(admission), history);
        self.handle_packets(body, key, history);
    }

    // === Time ===

    fn tick(&mut self, body: &mut Body, history: &mut History) {
        if body.shard.deadline().is_some_and(|due| due <= self.instant()) {
            self.handle(body, Event::Tick, history);
        }
        let now = self.shared.monotonic(self.now);
        if let Some(durability) = &mut body.out.durability {
            if durability.sync_due().is_some_and(|due| due <= now) {
                durability.start_sync();
            }
        }
    }

    // === Sockets ===

    fn serve_ready(&mut self, body: &mut Body, history: &mut History) {
        let mut keys: Vec<_> = body.out.links.keys().copied().collect();
        for index in (1..keys.len()).rev() {
            keys.swap(index, self.dice.roll(index as u64 + 1) as usize);
        }
        for key in keys {
            let (now, room) = (self.now, self.scene.socket_bytes);
            let Some(link) = body.out.link(key) else { continue };
            link.listed = false;
            if link.is_behind && link.to_client.held < room {
                body.out.touch_again(key);
            }
            let Some(link) = body.out.link(key) else { continue };
            match link.state {
                // Listed again when the output has been written, or the shard wants more.
                State::Open if link.wire.len() > OUTPUT_BYTES_MAX || link.is_paused => {
                    link.listed = true;
                }
                State::Open if link.is_broken => {
                    self.handle(body, Event::Closed(ConnectionKey(key)), history);
                }
                State::Open => {
                    let bytes = link.to_broker.take(now, READ_BYTES);
                    link.unread.extend_from_slice(&bytes);
                    self.handle_packets(body, key, history);
                    let Some(link) = body.out.link(key) else { continue };
                    if link.state == State::Open && link.to_broker.has_ended(now) {
                        self.handle(body, Event::Closed(ConnectionKey(key)), history);
                    }
                }
                State::Draining if link.is_broken => remove(body, key),
                State::Draining => {
                    link.to_broker.take(now, READ_BYTES);
                    link.listed = link.to_broker.has_ended(now);
                }
                State::Lobby | State::Waiting | State::Gone => {}
            }
        }
    }

    fn handle_packets(&mut self, body: &mut Body, key: u32, history: &mut History) {
        let packet_max = self.settings.packet_bytes_max as usize;
        let Some(link) = body.out.link(key) else { return };
        let version = link.version;
        let bytes = mem::take(&mut link.unread);
        let mut used = 0;
        while let Some(link) = body.out.link(key) {
            if link.state != State::Open {
                return;
            }
            let rest = &bytes[used..];
            if link.is_paused {
                link.unread = rest.to_vec();
                return;
            }
            let packet = match Frame::peek(rest, packet_max) {
                Ok(None) => {
                    link.unread = rest.to_vec();
                    return;
                }
                Ok(Some(frame)) => {
                    used += frame.len;
                    Packet::decode(version, frame, rest)
                }
                Err(offence) => Err(offence),
            };
            match packet {
                Ok(packet) => {
                    if let Packet::Disconnect(disconnect) = &packet {
                        link.left = disconnect.reason == ReasonCode::Success;
                    }
                    self.handle(body, Event::Packet(ConnectionKey(key), packet), history);
                }
                Err(offence) => {
                    self.handle(body, Event::Offence(ConnectionKey(key), offence), history);
                }
            }
        }
    }

    // === The end of the turn ===

    fn keep_records(&mut self, body: &mut Body, history: &mut History) {
        loop {
            body.out.commit();
            if body.out.outcomes.is_empty() || body.out.is_dead() {
                return;
            }
            for outcome in mem::take(&mut body.out.outcomes) {
                match outcome {
                    Outcome::Nothing => {}
                    Outcome::Durable(lsn) => self.handle(body, Event::Durable(lsn), history),
                    Outcome::Refused(lsn) => self.handle(body, Event::NotDurable(lsn), history),
                    Outcome::Recovered { lsn, complete } => {
                        self.handle(body, Event::Durable(lsn), history);
                        self.handle(body, Event::Recovered { complete }, history);
                    }
                }
            }
        }
    }

    fn send_outbox(&mut self, body: &mut Body, shard: usize) {
        for (to, letters) in body.out.outbox.iter_mut().enumerate() {
            if !letters.is_empty() {
                let letters = mem::take(letters);
                self.mail[to].push_back(Item::Letters(ShardId(shard as u8), letters));
                self.wake(to);
            }
        }
    }

    fn write_touched(&mut self, body: &mut Body, history: &mut History) {
        let (now, room) = (self.now, self.scene.socket_bytes);
        for key in mem::take(&mut body.out.touched) {
            let Some(link) = body.out.link(key) else { continue };
            link.is_touched = false;
            link.mark(now);
            match link.write(now, room) {
                Ok(false) => {}
                Ok(true) => {
                    let was_behind = mem::take(&mut link.is_behind);
                    if link.state == State::Draining {
                        link.to_client.end(now);
                    } else if was_behind {
                        link.listed = false;
                        self.handle(body, Event::Writable(ConnectionKey(key)), history);
                    }
                }
                Err(()) => {
                    if link.state == State::Open {
                        self.handle(body, Event::Closed(ConnectionKey(key)), history);
                    }
                    body.out.closed.retain(|closed| *closed != key);
                    remove(body, key);
                }
            }
        }
        if !body.out.touched.is_empty() || mem::take(&mut body.out.has_resumed) {
            body.wake_at = Some(now);
        }
    }

    fn end_closing(&mut self, body: &mut Body) {
        for key in mem::take(&mut body.out.closed) {
            if body.out.links.contains_key(&key) {
                body.closing.push_back((self.now + CLOSE_MILLIS, key));
            }
        }
        while let Some(&(until, key)) = body.closing.front() {
            if until > self.now {
                break;
            }
            body.closing.pop_front();
            if body.out.link(key).is_some_and(|link| link.state == State::Draining) {
                remove(body, key);
            }
        }
        // What the Client has closed too is over.
        let over =
            |link: &&mut u32| body.out.all[body.out.links[*link]].to_broker.has_ended(self.now);
        let mut keys: Vec<_> = body.out.links.keys().copied().collect();
        let over: Vec<_> = keys.iter_mut().filter(over).map(|key| *key).collect();
        for key in over {
            let link = &body.out.all[body.out.links[&key]];
            if link.state == State::Draining && link.wire.is_empty() {
                remove(body, key);
            }
        }
    }
}

fn remove(body: &mut Body, key: u32) {
    if let Some(number) = body.out.links.remove(&key) {
        let link = &mut body.out.all[number];
        link.state = State::Gone;
        link.is_touched = false;
        link.to_client.end(body.out.now);
        body.closing.retain(|(_, closing)| *closing != key);
        body.out.touched.retain(|touched| *touched != key);
    }
}

/// The first packet of a connection: CONNECT, or the connection is closed.
pub(crate) enum First {
    NotYet,
    Connect { bytes: Vec<u8>, rest: Vec<u8>, version: Version, client_id: String },
    Wrong,
}

pub(crate) fn first_packet(bytes: &[u8]) -> First {
    let Ok(frame) = Frame::peek(bytes, 100_000) else { return First::Wrong };
    let Some(frame) = frame else { return First::NotYet };
    match Packet::decode(Version::V311, frame, bytes) {
        Ok(packet) if packet.packet_type() == PacketType::Connect => {
            let Packet::Connect(connect) = packet else { return First::Wrong };
            if connect.client_id.is_empty() {
                return First::Wrong;
            }
            First::Connect {
                bytes: bytes[..frame.len].to_vec(),
                rest: bytes[frame.len..].to_vec(),
                version: connect.version,
                client_id: connect.client_id.into(),
            }
        }
        _ => First::Wrong,
    }
}
