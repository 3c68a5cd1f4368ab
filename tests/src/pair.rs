//! Load whose every message is checked: pairs of Clients, one of which publishes what the other
//! must get.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::broker::Broker;
use crate::peer::{Carrier, Level, Peer};

/// Lets `pairs` pairs work on `load/0`, `load/1`, … while `work` runs: QoS 1, each message must
/// come alone and in order. Their Clients are `s0`, `p0`, `s1`, …. How many messages each pair has
/// passed.
pub fn at_work(
    broker: &Broker,
    pairs: usize,
    carrier: impl Fn(usize) -> Carrier,
    work: impl FnOnce(),
) -> Vec<u32> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let is_over = &is_over;
        let pairs: Vec<_> = (0..pairs)
            .map(|pair| (pair, carrier(pair)))
            .map(|(pair, carrier)| scope.spawn(move || exchange(broker, pair, carrier, is_over)))
            .collect();
        // Also when it fails, so that the failure is seen and not waited for.
        let ending = Ending(is_over);
        work();
        drop(ending);
        pairs.into_iter().map(|pair| pair.join().expect("a pair has failed")).collect()
    })
}

struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn exchange(broker: &Broker, pair: usize, carrier: Carrier, is_over: &AtomicBool) -> u32 {
    let topic = format!("load/{pair}");
    let mut sub = Peer::joined(broker, carrier, Level::V5, &format!("s{pair}"));
    sub.subscribe(&topic, 1);
    let mut publisher = Peer::joined(broker, carrier, Level::V311, &format!("p{pair}"));
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        count += 1;
        let id = (count % 60_000 + 1) as u16;
        publisher.publish_qos1(id, &topic, &count.to_string());
        assert_eq!(sub.receive().payload, count.to_string().as_bytes());
    }
    count
}
