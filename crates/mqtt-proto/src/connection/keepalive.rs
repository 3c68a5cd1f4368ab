//! The Keep Alive of a Client (MQTT 3.1.2.10): when to send PINGREQ, and when the Server is gone.
//!
//! Time is a number of milliseconds on any clock that does not go back; the caller brings it.

/// What the clock asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Keep Alive is 0: there is never anything to do.
    Never,
    /// Nothing before this time (milliseconds).
    At(u64),
    /// Send PINGREQ now \[MQTT-3.1.2-20\].
    Pingreq,
    /// PINGREQ has had no answer for a whole Keep Alive: close the connection (3.1.2.10).
    ServerGone,
}

/// The Client's clock for one connection.
///
/// PINGREQ is due when for one Keep Alive nothing was sent, as the standard asks, or nothing was
/// received: a Client that only sends QoS 0 would otherwise never learn that nobody listens.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    interval: u64,
    sent: u64,
    received: u64,
    pinged: Option<u64>,
}

impl KeepAlive {
    /// A clock that starts at `now` with the Keep Alive of CONNECT; 0 switches it off.
    pub const fn new(seconds: u16, now: u64) -> Self {
        Self { interval: millis(seconds), sent: now, received: now, pinged: None }
    }

    /// Takes over the Server Keep Alive of CONNACK \[MQTT-3.2.2-21\].
    pub const fn set_seconds(&mut self, seconds: u16) {
        self.interval = millis(seconds);
    }

    /// A packet was sent.
    #[inline]
    pub const fn on_sent(&mut self, now: u64) {
        self.sent = now;
    }

    /// A PINGREQ was sent.
    pub const fn on_pingreq(&mut self, now: u64) {
        self.sent = now;
        if self.pinged.is_none() {
            self.pinged = Some(now);
        }
    }

    /// A packet was received. Any packet shows that the Server lives.
    #[inline]
    pub const fn on_received(&mut self, now: u64) {
        self.received = now;
        self.pinged = None;
    }

    /// What is to be done at `now`.
    #[inline]
    pub fn due(&self, now: u64) -> Due {
        if self.interval == 0 {
            return Due::Never;
        }
        if let Some(pinged) = self.pinged {
            let end = pinged.saturating_add(self.interval);
            return if now >= end { Due::ServerGone } else { Due::At(end) };
        }
        let next = self.sent.min(self.received).saturating_add(self.interval);
        if now >= next { Due::Pingreq } else { Due::At(next) }
    }
}

const fn millis(seconds: u16) -> u64 {
    (seconds as u64).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_zero_never_asks_for_anything() {
        let clock = KeepAlive::new(0, 5);
        assert_eq!(clock.due(u64::MAX), Due::Never);
    }

    #[test]
    fn pingreq_is_due_one_interval_after_the_last_packet_sent() {
        let mut clock = KeepAlive::new(10, 0);
        assert_eq!(clock.due(9_999), Due::At(10_000));
        assert_eq!(clock.due(10_000), Due::Pingreq);
        clock.on_sent(4_000);
        clock.on_received(6_000);
        assert_eq!(clock.due(13_999), Due::At(14_000));
        assert_eq!(clock.due(14_000), Due::Pingreq);
    }

    #[test]
    fn a_client_that_only_sends_pings_too() {
        let mut clock = KeepAlive::new(10, 0);
        clock.on_sent(9_000);
        assert_eq!(clock.due(10_000), Due::Pingreq);
    }

    #[test]
    fn the_server_is_gone_one_interval_after_an_unanswered_pingreq() {
        let mut clock = KeepAlive::new(10, 0);
        clock.on_pingreq(10_000);
        assert_eq!(clock.due(19_999), Due::At(20_000));
        // Sending, even another PINGREQ, does not prove that somebody listens.
        clock.on_sent(15_000);
        clock.on_pingreq(16_000);
        assert_eq!(clock.due(20_000), Due::ServerGone);
        clock.on_received(20_000);
        assert_eq!(clock.due(20_000), Due::At(26_000));
    }

    #[test]
    fn the_server_keep_alive_replaces_ours() {
        let mut clock = KeepAlive::new(60, 0);
        clock.set_seconds(5);
        assert_eq!(clock.due(0), Due::At(5_000));
    }
}
