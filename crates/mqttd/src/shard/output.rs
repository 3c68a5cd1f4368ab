//! Carries out what the shard wants: `Output` for real connections, mailboxes and the log.

use std::sync::Arc;
use std::time::Duration;

use mqtt_proto::Packet;
use mqttd_core::authenticate::Reauthentication;
use mqttd_core::control::ControlRequest;
use mqttd_core::envelope::{Envelope, Token};
use mqttd_core::ids::{ConnectionKey, Lsn, RecordId, ShardId};
use mqttd_core::letters::Letters;
use mqttd_core::memory::Memory;
use mqttd_core::message::Passing;
use mqttd_core::notice::Notice;
use mqttd_core::output::Output;
use mqttd_core::time::Instant;
use mqttd_core::wire::WireBuffer;
use slab::Slab;

use super::connection::{Connection, State};
use super::pool::Pool;
use crate::authenticate::{Request, Requests};
use crate::control;
use crate::durability::{Durability, Outcome};
use mqttd_conf::LogType;

use crate::logging::Logger;
use crate::mailbox::{Item, Mailbox};
use crate::wording;

/// The largest letters whose memory is kept, in bytes; a shard keeps as many as there are shards. A
/// turn under load has about a hundred kilobytes for another shard.
const SPARE_LETTERS_BYTES_MAX: usize = 256 * 1024;

/// Everything of a shard's body that the shard writes into.
pub(crate) struct Body {
    pub(crate) id: ShardId,
    pub(crate) connections: Slab<Connection>,
    /// Connections to be written to at the end of the turn.
    pub(crate) touched: Vec<u32>,
    /// Connections the shard has closed in this turn.
    pub(crate) closed: Vec<u32>,
    /// For each other shard, what it is to be sent.
    pub(crate) outbox: Vec<Letters>,
    /// Empty ones whose memory is used again: what came from other shards and has been opened.
    pub(super) spare: Vec<Letters>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) durability: Option<Durability>,
    /// Records handed to the log.
    pub(crate) appended: Lsn,
    /// What commits in the middle of the turn led to; the shard is told at its end.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) pool: Pool,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) now: Instant,
    pub(crate) logger: Logger,
    /// Where steps of re-authentications go.
    pub(crate) requests: Requests,
    /// Where requests to the broker itself go.
    pub(crate) control: control::Requests,
}

impl Body {
    /// Has the connection written to at the end of the turn.
    pub(crate) fn touch(&mut self, key: u32) -> &mut Connection {
        let connection = &mut self.connections[key as usize];
        if !connection.is_touched {
            connection.is_touched = true;
            self.touched.push(key);
        }
        connection
    }

    /// Hands what other shards are to be sent to their mailboxes; `memory` counts it on the way.
    pub(crate) fn send_outbox(&mut self, memory: Option<&Arc<Memory>>) {
        for (shard, letters) in self.outbox.iter_mut().enumerate() {
            if !letters.is_empty() {
                let spare = self.spare.pop().unwrap_or_default();
                let mut letters = std::mem::replace(letters, spare);
                if let Some(memory) = memory {
                    letters.count(memory);
                }
                self.mailboxes[shard].send(Item::Letters(self.id, letters));
            }
        }
    }

    /// Keeps the memory of opened letters for those to come.
    pub(super) fn give_letters(&mut self, letters: Letters) {
        if self.spare.len() < self.outbox.len() && letters.room() <= SPARE_LETTERS_BYTES_MAX {
            self.spare.push(letters);
        }
    }

    /// Writes the records of the turn so far.
    pub(crate) fn commit(&mut self) {
        if let Some(durability) = &mut self.durability {
            match durability.commit(self.appended) {
                Outcome::Nothing => {}
                outcome => self.outcomes.push(outcome),
            }
        }
    }

    /// Bytes of records that the next commit writes.
    pub(super) fn staged_bytes(&self) -> usize {
        self.durability.as_ref().map_or(0, Durability::staged_bytes)
    }

    /// A packet has arrived, for the debug log.
    pub(crate) fn received(&self, client_id: &str, packet: &Packet<'_>) {
        wording::received(client_id, packet, |text| self.logger.line(LogType::Debug, text));
    }

    /// What is to be said of a connection that has ended.
    fn traffic(&self, connection: &Connection) -> wording::Traffic {
        let about = &connection.about;
        wording::Traffic {
            duration: Duration::from_millis(self.now.0.saturating_sub(about.since.0)),
            packets_received: about.packets_received,
            bytes_received: about.bytes_received,
            bytes_sent: about.bytes_sent,
        }
    }
}

