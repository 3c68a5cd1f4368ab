//! How strongly each record has to be kept: `durability LEVEL [FILTER]`.
//!
//! Messages, retained messages and wills have the level of their topic. What tells of such a
//! message has the message's level. Sessions, subscriptions and the identifiers of QoS 2 messages
//! from Clients serve every topic, so they have the strongest level of all lines.

use std::collections::HashMap;
use std::sync::Arc;

use mqtt_proto::topic::{TopicFilter, TopicName};
use mqttd_conf::{Durability as Level, Persistence};
use mqttd_core::ids::RecordId;
use mqttd_core::record::Record;

/// The `durability` lines.
#[derive(Clone, Debug)]
pub struct Levels {
    /// Of topics that no line names.
    default: Level,
    rules: Vec<(Level, String)>,
    strongest: Level,
}

impl Levels {
    /// As the configuration has them.
    pub fn new(config: &Persistence) -> Self {
        let default = config.default_durability();
        let rules: Vec<_> = config
            .durability
            .iter()
            .filter_map(|rule| Some((rule.level, rule.filter.clone()?)))
            .collect();
        let strongest = rules.iter().map(|(level, _)| *level).fold(default, Level::max);
        Self { default, rules, strongest }
    }

    /// The strongest of the lines whose filter matches; the default when none does.
    pub fn of_topic(&self, topic: &str) -> Level {
        let Ok(name) = TopicName::new(topic) else { return self.strongest };
        let matching = self.rules.iter().filter(|(_, filter)| {
            TopicFilter::new(filter).is_ok_and(|filter| filter.matches(name))
        });
        matching.map(|(level, _)| *level).max().unwrap_or(self.default)
    }

    /// The level of topics that no line names.
    pub fn default(&self) -> Level {
        self.default
    }

    /// No line names a filter with a level of its own.
    pub fn is_uniform(&self) -> bool {
        self.rules.iter().all(|(level, _)| *level == self.default)
    }
}

impl std::fmt::Display for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(word(self.default))?;
        self.rules.iter().try_for_each(|(level, filter)| write!(f, "; {} {filter}", word(*level)))
    }
}

/// The level as it stands in a configuration.
fn word(level: Level) -> &'static str {
    match level {
        Level::None => "none",
        Level::Process => "process",
        Level::Sync => "sync",
    }
}

/// The levels of a shard's records.
pub(crate) struct Classes {
    levels: Arc<Levels>,
    /// Living records whose level is not the default. Empty without lines that have a filter.
    special: HashMap<RecordId, Level>,
}

impl Classes {
    pub(crate) fn new(levels: Arc<Levels>) -> Self {
        Self { levels, special: HashMap::new() }
    }

    /// The level of a record that is written.
    #[inline]
    pub(crate) fn of_put(&mut self, id: RecordId, body: &[u8]) -> Level {
        if self.levels.rules.is_empty() {
            return self.levels.default;
        }
        let level = self.judge(id, body);
        if level == self.levels.default {
            self.special.remove(&id);
        } else {
            self.special.insert(id, level);
        }
        level
    }

    /// The level of a death: that of the record.
    #[inline]
    pub(crate) fn of_kill(&mut self, id: RecordId) -> Level {
        if self.special.is_empty() {
            return self.levels.default;
        }
        self.special.remove(&id).unwrap_or(self.levels.default)
    }

    fn judge(&self, id: RecordId, body: &[u8]) -> Level {
        let of = |id| self.special.get(&id).copied().unwrap_or(self.levels.default);
        match Record::decode(body) {
            Ok(Record::Message { message, .. } | Record::Retained(message, _)) => {
                self.levels.of_topic(message.topic)
            }
            Ok(Record::Will { message, .. }) => self.levels.of_topic(message.topic),
            Ok(Record::Done { message, .. } | Record::Sent { message, .. }) => of(message),
            Ok(Record::Released { .. }) => of(id),
            Ok(
                Record::Session(_)
                | Record::Subscription { .. }
                | Record::Received { .. }
                | Record::Settled { .. }
                | Record::Begun { .. },
            )
            | Err(_) => self.levels.strongest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_proto::QoS;
    use mqttd_conf::DurabilityRule;
    use mqttd_core::ids::SessionUid;
    use mqttd_core::record::MessageRecord;
    use mqttd_core::time::Instant;

    fn levels(lines: &[(Level, Option<&str>)]) -> Levels {
        let rule = |(level, filter): &(Level, Option<&str>)| DurabilityRule {
            level: *level,
            filter: filter.map(str::to_owned),
        };
        let durability = lines.iter().map(rule).collect();
        Levels::new(&Persistence { enabled: true, durability, ..Persistence::default() })
    }

    #[test]
    fn the_strongest_matching_line_wins() {
        let plain = levels(&[]);
        assert_eq!((plain.of_topic("a"), plain.strongest), (Level::Process, Level::Process));
        assert_eq!(plain.to_string(), "process");
        let some = levels(&[
            (Level::Sync, Some("alarms/#")),
            (Level::None, Some("+/noise")),
            (Level::Process, None),
        ]);
        assert_eq!(some.of_topic("alarms/fire"), Level::Sync);
        assert_eq!(some.of_topic("alarms/noise"), Level::Sync);
        assert_eq!(some.of_topic("street/noise"), Level::None);
        assert_eq!(some.of_topic("street"), Level::Process);
        assert_eq!(some.strongest, Level::Sync);
        assert_eq!(some.to_string(), "process; sync alarms/#; none +/noise");
        let weaker = levels(&[(Level::Sync, None), (Level::None, Some("noise"))]);
        assert_eq!((weaker.of_topic("noise"), weaker.of_topic("x")), (Level::None, Level::Sync));
    }

    #[test]
    fn what_tells_of_a_message_has_its_level_until_its_death() {
        let levels = levels(&[(Level::Sync, Some("alarms/#"))]);
        let mut classes = Classes::new(Arc::new(levels));
        let message = |topic| MessageRecord {
            topic,
            properties: &[],
            payload: b"x",
            qos: QoS::ExactlyOnce,
            retain: false,
            expires_at: Instant::NEVER,
            publisher: None,
        };
        let mut put = |id: u64, record: Record<'_>| {
            let mut body = Vec::new();
            record.encode(&mut body);
            classes.of_put(RecordId(id), &body)
        };
        let (session, packet_id) = (SessionUid(1), 7);
        let queued =
            |topic| Record::Message { message: message(topic), origin: None, entries: &[] };
        assert_eq!(put(2, queued("alarms/a")), Level::Sync);
        assert_eq!(put(3, queued("other")), Level::Process);
        let sent = |message| Record::Sent { session, packet_id, message, entry: 0 };
        assert_eq!(put(4, sent(RecordId(2))), Level::Sync);
        assert_eq!(put(5, sent(RecordId(3))), Level::Process);
        assert_eq!(put(4, Record::Released { session, packet_id }), Level::Sync);
        assert_eq!(put(5, Record::Released { session, packet_id }), Level::Process);
        assert_eq!(put(6, Record::Done { message: RecordId(2), entry: 1 }), Level::Sync);
        let received = Record::Received { session, packet_id, exchange: None };
        assert_eq!(put(7, received), Level::Sync);
        for (id, level) in [(2, Level::Sync), (2, Level::Process), (3, Level::Process)] {
            assert_eq!(classes.of_kill(RecordId(id)), level);
        }
        for id in [4, 6, 7] {
            assert_eq!(classes.of_kill(RecordId(id)), Level::Sync);
        }
        assert!(classes.special.is_empty());
    }
}
