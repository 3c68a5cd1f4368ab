//! [`Raw`]: a bare 3.1.1 connection whose failures are values, for tests that kill the broker under
//! it. `peer` is for everything else.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// An open connection.
#[derive(Debug)]
pub struct Raw {
    socket: TcpStream,
    /// Received and not yet taken.
    received: Vec<u8>,
    /// The CONNACK's Session Present flag.
    pub session_present: bool,
}

impl Raw {
    /// Connects and is accepted.
    ///
    /// # Errors
    /// Whatever goes wrong with the socket; `InvalidData` for another answer than acceptance.
    pub fn connect(port: u16, client_id: &str, clean_session: bool) -> io::Result<Raw> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut raw = Raw { socket, received: Vec::new(), session_present: false };
        let mut connect = text("MQTT");
        connect.extend([4, if clean_session { 2 } else { 0 }, 0, 0]);
        connect.extend(text(client_id));
        raw.send(0x10, &connect)?;
        match raw.packet()? {
            (0x20, answer) if answer[1..] == [0] => raw.session_present = answer[0] == 1,
            (first, answer) => return Err(unexpected(first, &answer)),
        }
        Ok(raw)
    }

    /// The connection as a socket, for those who need no packets. What has come is gone.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, first: u8, body: &[u8]) -> io::Result<()> {
        let mut packet = vec![first];
        let mut length = body.len();
        loop {
            let more = u8::from(length > 127) << 7;
            packet.push((length % 128) as u8 | more);
            length /= 128;
            if length == 0 {
                break;
            }
        }
        packet.extend(body);
        self.socket.write_all(&packet)
    }

    /// Sends PUBLISH.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn publish(
        &mut self,
        (qos, dup, retain): (u8, bool, bool),
        topic: &str,
        packet_id: u16,
        payload: &[u8],
    ) -> io::Result<()> {
        let mut body = text(topic);
        if qos > 0 {
            body.extend(packet_id.to_be_bytes());
        }
        body.extend(payload);
        self.send(0x30 | u8::from(dup) << 3 | qos << 1 | u8::from(retain), &body)
    }

    /// Sends one of the packets that hold nothing but a Packet Identifier.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn acknowledge(&mut self, first: u8, packet_id: u16) -> io::Result<()> {
        self.send(first, &packet_id.to_be_bytes())
    }

    /// Subscribes to one filter and waits for SUBACK, passing over messages.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` when it is refused.
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> io::Result<()> {
        let mut body = vec![0x70, 1];
        body.extend(text(filter));
        body.push(qos);
        self.send(0x82, &body)?;
        loop {
            match self.packet()? {
                (0x90, answer) if answer == [0x70, 1, qos] => return Ok(()),
                (first, _) if first & 0xF0 == 0x30 => {}
                (first, answer) => return Err(unexpected(first, &answer)),
            }
        }
    }

    /// The next packet: its first byte, and what follows the Remaining Length.
    ///
    /// # Errors
    /// `WouldBlock` after the time that [`Raw::patience`] has set, and others of the socket.
    pub fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some(packet) = self.take() {
                return Ok(packet);
            }
            let mut buffer = [0; 16 * 1024];
            let count = self.socket.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend(&buffer[..count]);
        }
    }

    /// How long [`Raw::packet`] waits.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn patience(&self, patience: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(patience))
    }

    fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let (mut length, mut at) = (0, 1);
        loop {
            let byte = usize::from(*self.received.get(at)?);
            length |= (byte & 127) << (7 * (at - 1));
            at += 1;
            if byte < 128 {
                break;
            }
        }
        if self.received.len() < at + length {
            return None;
        }
        let rest = self.received.split_off(at + length);
        let packet = std::mem::replace(&mut self.received, rest);
        Some((packet[0], packet[at..].to_vec()))
    }
}

/// Takes a PUBLISH apart: topic, Packet Identifier (0 for QoS 0), payload.
pub fn published(first: u8, body: &[u8]) -> (String, u16, Vec<u8>) {
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let (topic, rest) = body[2..].split_at(length);
    let topic = String::from_utf8(topic.to_vec()).expect("the topics of the tests are text");
    if first & 0b110 == 0 {
        return (topic, 0, rest.to_vec());
    }
    (topic, u16::from_be_bytes([rest[0], rest[1]]), rest[2..].to_vec())
}

/// The Packet Identifier at the front of a packet.
pub fn packet_id(body: &[u8]) -> u16 {
    u16::from_be_bytes([body[0], body[1]])
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn unexpected(first: u8, body: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected packet {first:02x} {body:02x?}"))
}
