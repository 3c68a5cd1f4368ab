//! One Client that sends as fast as it can, and quiet ones beside it: the flood may slow them down,
//! but every turn has a part for them. How much of a turn one connection gets is tested where it is
//! decided, in `mqttd/src/shard/reading.rs`; here are the real broker, its runtime and the kernel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mqttd_tests::Broker;
use mqttd_tests::raw::Raw;

/// Messages between the quiet ones, with and without the flood.
const MESSAGES: u16 = 300;

/// How many times as long as without the flood a quiet message may take, at the 99th percentile.
/// It is two to four times; a broker that reads a socket until it is
/// empty never comes to the quiet ones at all.
const SLOWDOWN_MAX: u32 = 50;

/// A shorter time without the flood is taken for this one: it is what a processor shared with other
/// programs takes to come back.
const ALONE_MIN: Duration = Duration::from_millis(10);

/// Somebody who publishes without end until it is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// `qos` 0: as fast as the broker reads; 1: with 100 messages unacknowledged.
    fn of(broker: &Broker, qos: u8) -> Flood {
        let mut raw = Raw::connect(broker.port(), &format!("loud-{qos}"), true).unwrap();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                for id in 1..=100 {
                    raw.publish((qos, false, false), "loud", id, &[b'x'; 1000]).unwrap();
                }
                for _ in 0..if qos == 0 { 0 } else { 100 } {
                    assert_eq!(raw.packet().unwrap().0, 0x40);
                }
                counts.fetch_add(100, Ordering::Relaxed);
            }
        });
        Flood { stop, sent, thread: Some(thread) }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

/// The 99th percentile of how long one message takes, one after the other.
fn p99(publisher: &mut Raw, subscriber: &mut Raw) -> Duration {
    let mut times: Vec<Duration> = (1..=MESSAGES)
        .map(|number| {
            let begun = Instant::now();
            publisher.publish((0, false, false), "quiet", 0, &number.to_be_bytes()).unwrap();
            let (first, body) = subscriber.packet().unwrap();
            assert_eq!((first, &body[7..]), (0x30, &number.to_be_bytes()[..]));
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

fn quiet_clients_are_served_beside(qos: u8) {
    let broker = Broker::open();
    let mut publisher = Raw::connect(broker.port(), "quiet-publisher", true).unwrap();
    let mut subscriber = Raw::connect(broker.port(), "quiet-subscriber", true).unwrap();
    subscriber.subscribe("quiet", 0).unwrap();
    let alone = p99(&mut publisher, &mut subscriber);
    let flood = Flood::of(&broker, qos);
    let before = flood.sent();
    let beside = p99(&mut publisher, &mut subscriber);
    assert!(flood.sent() - before > u64::from(MESSAGES), "there was no flood");
    let bound = alone.max(ALONE_MIN) * SLOWDOWN_MAX;
    assert!(beside < bound, "a message took {alone:?} alone and {beside:?} beside the flood");
    println!("QoS {qos}: 99 % within {alone:?} alone, {beside:?} beside the flood");
}

#[test]
fn a_flood_of_qos_0_does_not_keep_others_waiting() {
    quiet_clients_are_served_beside(0);
}

#[test]
fn a_flood_of_qos_1_does_not_keep_others_waiting() {
    quiet_clients_are_served_beside(1);
}