impl Output for Body {
    fn authenticate(&mut self, key: ConnectionKey, request: Reauthentication<'_>) {
        let connection = &mut self.connections[key.0 as usize];
        let exchange = connection.rare.as_mut().and_then(|rare| rare.exchange.take());
        let request = Request {
            shard: self.id,
            connection: key,
            serial: connection.serial,
            listener: request.listener,
            username: request.username.map(Box::from),
            exchange: exchange.filter(|_| !request.is_first),
            data: request.data.map(<[u8]>::to_vec),
        };
        // Nobody takes it only when the broker has stopped, and then nobody waits for the answer.
        let _ = self.requests.send(request);
    }

    fn control(&mut self, key: ConnectionKey, request: ControlRequest<'_>) {
        let request = control::Request {
            shard: self.id,
            connection: key,
            serial: self.connections[key.0 as usize].serial,
            listener: request.listener,
            client_id: request.client_id.into(),
            username: request.username.map(Box::from),
            topic: request.topic.to_owned(),
            payload: request.payload.to_vec(),
        };
        // Nobody takes it only when the broker has stopped, and then nobody waits for the answer.
        let _ = self.control.send(request);
    }

    #[inline]
    fn wire(&mut self, to: ConnectionKey) -> &mut WireBuffer {
        let memory =
            self.connections[to.0 as usize].wire.needs_memory().then(|| self.pool.take()).flatten();
        let connection = self.touch(to.0);
        if let Some(memory) = memory {
            connection.wire.lend_memory(memory);
        }
        &mut connection.wire
    }

    fn flush(&mut self, to: ConnectionKey) -> usize {
        self.commit();
        let connection = &mut self.connections[to.0 as usize];
        // A broken socket is seen at the end of the turn.
        let _ = connection.write();
        connection.wire.len()
    }

    fn pause(&mut self, connection: ConnectionKey) {
        self.connections[connection.0 as usize].is_paused = true;
    }

    fn resume(&mut self, connection: ConnectionKey) {
        let connection = &mut self.connections[connection.0 as usize];
        connection.is_paused = false;
        connection.was_paused = true;
        connection.list();
    }

    fn close(&mut self, connection: ConnectionKey) {
        let closed = self.touch(connection.0);
        if closed.state == State::Open {
            closed.state = State::Draining;
            self.closed.push(connection.0);
        }
    }

    fn to_shard(&mut self, to: ShardId, envelope: Envelope) {
        self.outbox[usize::from(to.0)].push(envelope);
    }

    fn message_to_shard(&mut self, to: ShardId, message: &mut Passing<'_>, confirm: Option<Token>) {
        self.outbox[usize::from(to.0)].push_message(message, confirm);
    }

    fn put(&mut self, id: RecordId, body: &[u8]) {
        self.appended.0 += 1;
        if let Some(durability) = &mut self.durability {
            durability.put(id, body);
        }
    }

    fn kill(&mut self, id: RecordId) {
        self.appended.0 += 1;
        if let Some(durability) = &mut self.durability {
            durability.kill(id);
        }
    }

    fn is_held_back(&self, id: RecordId) -> bool {
        self.durability.as_ref().is_some_and(|durability| durability.is_held_back(id))
    }

    fn is_in_log(&self, id: RecordId) -> bool {
        self.durability.as_ref().is_some_and(|durability| durability.is_in_log(id))
    }

    fn notice(&mut self, notice: Notice<'_>) {
        let log_type = wording::log_type(&notice);
        let wanted = self.logger.is_on(log_type)
            && (self.logger.connection_messages() || !wording::is_connection_message(&notice));
        if !wanted {
            return;
        }
        let (Notice::Connected { connection, .. }
        | Notice::Disconnected { connection, .. }
        | Notice::Refused { connection, .. }) = &notice
        else {
            let peer = wording::Peer::default();
            self.logger.line(log_type, format_args!("{}", wording::words(&notice, &peer)));
            return;
        };
        let found = self.connections.get(connection.0 as usize);
        let address = found.map(|found| found.about.peer.to_string()).unwrap_or_default();
        let ended = matches!(notice, Notice::Disconnected { .. });
        let peer = wording::Peer {
            address: &address,
            socket_error: found.and_then(Connection::error),
            traffic: found.filter(|_| ended).map(|found| self.traffic(found)),
        };
        let words = wording::words(&notice, &peer);
        let fields = || wording::fields(&notice, &peer);
        self.logger.line_with(log_type, format_args!("{words}"), fields);
    }
}
