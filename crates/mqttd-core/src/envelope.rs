//! What shards tell each other. Mailboxes keep the order between each two shards.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::grant::Grant;
use crate::ids::{RecordId, SessionKey, SessionUid, ShardId};
use crate::message::Message;
use crate::record::{Origin, Reached};
use crate::source::Source;

/// One item in another shard's mailbox.
#[derive(Debug)]
pub enum Envelope {
    /// The sender has, or no longer has, subscriptions to this filter.
    Interest {
        /// An ordinary Topic Filter.
        filter: Box<str>,
        /// Has.
        present: bool,
    },
    /// A member of a shared subscription has joined, changed or left.
    Member {
        /// The whole filter, `$share/…` included.
        filter: Box<str>,
        /// Who.
        member: MemberState,
    },
    /// A message for whatever subscriptions the receiving shard has.
    Publish {
        /// The message.
        message: Arc<Message>,
        /// To be answered with [`Envelope::Confirm`] once it is kept where it must be.
        confirm: Option<Token>,
        /// To be kept with the message until [`Envelope::Settled`].
        origin: Option<Origin>,
        /// It has come before, to these.
        reached: Option<Arc<Reached>>,
    },
    /// A message for one session: chosen from a shared subscription.
    Directed {
        /// Who.
        to: SessionAddress,
        /// How.
        grant: Grant,
        /// The message.
        message: Arc<Message>,
        /// As above.
        confirm: Option<Token>,
        /// As above.
        origin: Option<Origin>,
    },
    /// The exchanges of a shard's sessions up to this one are over for whoever keeps their
    /// messages.
    Settled {
        /// The newest of them; its highest byte names the shard.
        up_to: RecordId,
    },
    /// To be answered with [`Envelope::Confirm`]: everything sent before this is known then.
    Sync(Token),
    /// The answer to a token.
    Confirm {
        /// Whose answer.
        token: Token,
        /// What has become of what it stood for.
        confirmation: Confirmation,
    },
    /// The sender's log has taken what it had refused: what it has confirmed as
    /// [`Confirmation::NotYet`] is kept now.
    Recovered {
        /// How many times it has by now.
        recoveries: u32,
        /// All of it; else all but some messages.
        complete: bool,
    },
    /// Set (or, with an empty payload, clear) the retained message of a topic this shard owns.
    Retain {
        /// The message.
        message: Arc<Message>,
        /// Who published it; `None` for the Server's own.
        source: Option<Arc<Source>>,
        /// As above.
        confirm: Option<Token>,
    },
    /// Send retained messages that match; the first request opens the replay, later ones continue
    /// it.
    ReplayMore {
        /// For whom.
        to: ReplayAddress,
        /// Present in the first request.
        filter: Option<Box<str>>,
    },
    /// The replay's session has gone.
    ReplayCancel(ReplayAddress),
    /// Some retained messages.
    ReplayPart {
        /// For whom.
        to: ReplayAddress,
        /// In no particular order.
        messages: Vec<Arc<Message>>,
        /// There are no more.
        finished: bool,
    },
}

/// What has become of what a shard was to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It is kept.
    Kept,
    /// A log has refused it and will be offered it again; [`Envelope::Recovered`] from there ends
    /// the wait.
    NotYet {
        /// Whose log.
        log: ShardId,
        /// How many times that log had recovered by then.
        recoveries: u32,
    },
    /// It is not kept and will not be.
    Never,
}

/// Names a publish whose acknowledgement waits for another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub(crate) u64);

/// A session on a given shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionAddress {
    pub(crate) key: SessionKey,
    pub(crate) uid: SessionUid,
}

/// A replay of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplayAddress {
    pub(crate) session: SessionAddress,
    pub(crate) replay: u64,
}

/// A member of a shared subscription as its own shard tells it.
#[derive(Clone, Debug)]
pub struct MemberState {
    pub(crate) session: SessionAddress,
    /// `None`: it has left.
    pub(crate) grant: Option<Grant>,
    pub(crate) is_online: bool,
}
