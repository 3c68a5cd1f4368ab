//! What happened, as somebody who stands beside the network and every Client sees it. Of the
//! broker's own story only this is taken: which access rights a shard had when, and when its body
//! opened and ended a connection.

use std::fmt::{self, Write as _};

use mqtt_proto::QoS;

/// Longest time until the broker has read what a Client has sent.
const READ_MILLIS_MAX: u64 = 1000;

/// A place in the history: larger is later.
pub(crate) type Place = usize;

/// One thing that happened.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "the trace and the printed history read the fields by their Debug")]
pub(crate) enum Fact {
    Connects {
        who: usize,
        connection: usize,
        clean: bool,
    },
    Connected {
        who: usize,
        present: bool,
    },
    Refused {
        who: usize,
        code: u8,
    },
    /// The Client knows that its connection is gone.
    Gone {
        who: usize,
    },
    Publishes {
        who: usize,
        message: usize,
        dup: bool,
    },
    /// PUBACK or PUBREC.
    Answered {
        who: usize,
        message: usize,
        is_error: bool,
    },
    Receives {
        who: usize,
        copy: usize,
    },
    Subscribes {
        who: usize,
        filter: &'static str,
        qos: QoS,
    },
    Granted {
        who: usize,
        filter: &'static str,
        code: u8,
    },
    Unsubscribes {
        who: usize,
        filter: &'static str,
    },
    /// The Client begins a new session.
    Forgets {
        who: usize,
    },
    Admitted {
        connection: usize,
    },
    Ended {
        connection: usize,
        normally: bool,
    },
    Crashes {
        how: String,
    },
    Starts,
    Reloaded {
        shard: u8,
        acl: usize,
    },
    Says {
        line: String,
    },
    Step {
        step: String,
    },
}

/// A message of a Client that keeps to the rules.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) publisher: usize,
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Bytes of payload beside the number.
    pub(crate) bytes: usize,
    /// It may expire on its way.
    pub(crate) expires: bool,
    /// It is cleared rather than kept: a retained message without payload.
    pub(crate) clears: bool,
    /// When its first byte was handed to the network.
    pub(crate) first: Place,
    pub(crate) first_at: u64,
    /// When it was sent, each time.
    pub(crate) attempts: Vec<u64>,
    /// It was sent again with DUP.
    pub(crate) is_repeated: bool,
    /// PUBACK or PUBREC without an error.
    pub(crate) kept: Option<(Place, u64)>,
}

/// A message as a Client received it.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) who: usize,
    /// The Client's session it came in.
    pub(crate) era: usize,
    /// `None`: of the Client without rules.
    pub(crate) message: Option<usize>,
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// No repetition as far as the Client's session can tell.
    pub(crate) is_new: bool,
    pub(crate) at: u64,
    /// When the shard wrote it into its output, and which shard.
    pub(crate) written_at: u64,
    pub(crate) shard: u8,
    /// QoS 2: when the shard wrote the PUBREL that ended it for the Client.
    pub(crate) released_at: Option<u64>,
}

/// A subscription as its Client knows it.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) who: usize,
    pub(crate) era: usize,
    pub(crate) filter: &'static str,
    /// The lowest QoS that was granted while it lasted.
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    /// SUBACK.
    pub(crate) since: Place,
    pub(crate) since_at: u64,
    /// UNSUBSCRIBE or a new SUBSCRIBE was sent.
    pub(crate) until: Option<Place>,
    /// The session outlives its connection.
    pub(crate) is_lasting: bool,
}

/// A connection with a will.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) who: usize,
    pub(crate) clean: bool,
    pub(crate) will: Option<String>,
    pub(crate) delay_millis: u64,
    pub(crate) session_millis: u64,
    /// The shard took it.
    pub(crate) admitted_at: Option<u64>,
    /// Where that stands in the history.
    pub(crate) admitted: Place,
    /// The broker has ended it, and whether a DISCONNECT without will had been handed to the shard.
    pub(crate) ended: Option<(u64, bool)>,
}

