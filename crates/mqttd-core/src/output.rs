//! Everything that can leave a shard. The body carries it out, the simulator records it.

use crate::authenticate::Reauthentication;
use crate::control::ControlRequest;
use crate::envelope::{Envelope, Token};
use crate::ids::{ConnectionKey, RecordId, ShardId};
use crate::message::Passing;
use crate::notice::Notice;
use crate::wire::WireBuffer;

/// The way out of a shard. The shard is monomorphised over it: appending a frame is a plain write
/// into the receiver's buffer.
///
/// The body's law for one turn: hand in events; then write the records to the log; then hand in
/// `Event::Durable` or `Event::NotDurable`; then write each touched socket once. Bytes in a
/// [`WireBuffer`] therefore never leave before the records that were appended before them.
pub trait Output {
    /// The buffer of an open connection. Whatever is appended is written at the end of the turn.
    fn wire(&mut self, to: ConnectionKey) -> &mut WireBuffer;

    /// The buffer has grown: write what the socket takes now, if the log allows it. Returns the
    /// bytes still waiting. When some are, [`crate::event::Event::Writable`] follows once they are
    /// gone.
    fn flush(&mut self, to: ConnectionKey) -> usize;

    /// Hand in no more packets of this connection until [`Output::resume`]: it waits for more
    /// answers than [`crate::limits::HELD_ANSWERS_MAX`].
    fn pause(&mut self, connection: ConnectionKey);

    /// Packets of the connection are welcome again.
    fn resume(&mut self, connection: ConnectionKey);

    /// Close the connection after its buffer has been written (bounded in time by the body). The
    /// shard has forgotten the key.
    fn close(&mut self, connection: ConnectionKey);

    /// A Client authenticates again (4.12.1). [`crate::event::Event::Authenticated`] is to follow,
    /// unless the connection ends before.
    fn authenticate(&mut self, connection: ConnectionKey, request: Reauthentication<'_>);

    /// A Client has a request to the Server itself; it may make it. No packet of the connection is
    /// welcome until [`crate::event::Event::ControlDone`], which is to follow unless the connection
    /// ends before.
    fn control(&mut self, connection: ConnectionKey, request: ControlRequest<'_>);

    /// Into another shard's mailbox, in order, at the end of the turn: after the records of the
    /// turn are in the log, and before anything is written to a socket.
    fn to_shard(&mut self, to: ShardId, envelope: Envelope);

    /// A message for another shard, in order with what [`Output::to_shard`] sends there. Nobody
    /// here has had to keep it: a body that copies it ([`crate::letters::Letters`]) spares it being
    /// made an owned one.
    fn message_to_shard(&mut self, to: ShardId, message: &mut Passing<'_>, confirm: Option<Token>) {
        let message = message.keep();
        self.to_shard(to, Envelope::Publish { message, confirm, origin: None, reached: None });
    }

    /// Keep this record; a later one with the same identifier replaces it.
    fn put(&mut self, id: RecordId, body: &[u8]);

    /// The record is no longer needed.
    fn kill(&mut self, id: RecordId);

    /// The log has refused the last change of this record and has not taken it since.
    fn is_held_back(&self, id: RecordId) -> bool;

    /// A start of the broker could find this record now.
    fn is_in_log(&self, id: RecordId) -> bool;

    /// Something a person may want to know.
    fn notice(&mut self, notice: Notice<'_>);
}
