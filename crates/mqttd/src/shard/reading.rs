//! Reads from the sockets that have something, and hands whole packets to the shard.

use std::mem;

use mqtt_proto::codec::Frame;
use mqtt_proto::{Offence, Packet};
use mqttd_core::event::Event;
use mqttd_core::ids::ConnectionKey;

use super::connection::{ReadOutcome, State};
use super::turn::ShardTask;

/// Bytes of one read: as much as the kernel usually has, and little enough that others get their
/// turn. A socket is read at most twice in a turn, the second time only when the first brought
/// less: with what has come meanwhile that is less than twice this much, whatever a Client sends.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// Beginnings of packets up to this size are moved in front of the next read instead of being kept
/// in a buffer of the connection's.
const MOVED_BYTES_MAX: usize = 8 * 1024;

/// Records of a turn after which they are written before the next socket is read: what is handed
/// to the system while it is still in the processor's cache costs less, and so do the answers.
const STAGED_BYTES_MAX: usize = 64 * 1024;

/// Output that may wait for a connection before nothing more is read from it: a Client that does
/// not read its answers does not get to ask for more.
const UNREAD_OUTPUT_MAX: usize = mqttd_core::limits::OUTPUT_BYTES_MAX;

/// Whether a socket has more to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    /// No; its waker is armed.
    No,
    /// It gave less than there was room for.
    Perhaps,
    /// It filled the buffer.
    Surely,
}

impl More {
    fn after(outcome: &ReadOutcome, room: usize) -> Self {
        match outcome {
            ReadOutcome::Bytes(count) if *count == room => Self::Surely,
            ReadOutcome::Bytes(_) => Self::Perhaps,
            ReadOutcome::Pending | ReadOutcome::Ended => Self::No,
        }
    }
}

impl ShardTask {
    pub(super) fn serve_ready(&mut self) {
        let mut keys = mem::take(&mut self.keys);
        self.ready.take(&mut keys);
        for key in keys.drain(..) {
            let Some(connection) = self.body.connections.get_mut(key as usize) else { continue };
            if mem::take(&mut connection.is_blocked) {
                self.body.touch(key);
            }
            self.read(key);
            if self.body.staged_bytes() > STAGED_BYTES_MAX {
                self.keep_records();
            }
        }
        self.keys = keys;
    }

    /// Reads from one socket and handles what came: as much as one buffer holds, then others are
    /// served. A socket that had less has been emptied; polling it once more arms its waker and
    /// costs no system call.
    fn read(&mut self, key: u32) {
        match self.body.connections[key as usize].state {
            State::Open => {}
            State::Draining => return self.advance_closing(key),
            State::Lingering => return self.discard(key),
        }
        let again = match self.read_some(key) {
            More::No => false,
            More::Perhaps => self.read_some(key) != More::No,
            More::Surely => true,
        };
        if again {
            self.body.connections[key as usize].list();
        }
    }

    fn read_some(&mut self, key: u32) -> More {
        let connection = &mut self.body.connections[key as usize];
        if !connection.takes_packets() || connection.wire.len() > UNREAD_OUTPUT_MAX {
            return More::No; // listed again when the output is written, or with the pause's end
        }
        let mut kept = connection.take_unread();
        if mem::take(&mut connection.was_paused) {
            // Before the socket, which may have nothing more to say than that it is closed.
            let used = self.handle_packets(key, &kept);
            kept.drain(..used);
            if !self.body.connections[key as usize].takes_packets() {
                self.body.connections[key as usize].keep_unread(kept);
                return More::No;
            }
        }
        let connection = &mut self.body.connections[key as usize];
        let more;
        if kept.len() < MOVED_BYTES_MAX {
            let mut buffer = mem::take(&mut self.read_buffer);
            let at = kept.len();
            buffer[..at].copy_from_slice(&kept);
            let outcome = connection.read(&mut buffer[at..]);
            more = More::after(&outcome, buffer.len() - at);
            let len = self.after_read(key, &outcome, at);
            let used = self.handle_packets(key, &buffer[..len]);
            kept.clear();
            kept.extend_from_slice(&buffer[used..len]);
            self.read_buffer = buffer;
        } else {
            // The rest of a large packet: room follows the bytes that have arrived.
            let at = kept.len();
            let room = READ_BYTES.max(at / 4).min(room_for(&kept));
            kept.resize(at + room, 0);
            let outcome = connection.read(&mut kept[at..]);
            more = More::after(&outcome, room);
            let len = self.after_read(key, &outcome, at);
            kept.truncate(len);
            let used = self.handle_packets(key, &kept);
            kept.drain(..used);
        }
        let connection = &mut self.body.connections[key as usize];
        if connection.state == State::Open {
            connection.keep_unread(kept);
        }
        more
    }

    /// Counts a read. Returns how much of the buffer is filled.
    fn after_read(&mut self, key: u32, outcome: &ReadOutcome, at: usize) -> usize {
        match outcome {
            ReadOutcome::Bytes(count) => {
                self.body.bytes_received += *count as u64;
                // See the head of the file.
                if self.mailbox.has_items() {
                    self.open_mailbox();
                }
                at + count
            }
            ReadOutcome::Pending => at,
            ReadOutcome::Ended => {
                self.handle(Event::Closed(ConnectionKey(key)));
                0
            }
        }
    }

