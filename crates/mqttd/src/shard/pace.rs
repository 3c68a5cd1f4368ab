//! Clients that send more than `max_message_rate` or `max_byte_rate` are read more slowly: nothing
//! is taken from their sockets until the rate holds again, and TCP holds them back. Without a rate
//! no connection knows of any of this.

use std::time::{Duration, Instant as Monotonic};

use mqtt_proto::ReasonCode;
use mqttd_core::event::Event;
use mqttd_core::ids::ConnectionKey;
use mqttd_core::pace::Bucket;

use super::turn::ShardTask;

/// What a connection has sent lately.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    messages: Bucket,
    bytes: Bucket,
    /// Nothing is read before a time that the shard's task knows.
    pub(super) is_paused: bool,
}

impl ShardTask {
    /// Counts a packet, and lets no more be taken when the rate is exceeded.
    pub(super) fn pace(&mut self, key: u32, bytes: usize, is_publish: bool) {
        let (rates, now) = (self.settings.rates, self.body.now);
        let connection = &mut self.body.connections[key as usize];
        let pace = &mut connection.rare.get_or_insert_default().pace;
        let messages = rates.messages.map_or(0, |rate| {
            let count = u64::from(is_publish);
            pace.messages.charge(count, rate, now)
        });
        let bytes = rates.bytes.map_or(0, |rate| pace.bytes.charge(bytes as u64, rate, now));
        let millis = messages.max(bytes);
        if millis == 0 {
            return;
        }
        if rates.disconnects {
            let reason = ReasonCode::MessageRateTooHigh;
            // What it has sent beyond is not looked at any more.
            return self.handle(Event::End(ConnectionKey(key), reason));
        }
        pace.is_paused = true;
        let serial = connection.serial;
        self.paused.insert((Monotonic::now() + Duration::from_millis(millis), key), serial);
    }

    /// Reads on from those whose pause is over.
    pub(super) fn end_pauses(&mut self) {
        if self.paused.is_empty() {
            return;
        }
        let now = Monotonic::now();
        while let Some(first) = self.paused.first_entry() {
            let &(until, key) = first.key();
            if until > now {
                return;
            }
            let serial = first.remove();
            let found = self.body.connections.get_mut(key as usize);
            if let Some(connection) = found.filter(|found| found.serial == serial) {
                if let Some(rare) = &mut connection.rare {
                    rare.pace.is_paused = false;
                }
                connection.was_paused = true;
                connection.list();
            }
        }
    }
}