/// A death of the broker.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    pub(crate) at: u64,
    /// What the device had not been brought is lost.
    pub(crate) is_power_cut: bool,
    /// Of what the device had not been brought some is there and some older is not.
    pub(crate) is_scattered: bool,
    /// What was promised at or before this time holds.
    pub(crate) safe_until: u64,
    /// What was handed to the logs at or before this time is there after it; a promise waits for
    /// more than that.
    pub(crate) noted_until: u64,
}

impl Death {
    /// Part of what was noted of the message before may be lost, and part of it kept.
    fn may_have_half(&self, sent: &Sent) -> bool {
        let is_before =
            |attempt: &u64| *attempt <= self.at && self.safe_until <= attempt + READ_MILLIS_MAX;
        self.safe_until < self.at && sent.attempts.iter().any(is_before)
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct History {
    pub(crate) lines: Vec<(u64, Fact)>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) copies: Vec<Copy>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) deaths: Vec<Death>,
    /// Bits of the log were flipped: nothing kept before is promised any more.
    pub(crate) is_damaged: bool,
    /// By shard: since when which access rights.
    pub(crate) acls: Vec<Vec<(u64, usize)>>,
    /// Disks refused or were slow at some time.
    pub(crate) had_disk_fault: bool,
    /// How often each kind of event happened, with its Client connected where there must be one.
    pub tally: std::collections::BTreeMap<&'static str, u64>,
    /// From when until when some log refused.
    pub(crate) refusals: Vec<(u64, u64)>,
    /// Clients that asked for a shared subscription.
    pub(crate) asked_shared: std::collections::BTreeSet<usize>,
    /// When a shard began a session of a Client: who, which one.
    pub(crate) eras: Vec<(usize, usize, u64)>,
    /// When a Client, in which session, sent a SUBSCRIBE.
    pub(crate) asked: Vec<(usize, usize, Place)>,
    /// Whether a refusal can be told, by Client: 5.0 has words for it.
    pub(crate) is_told: Vec<bool>,
    /// Maximum Packet Size, by Client.
    pub(crate) packet_max: Vec<Option<u32>>,
    /// When the fresh Client asked for what is retained.
    pub(crate) fresh_asked: Place,
    /// When everything had come to rest, before the books were checked.
    pub(crate) ended_at: u64,
    /// Copies dropped for any reason, in all lives.
    pub(crate) dropped: u64,
    /// Found while it happened: checker and words.
    pub(crate) offences: Vec<(&'static str, String)>,
    hash: u64,
}

impl History {
    pub(crate) fn note(&mut self, at: u64, fact: Fact) -> Place {
        let mut hasher = Hasher(self.hash);
        // A Hasher takes everything.
        let _ = write!(hasher, "{at} {fact:?}");
        self.hash = hasher.0;
        self.lines.push((at, fact));
        self.lines.len()
    }

    /// A number for the whole history: two runs of one plan have the same.
    pub fn trace(&self) -> u64 {
        self.hash
    }

    /// Something promised at this time may have been lost with a crash.
    pub(crate) fn may_be_lost(&self, at: u64) -> bool {
        self.deaths.iter().any(|death| death.at >= at && death.safe_until < at)
    }

    /// When the message was acknowledged, if no crash may have taken what that promised.
    pub(crate) fn kept(&self, sent: &Sent) -> Option<(Place, u64)> {
        sent.kept.filter(|(_, at)| !self.may_be_lost(*at) && !self.may_pass_for_known(sent, *at))
    }

    /// Each shard has a log of its own, and a crash that takes something takes ends of different
    /// length from them. The publisher's shard may still know that it took a QoS 2 message which is
    /// lost on others: when it comes again, it passes for one that has arrived.
    fn may_pass_for_known(&self, sent: &Sent, kept_at: u64) -> bool {
        let shards = self.acls.len();
        shards > 1
            && sent.qos == QoS::ExactlyOnce
            && self.deaths.iter().any(|death| death.at <= kept_at && death.may_have_half(sent))
    }

    /// A message that came shortly before a crash that took something, and again after it. What was
    /// noted of its arrival may be lost, and the message not: it is taken for another one.
    pub(crate) fn may_be_taken_anew(&self, message: usize) -> bool {
        let sent = &self.sent[message];
        let is_after = |death: &Death| sent.attempts.iter().any(|attempt| *attempt > death.at);
        self.deaths.iter().any(|death| is_after(death) && death.may_have_half(sent))
    }

