//! Everything that can enter a shard.

use alloc::sync::Arc;

use mqtt_proto::packet::{Connect, Packet};
use mqtt_proto::{Offence, QoS, ReasonCode};

use crate::authenticate::{Authenticated, Outcome};
use crate::envelope::{Envelope, Token};
use crate::ids::{ConnectionKey, ListenerId, Lsn, ShardId};
use crate::message::Passing;
use crate::settings::Settings;

/// One thing that has happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A Client whose identity has been verified asks for a connection.
    Connect(Admission<'a>),
    /// A packet other than CONNECT has arrived.
    Packet(ConnectionKey, Packet<'a>),
    /// What arrived is not MQTT; the connection is told and closed.
    Offence(ConnectionKey, Offence),
    /// The body wants the connection to end for this reason.
    End(ConnectionKey, ReasonCode),
    /// The transport is gone.
    Closed(ConnectionKey),
    /// All that waited in the connection's buffer has been written.
    Writable(ConnectionKey),
    /// The answer to [`crate::output::Output::authenticate`].
    Authenticated(ConnectionKey, Outcome<'a>),
    /// What [`crate::output::Output::control`] asked for is done, and answered.
    ControlDone(ConnectionKey),
    /// From another shard's [`crate::output::Output::to_shard`].
    FromShard(ShardId, Envelope),
    /// From another shard's [`crate::output::Output::message_to_shard`]: a message for whatever
    /// subscriptions this shard has, to be answered if there is a token.
    MessageFromShard(ShardId, Passing<'a>, Option<Token>),
    /// The records up to this one are kept as the durability level demands.
    Durable(Lsn),
    /// The log refused the records up to this one: what waits for them is not acknowledged.
    NotDurable(Lsn),
    /// The log has taken what it had refused.
    Recovered {
        /// All of it; else all but some messages.
        complete: bool,
    },
    /// Time has passed; due when [`crate::Shard::deadline`] says so.
    Tick,
    /// A message of the Server's own, e.g. `$SYS`.
    Publish {
        /// Where.
        topic: &'a str,
        /// What.
        payload: &'a [u8],
        /// At which QoS.
        qos: QoS,
        /// Whether it is kept.
        retain: bool,
    },
    /// A reloaded configuration.
    Settings(Arc<Settings>),
    /// A listener is closed: its connections are told and closed, sessions are kept.
    CloseListener(ListenerId),
    /// The broker stops: connections are told and closed, sessions are kept.
    Shutdown,
}

/// How a Client has shown who it is. A reload asks again whether that is still enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// Not at all: with a user name or without, nobody has asked.
    #[default]
    None,
    /// By the password, or the keys made of it, of its user in the listener's password file.
    Password,
    /// By the password of its user in dynamic security.
    Dynamic,
    /// By a certificate, or by what else the transport vouches for.
    Transport,
}

/// A CONNECT that has passed authentication.
#[derive(Debug)]
pub struct Admission<'a> {
    /// The connection it came on.
    pub connection: ConnectionKey,
    /// The packet.
    pub connect: Connect<'a>,
    /// The Client Identifier to use; differs from the packet's when the Server assigned it.
    pub client_id: &'a str,
    /// The user name to use; may come from a certificate.
    pub username: Option<&'a str>,
    /// Where it came in.
    pub listener: ListenerId,
    /// Sessions of all other shards, for the bound on all sessions.
    pub sessions_elsewhere: u32,
    /// How the Client has shown who it is.
    pub proof: Proof,
    /// The settings under which it has, when they may be other than the shard's; a reload may have
    /// come between.
    pub proved_under: Option<&'a Settings>,
    /// How it has authenticated, when CONNECT named an Authentication Method.
    pub authenticated: Option<Authenticated<'a>>,
}