    /// Hands every whole packet at the front of `bytes` to the shard, as long as it wants them.
    /// Returns the bytes used.
    fn handle_packets(&mut self, key: u32, bytes: &[u8]) -> usize {
        let version = self.body.connections[key as usize].version;
        let packet_max = self.settings.packet_bytes_max as usize;
        let debug = self.settings.debug;
        let is_paced = self.settings.rates.is_on();
        let mut used = 0;
        while self.body.connections[key as usize].takes_packets() {
            let (rest, before) = (&bytes[used..], used);
            let packet = match Frame::peek(rest, packet_max) {
                Ok(None) => return used,
                Ok(Some(frame)) => {
                    used += frame.len;
                    Packet::decode(version, frame, rest)
                }
                Err(offence) => Err(offence),
            };
            match packet {
                Ok(packet) => {
                    self.body.connections[key as usize].about.packets_received += 1;
                    if debug {
                        let client_id = self.shard.client_id(ConnectionKey(key));
                        self.body.received(client_id.unwrap_or_default(), &packet);
                    }
                    let is_publish = is_paced && matches!(packet, Packet::Publish(_));
                    self.handle_packet(key, packet);
                    if is_paced {
                        self.pace(key, used - before, is_publish);
                    }
                }
                Err(offence) => self.offend(key, offence),
            }
        }
        match self.body.connections[key as usize].state {
            State::Open => used,
            _ => bytes.len(),
        }
    }

    fn offend(&mut self, key: u32, offence: Offence) {
        self.handle(Event::Offence(ConnectionKey(key), offence));
    }

    /// What a Client sends after it has been told to go is thrown away.
    fn discard(&mut self, key: u32) {
        let mut buffer = mem::take(&mut self.read_buffer);
        let connection = &mut self.body.connections[key as usize];
        match connection.read(&mut buffer) {
            ReadOutcome::Bytes(_) => connection.list(),
            ReadOutcome::Pending => {}
            ReadOutcome::Ended => self.remove(key),
        }
        self.read_buffer = buffer;
    }
}

/// Bytes that the packet in `kept` still needs, at least one.
fn room_for(kept: &[u8]) -> usize {
    Frame::announced_len(kept).map_or(READ_BYTES, |len| len.saturating_sub(kept.len())).max(1)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpStream;
    use std::sync::Arc;
    use std::time::{Duration, Instant as Monotonic};

    use mqtt_net::{PeerAddress, Stream};
    use mqttd_conf::Logging;
    use mqttd_core::Shard;
    use mqttd_core::event::Proof;
    use mqttd_core::ids::{ListenerId, ShardId};
    use mqttd_core::settings::Settings;
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::Clock;
    use crate::logging::{Logger, Verbosity};
    use crate::mailbox::{Item, Mailbox, Newcomer, Transport};
    use crate::permit::{Permit, Places};
    use crate::placement::Placement;

    const CONNECT: &[u8] = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02me";
    const PUBLISH: &[u8] = b"\x30\x08\x00\x01tabcde";

    /// The only shard of a broker without listeners.
    fn shard_task() -> ShardTask {
        let settings = Arc::new(Settings::default());
        let logging = Logging { destinations: Vec::new(), ..Logging::default() };
        let logger = Logger::new(&logging, Verbosity::Quiet).unwrap();
        let (requests, _) = tokio::sync::mpsc::unbounded_channel();
        let (control, _) = tokio::sync::mpsc::unbounded_channel();
        ShardTask::new(
            Shard::new(ShardId(0), 1, Arc::clone(&settings), 7),
            ShardId(0),
            vec![Arc::new(Mailbox::default())],
            None,
            settings,
            (Clock::start(), logger, (requests, control)),
            Arc::new(Placement::new(1)),
        )
    }

    /// A Client of the shard; it has the next key.
    async fn join(task: &mut ShardTask, listener: &TcpListener, client_id: &str) -> TcpStream {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        let places = Arc::new(Places::default());
        task.mailbox.send(Item::Admit(Box::new(Newcomer {
            transport: Transport::Here(Stream::from(stream)),
            worker: 0,
            peer: PeerAddress::from(address),
            listener: ListenerId(0),
            permit: Permit::take((&places, None), (&places, None)).unwrap(),
            connect: CONNECT.to_vec(),
            rest: Vec::new(),
            client_id: client_id.to_owned(),
            username: None,
            proof: Proof::None,
            settings: Arc::clone(&task.settings),
            authentication_data: None,
        })));
        task.turn(Monotonic::now());
        client
    }

    /// PUBLISH packets, until the kernel takes no more. `written`: the bytes it has ever taken.
    fn flood(client: &mut TcpStream, written: &mut usize) {
        client.set_nonblocking(true).unwrap();
        let packets = PUBLISH.repeat(10_000);
        loop {
            match client.write(&packets[*written % PUBLISH.len()..]) {
                Ok(count) => *written += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_flood_on_one_connection_leaves_a_part_of_every_turn_to_the_others() {
        let mut task = shard_task();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut loud = join(&mut task, &listener, "loud").await;
        let mut quiet = join(&mut task, &listener, "quiet").await;
        let received = |task: &ShardTask, key: usize| {
            let about = &task.body.connections[key].about;
            (about.bytes_received as usize, about.packets_received)
        };
        let (mut read, mut written) = (received(&task, 0).0, 0);
        for round in 1..=5 {
            flood(&mut loud, &mut written);
            let waits = written + CONNECT.len() - read;
            assert!(waits > 2 * READ_BYTES, "the kernel holds only {waits} bytes");
            let packets = received(&task, 1).1;
            quiet.write_all(PUBLISH).unwrap();
            // The runtime looks at its sockets when nobody has anything to do.
            tokio::time::sleep(Duration::from_millis(1)).await;
            task.turn(Monotonic::now());
            let now = received(&task, 0).0;
            assert!(now > read && now - read <= 2 * READ_BYTES, "{} bytes in a turn", now - read);
            assert_eq!(received(&task, 1).1, packets + 1, "round {round}: the quiet one waits");
            read = now;
        }
    }
}