    /// Some log may lack something that is older than other things in it.
    pub(crate) fn has_holes(&self) -> bool {
        self.is_damaged || self.deaths.iter().any(|death| death.is_scattered)
    }

    /// A new message that its Client takes for a repetition, of which there is one in 65,535: after
    /// a crash that took something identifiers go on elsewhere, and the Client may hold that one.
    pub(crate) fn meets_an_open_identifier(&self, copy: &Copy) -> bool {
        let is_same = |other: &Copy| other.who == copy.who && other.message == copy.message;
        !copy.is_new
            && self.is_lossy()
            && !self.copies.iter().any(|other| other.is_new && is_same(other))
    }

    /// What the broker noted at this time may have been forgotten with a crash, though nobody was
    /// promised that it is kept.
    pub(crate) fn may_be_forgotten(&self, at: u64) -> bool {
        self.deaths.iter().any(|death| death.at >= at && death.noted_until < at)
    }

    /// Some log refused between these times.
    pub(crate) fn was_refusing(&self, from: u64, to: u64) -> bool {
        self.refusals.iter().any(|(begin, end)| *begin <= to && from <= *end)
    }

    /// Some log refused the message while its publisher waited for the answer, and it was sent
    /// again. That is a new attempt with QoS 1; with QoS 2 if a 5.0 Client was told of the refusal
    /// and its connection broke before it heard that, and if the broker died meanwhile, for what a
    /// log refuses is known to memory only (`durability.md`).
    pub(crate) fn is_new_attempt(&self, message: usize) -> bool {
        let sent = &self.sent[message];
        let kept_at = sent.kept.map_or(u64::MAX, |(_, at)| at);
        let died = |death: &Death| death.at >= sent.first_at && death.at <= kept_at;
        sent.is_repeated
            && self.was_refusing(sent.first_at, kept_at)
            && (sent.qos < QoS::ExactlyOnce
                || self.is_told.get(sent.publisher) == Some(&true)
                || self.deaths.iter().any(died))
    }

    /// The oldest session of the Client that may be the broker's idea of this one: a crash may have
    /// forgotten that a clean start ended it, for CONNACK does not wait for the log.
    pub(crate) fn oldest_era(&self, who: usize, era: usize) -> usize {
        let begun = |era| self.eras.iter().find(|(of, number, _)| (*of, *number) == (who, era));
        let is_forgotten =
            |era: &usize| begun(*era).is_some_and(|(.., at)| self.may_be_forgotten(*at));
        (1..=era).rev().take_while(is_forgotten).last().map_or(era, |first| first - 1)
    }

    /// Some crash took something with it that had been promised.
    pub(crate) fn is_lossy(&self) -> bool {
        self.is_damaged || self.deaths.iter().any(|death| death.safe_until < death.at)
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fact) in &self.lines {
            match fact {
                Fact::Step { step } => writeln!(f, "{at:>7} ── {step}")?,
                Fact::Publishes { who, message, dup } => {
                    let Sent { topic, qos, retain, .. } = &self.sent[*message];
                    let again = if *dup { " again" } else { "" };
                    let retain = if *retain { " retained" } else { "" };
                    let qos = *qos as u8;
                    writeln!(
                        f,
                        "{at:>7} c{who} publishes m{message}{again} on {topic} QoS {qos}{retain}"
                    )?;
                }
                Fact::Receives { who, copy } => {
                    let copy = &self.copies[*copy];
                    let text = copy.payload.split('.').next().unwrap_or_default();
                    let (topic, qos) = (&copy.topic, copy.qos as u8);
                    let new = if copy.is_new { "" } else { " again" };
                    let retain = if copy.retain { " retained" } else { "" };
                    writeln!(f, "{at:>7} c{who} gets {text}{new} on {topic} QoS {qos}{retain}")?;
                }
                Fact::Says { line } => writeln!(f, "{at:>7} broker: {line}")?,
                other => writeln!(f, "{at:>7} {other:?}")?,
            }
        }
        Ok(())
    }
}

/// FNV-1a over what is written.
struct Hasher(u64);

impl fmt::Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
