//! Requests to the Server itself: what Clients publish below `$CONTROL/`. Such a message reaches no
//! subscriber and is not retained. Whether the Client may publish it is decided here; what it leads
//! to is the body's business, and so is the answer, which is an ordinary message.
//!
//! ```text
//!   PUBLISH ──▶ the rights ──▶ Output::control, nothing more is read ──▶ Event::ControlDone
//!                  │                                                        │
//!                  └─ no: PUBACK or PUBREC says so                          └─▶ PUBACK or PUBREC
//! ```
//! Hence a Client has one request under way at most, and what it did is in force when its
//! acknowledgement arrives.

use mqtt_proto::packet::{PacketType, Publish};
use mqtt_proto::{Offence, PacketIdentifier, QoS, ReasonCode};

use crate::acknowledge::{Answer, Wait};
use crate::deliver::address;
use crate::ids::{ConnectionKey, ListenerId, SessionKey};
use crate::message::Passing;
use crate::output::Output;
use crate::shard::Shard;
use crate::time::Instant;

/// Whether a message with this topic is a request.
#[inline]
pub(crate) fn is_control(topic: &str) -> bool {
    topic.starts_with("$CONTROL/")
}

/// A request of a Client that may make it.
#[derive(Clone, Copy, Debug)]
pub struct ControlRequest<'a> {
    /// Who.
    pub client_id: &'a str,
    /// Its user name.
    pub username: Option<&'a str>,
    /// Where the connection came in.
    pub listener: ListenerId,
    /// What it is for.
    pub topic: &'a str,
    /// What is wanted.
    pub payload: &'a [u8],
}

/// A request that is under way: what its Client is to be sent.
#[derive(Debug)]
pub(crate) struct Control {
    ack: Option<(PacketType, PacketIdentifier)>,
    wait: Wait,
}

impl Shard {
    /// A PUBLISH for the Server has arrived.
    #[cold]
    pub(crate) fn receive_control<O: Output>(
        &mut self,
        key: SessionKey,
        publish: &Publish<'_>,
        message: &mut Passing<'_>,
        now: Instant,
        out: &mut O,
    ) -> Result<(), Offence> {
        if let Some(packet_id) = publish.packet_id.filter(|_| !publish.dup) {
            self.forget_lost_pubrel(key, packet_id, out);
        }
        let session = &mut self.sessions[key];
        let ack = match publish.packet_id {
            None => None,
            Some(packet_id) if publish.qos == QoS::AtLeastOnce => {
                self.begin_receiving(key)?;
                Some((PacketType::Puback, packet_id))
            }
            Some(packet_id) if session.receiver.contains(packet_id) => {
                // It was done when it came first.
                return self.receive_qos2(key, packet_id, publish.dup, message, now, out);
            }
            Some(packet_id) => {
                self.begin_receiving(key)?;
                let session = &mut self.sessions[key];
                let taken = session.receiver.publish_new(packet_id);
                taken.map_err(|_| Offence::ReceiveMaximumExceeded)?;
                Some((PacketType::Pubrec, packet_id))
            }
        };
        let reason = self.refuses_message(key, message, out);
        if reason == Some(ReasonCode::PayloadFormatInvalid) && ack.is_none() {
            return Err(Offence::PayloadFormatInvalid);
        }
        let is_refused = reason.is_some();
        let Some((packet_type, packet_id)) = ack else {
            if !is_refused {
                self.request(key, message, Control { ack, wait: Wait::default() }, out);
            }
            return Ok(());
        };
        if let Some(reason) = reason {
            if packet_type == PacketType::Pubrec && reason.is_error() {
                self.refuse_received(key, packet_id, out);
            }
            self.acknowledge(key, packet_type, (packet_id, reason), Wait::default(), out);
            return Ok(());
        }
        let mut wait = Wait::default();
        if packet_type == PacketType::Pubrec {
            let of = address(key, &self.sessions[key]);
            wait.need = self.record_received(of, packet_id, None, out);
        }
        self.request(key, message, Control { ack, wait }, out);
        Ok(())
    }

    fn request<O: Output>(
        &mut self,
        key: SessionKey,
        message: &Passing<'_>,
        control: Control,
        out: &mut O,
    ) {
        let session = &mut self.sessions[key];
        let Some(online) = &mut session.online else { return };
        online.rare.get_or_insert_default().control = Some(control);
        if !online.is_paused {
            out.pause(online.connection);
        }
        let request = ControlRequest {
            client_id: &session.client_id,
            username: session.username.as_deref(),
            listener: session.listener,
            topic: message.topic,
            payload: message.payload,
        };
        out.control(online.connection, request);
    }

    /// The request of this connection has been carried out and answered.
    pub(crate) fn control_done<O: Output>(&mut self, connection: ConnectionKey, out: &mut O) {
        let Some(key) = self.session_of(connection) else { return };
        let Some(online) = &mut self.sessions[key].online else { return };
        let request = online.rare.as_mut().and_then(|rare| rare.control.take());
        let Some(control) = request else { return };
        if !online.is_paused {
            out.resume(connection);
        }
        if let Some((packet_type, packet_id)) = control.ack {
            let reason = ReasonCode::Success;
            self.answer(key, Answer::Ack { packet_type, packet_id, reason }, control.wait, out);
        }
    }
}
