//! QoS 2 between shards, exactly once also when the broker dies between the commits of two logs.
//!
//! ```text
//!  publisher's shard                       receiving shards
//!  PUBLISH ── exchange n ── message ─────▶ record with its Origin (n, Packet Identifier)
//!     Received{n}  ◀──────── Confirm ───── kept
//!  PUBREC, once that is kept
//!     └──────────── Settled up to n ─────▶ the Origin has done its work
//!  ── killed before Received is kept: the start finds Origins above the newest exchange that the
//!     publisher's log speaks of, and makes a Begun record of them (`begun.rs`) ──
//!  PUBLISH again ── to those it had not reached
//! ```
//! Exchanges are recorded as received in the order of their numbers, so one number says it of all
//! before it. `docs/decisions/007-qos-2-between-shards.md` has the reasons.

use alloc::sync::Arc;
use alloc::vec::Vec;

use mqtt_proto::PacketIdentifier;

use crate::envelope::{Envelope, SessionAddress, Token};
use crate::ids::{Lsn, RecordId, SessionKey, ShardId};
use crate::matching::ShardSet;
use crate::message::Passing;
use crate::output::Output;
use crate::record::{Origin, Reached};
use crate::shard::Shard;

/// What a message has with it on behalf of its publisher.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receipt {
    /// Other shards confirm to this.
    pub(crate) token: Option<Token>,
    /// Who keeps the message keeps this with it.
    pub(crate) origin: Option<Origin>,
    /// It has been taken before and had reached these.
    pub(crate) reached: Option<Arc<Reached>>,
}

impl Receipt {
    /// Nobody is to be answered.
    pub(crate) const NONE: Self = Self { token: None, origin: None, reached: None };
}

/// A QoS 2 message from a Client that had reached some sessions when the broker went down.
pub(crate) struct Begun {
    pub(crate) record: RecordId,
    /// See [`Passing::content`].
    pub(crate) content: u64,
    pub(crate) reached: Arc<Reached>,
}

/// Which shards may hold an [`Origin`], by the shard of the publisher.
#[derive(Default)]
pub(crate) struct Exchanges {
    sent: Vec<Sent>,
    /// Exchanges of this shard up to here are over and the others have not been told.
    over: Option<RecordId>,
    /// What a restore has to tell the others once its records are kept.
    restored: Option<(Lsn, RecordId)>,
}

/// Later than every record.
const REFUSED: Lsn = Lsn(u64::MAX);

#[derive(Clone, Default)]
struct Sent {
    to: ShardSet,
    newest: u64,
}

/// The shard whose session has begun an exchange.
pub(crate) fn publishers_shard(exchange: RecordId) -> ShardId {
    ShardId((exchange.0 >> 56) as u8)
}

impl Exchanges {
    /// A message with this origin goes to these shards.
    pub(crate) fn sent(&mut self, origin: &Origin, to: ShardSet) {
        self.sent_up_to(origin.exchange, to);
    }

    /// These shards may hold origins up to this exchange.
    pub(crate) fn sent_up_to(&mut self, exchange: RecordId, to: ShardSet) {
        if to.is_empty() {
            return;
        }
        let of = usize::from(publishers_shard(exchange).0);
        if self.sent.len() <= of {
            self.sent.resize(of.saturating_add(1), Sent::default());
        }
        let Some(sent) = self.sent.get_mut(of) else { return };
        sent.to.union(to);
        sent.newest = sent.newest.max(exchange.0);
    }

    /// Exchanges of this shard end in the order of their numbers.
    pub(crate) fn is_over(&mut self, exchange: RecordId) {
        self.over = self.over.max(Some(exchange));
    }

    /// The restore has put records that take the place of origins up to `exchange`.
    pub(crate) fn restored(&mut self, need: Lsn, exchange: RecordId) {
        self.restored = Some((need, exchange));
    }

    /// The log has refused everything between these; if that is what the restore has put, the
    /// others are told once it has recovered.
    pub(crate) fn refused(&mut self, kept: Lsn, lsn: Lsn) {
        if let Some((need, _)) = self.restored.as_mut().filter(|(need, _)| *need > kept) {
            *need = if *need <= lsn { REFUSED } else { *need };
        }
    }

    /// The log has taken what it had refused.
    pub(crate) fn recovered(&mut self) {
        if let Some((need, _)) = self.restored.as_mut().filter(|(need, _)| *need == REFUSED) {
            *need = Lsn::default();
        }
    }
}

impl Shard {
    /// What is known of this PUBLISH from before a crash: whom it had reached. Another message
    /// under the same Packet Identifier is news, and the old one will not come any more
    /// [MQTT-2.2.1-3] [MQTT-3.3.1-1].
    pub(crate) fn reached_before<O: Output>(
        &mut self,
        key: SessionKey,
        packet_id: PacketIdentifier,
        (message, dup): (&Passing<'_>, bool),
        out: &mut O,
    ) -> Option<Arc<Reached>> {
        let records = self.sessions[key].records.as_mut()?;
        let begun = records.begun.get(&packet_id)?;
        if dup && begun.content == message.content() {
            return Some(Arc::clone(&begun.reached));
        }
        let record = begun.record;
        records.begun.remove(&packet_id);
        self.journal.kill(record, out);
        None
    }

    /// Exchanges of a shard's sessions up to this one are over.
    pub(crate) fn settled<O: Output>(&mut self, up_to: RecordId, out: &mut O) {
        let of = publishers_shard(up_to);
        self.journal.settle(up_to, out);
        let Some(sent) = self.exchanges.sent.get_mut(usize::from(of.0)) else { return };
        for shard in sent.to.iter().filter(|shard| *shard != of) {
            out.to_shard(shard, Envelope::Settled { up_to });
        }
        if up_to.0 >= sent.newest {
            sent.to = ShardSet::default();
        }
    }

    /// Tells of the exchanges that have ended since the last call.
    pub(crate) fn tell_settled<O: Output>(&mut self, out: &mut O) {
        if let Some((need, exchange)) = self.exchanges.restored {
            if need <= self.journal.durable() {
                self.exchanges.restored = None;
                self.exchanges.is_over(exchange);
            }
        }
        if let Some(up_to) = self.exchanges.over.take() {
            self.settled(up_to, out);
        }
    }

    /// The message an earlier life had begun has been taken, or will not be.
    pub(crate) fn forget_begun<O: Output>(
        &mut self,
        of: SessionAddress,
        packet_id: PacketIdentifier,
        out: &mut O,
    ) {
        let Some(session) = self.sessions.find_mut(of.key) else { return };
        if session.uid != of.uid {
            return;
        }
        let records = session.records.as_mut();
        if let Some(begun) = records.and_then(|records| records.begun.remove(&packet_id)) {
            self.journal.kill(begun.record, out);
        }
    }
}
