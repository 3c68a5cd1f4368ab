//! A broker under load is killed (SIGKILL) at random moments and started again, and every promise
//! its Clients heard is compared with what is there afterwards.
//!
//! MQTTD_CRASH_ROUNDS=100 for the long run (10 without), MQTTD_CRASH_SEED=N to repeat the moments
//! of a failure. What the threads do in between is not repeatable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mqttd_tests::process::PATIENCE;
use mqttd_tests::raw::{Raw, packet_id, published};
use mqttd_tests::{Broker, only_our_broker};

/// Messages a publisher has open at a time.
const WINDOW: usize = 16;

/// Deliveries that the receivers may be behind before publishers begin nothing new: a broker that
/// has a million of them to read again at each start is another test.
const BEHIND_MAX: u64 = 20_000;

struct Load {
    port: u16,
    /// Publishers begin nothing new.
    is_ending: AtomicBool,
    /// Everybody leaves.
    is_over: AtomicBool,
    /// Messages that publishers have begun, and different ones that receivers have got.
    begun: AtomicU64,
    heard: AtomicU64,
    /// Payloads that came, and how often.
    received: Mutex<BTreeMap<String, u32>>,
    /// The retained value that was acknowledged last, and the one that was sent last.
    retained_acknowledged: AtomicU64,
    retained_sent: AtomicU64,
    /// Sessions whose SUBSCRIBE has been acknowledged.
    subscribed: Mutex<Vec<String>>,
    /// Connections that a kill has cut.
    cut: AtomicU64,
}

impl Load {
    fn new(port: u16) -> Arc<Load> {
        Arc::new(Load {
            port,
            is_ending: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            received: Mutex::default(),
            retained_acknowledged: AtomicU64::new(0),
            retained_sent: AtomicU64::new(0),
            subscribed: Mutex::default(),
            cut: AtomicU64::new(0),
        })
    }

    /// A publisher may begin another message.
    fn goes_on(&self) -> bool {
        let promised = self.begun.load(SeqCst) * RECEIVERS.len() as u64;
        !self.is_ending.load(SeqCst) && promised < self.heard.load(SeqCst) + BEHIND_MAX
    }

    /// Runs `part` on one connection after the other until it says that it is done.
    fn keep_on(&self, mut part: impl FnMut() -> io::Result<()>) {
        while !self.is_over.load(SeqCst) {
            match part() {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => panic!("{error}"),
                Err(_) => {
                    self.cut.fetch_add(1, SeqCst);
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
}

/// A message that a publisher has begun.
struct Open {
    packet_id: u16,
    payload: String,
    was_sent: bool,
    /// PUBREC has come.
    is_released: bool,
}

/// Publishes as fast as answers come; what a kill leaves open is sent again as the standard says.
/// Returns how many messages have been acknowledged.
fn publisher(load: &Load, name: &str, qos: u8) -> u64 {
    let mut open: VecDeque<Open> = VecDeque::new();
    let (mut next, mut acknowledged) = (0_u64, 0);
    load.keep_on(|| {
        let mut raw = Raw::connect(load.port, name, false)?;
        for message in &mut open {
            if message.is_released {
                raw.acknowledge(0x62, message.packet_id)?;
            } else {
                let flags = (qos, message.was_sent, false);
                raw.publish(flags, "load", message.packet_id, message.payload.as_bytes())?;
            }
        }
        loop {
            while open.len() < WINDOW && load.goes_on() {
                next += 1;
                load.begun.fetch_add(1, SeqCst);
                let packet_id = (next % 60_000 + 1) as u16;
                let payload = format!("{name} {next}");
                open.push_back(Open { packet_id, payload, was_sent: true, is_released: false });
                let message = open.back().expect("pushed in the line above");
                raw.publish((qos, false, false), "load", packet_id, message.payload.as_bytes())?;
            }
            if open.is_empty() && load.is_ending.load(SeqCst) {
                return Ok(());
            }
            if open.is_empty() {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            let (first, body) = raw.packet()?;
            let id = packet_id(&body);
            let at = open.iter().position(|message| message.packet_id == id);
            match (first, at) {
                (0x40 | 0x70, Some(at)) => {
                    open.remove(at);
                    acknowledged += 1;
                }
                (0x50, Some(at)) => {
                    open[at].is_released = true;
                    raw.acknowledge(0x62, id)?;
                }
                // An answer to what an earlier connection has finished.
                (0x40 | 0x50 | 0x70, None) => {}
                _ => panic!("{name} got {first:02x} {body:02x?}"),
            }
        }
    });
    acknowledged
}

/// A session that lasts and acknowledges whatever comes.
fn receiver(load: &Load, name: &str, subscribed: &AtomicBool) {
    // QoS 2 identifiers between PUBLISH and PUBREL.
    let mut open = BTreeSet::new();
    load.keep_on(|| {
        let mut raw = Raw::connect(load.port, name, false)?;
        if !subscribed.load(SeqCst) {
            raw.subscribe("load", 2)?;
            subscribed.store(true, SeqCst);
        } else if !raw.session_present {
            panic!("the session of {name} is gone");
        }
        raw.patience(Duration::from_millis(50))?;
        loop {
            let (first, body) = match raw.packet() {
                Err(error) if is_timeout(&error) && !load.is_over.load(SeqCst) => continue,
                Err(error) if is_timeout(&error) => return Ok(()),
                other => other?,
            };
            let note = |payload: Vec<u8>| {
                let payload = format!("{name}: {}", String::from_utf8(payload).unwrap());
                let mut received = load.received.lock().unwrap();
                let times = received.entry(payload).or_default();
                *times += 1;
                if *times == 1 {
                    load.heard.fetch_add(1, SeqCst);
                }
            };
            match first & 0xF6 {
                0x32 => {
                    let (_, id, payload) = published(first, &body);
                    note(payload);
                    raw.acknowledge(0x40, id)?;
                }
                0x34 => {
                    let (_, id, payload) = published(first, &body);
                    if open.insert(id) {
                        note(payload);
                    }
                    raw.acknowledge(0x50, id)?;
                }
                0x62 => {
                    let id = packet_id(&body);
                    open.remove(&id);
                    raw.acknowledge(0x70, id)?;
                }
                _ => panic!("{name} got {first:02x} {body:02x?}"),
            }
        }
    });
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Replaces one retained value again and again.
fn retainer(load: &Load) {
    load.keep_on(|| {
        let mut raw = Raw::connect(load.port, "retainer", true)?;
        while !load.is_ending.load(SeqCst) {
            let value = load.retained_sent.fetch_add(1, SeqCst) + 1;
            raw.publish((1, false, true), "value", 1, value.to_string().as_bytes())?;
            raw.packet()?;
            load.retained_acknowledged.store(value, SeqCst);
        }
        Ok(())
    });
}

/// Makes one session after the other, each with a subscription, and leaves it alone.
fn settler(load: &Load) {
    let mut number = 0;
    load.keep_on(|| {
        while !load.is_ending.load(SeqCst) {
            number += 1;
            let name = format!("settled {number}");
            let mut raw = Raw::connect(load.port, &name, false)?;
            raw.subscribe(&name, 1)?;
            load.subscribed.lock().unwrap().push(name);
        }
        Ok(())
    });
}

/// What was promised before the kill must be there after the start.
fn check_after_start(load: &Load, acknowledged: u64, subscribed: &[String]) {
    let mut raw = Raw::connect(load.port, "inspector", true).unwrap();
    raw.subscribe("nothing", 0).unwrap();
    if acknowledged > 0 {
        raw.send(0x82, b"\x00\x02\x00\x05value\x01").unwrap();
        let value: u64 = loop {
            let (first, body) = raw.packet().unwrap();
            if first & 0xF0 == 0x30 {
                let (_, _, payload) = published(first, &body);
                break String::from_utf8(payload).unwrap().parse().unwrap();
            }
        };
        // Read behind it: the publisher has gone on meanwhile.
        let sent = load.retained_sent.load(SeqCst);
        assert!(
            (acknowledged..=sent).contains(&value),
            "{acknowledged} was acknowledged, {sent} was sent, {value} is retained"
        );
    }
    for name in subscribed.iter().rev().take(5) {
        let raw = Raw::connect(load.port, name, false).unwrap();
        assert!(raw.session_present, "the session '{name}' is gone");
    }
}

fn number_from(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().expect(variable))
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_there_twice() {
    only_our_broker!("Mosquitto loses what it has acknowledged");
    rounds_of_kills(1, "process");
}

#[test]
fn nor_is_it_between_shards() {
    only_our_broker!("Mosquitto loses what it has acknowledged");
    rounds_of_kills(3, "process");
}

/// Answers wait for syncs here, so that more of them are cut in two.
#[test]
fn nor_when_answers_wait_for_the_device() {
    only_our_broker!("Mosquitto loses what it has acknowledged");
    rounds_of_kills(3, "sync");
}

const PUBLISHERS: [(&str, u8); 4] = [("one a", 1), ("one b", 1), ("two a", 2), ("two b", 2)];
const RECEIVERS: [&str; 2] = ["receiver a", "receiver b"];

type Client = thread::JoinHandle<u64>;

/// Starts publishers and others, the receivers' subscriptions first.
fn start_clients(load: &Arc<Load>) -> (Vec<Client>, Vec<Client>) {
    let spawn = |part: Box<dyn FnOnce(&Load) -> u64 + Send>| {
        let load = Arc::clone(load);
        thread::spawn(move || part(&load))
    };
    let mut others = Vec::new();
    let ready: [Arc<AtomicBool>; RECEIVERS.len()] = Default::default();
    for (name, ready) in RECEIVERS.into_iter().zip(&ready) {
        let ready = Arc::clone(ready);
        others.push(spawn(Box::new(move |load| {
            receiver(load, name, &ready);
            0
        })));
    }
    let until = Instant::now() + PATIENCE;
    while !ready.iter().all(|ready| ready.load(SeqCst)) {
        assert!(Instant::now() < until, "the receivers don't get their subscriptions");
        thread::sleep(Duration::from_millis(2));
    }
    let publishers =
        PUBLISHERS.map(|(name, qos)| spawn(Box::new(move |load| publisher(load, name, qos))));
    let more: [fn(&Load); 2] = [retainer, settler];
    others.extend(more.map(|part| {
        spawn(Box::new(move |load| {
            part(load);
            0
        }))
    }));
    (publishers.into(), others)
}

/// Everything that was acknowledged has come, with QoS 2 not twice.
fn check_received(load: &Load, finished: &[u64]) {
    let received = load.received.lock().unwrap();
    for receiver in RECEIVERS {
        for ((name, qos), count) in PUBLISHERS.iter().zip(finished) {
            for number in 1..=*count {
                let payload = format!("{receiver}: {name} {number}");
                let times = received.get(&payload).copied().unwrap_or(0);
                assert!(times > 0, "'{payload}' was acknowledged and is lost");
                if *qos == 2 {
                    assert_eq!(times, 1, "'{payload}' at QoS 2");
                }
            }
        }
    }
}

fn rounds_of_kills(shards: u8, durability: &str) {
    let rounds = number_from("MQTTD_CRASH_ROUNDS").unwrap_or(10);
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = since_1970.as_nanos() as u64;
    let seed = number_from("MQTTD_CRASH_SEED").unwrap_or(now);
    eprintln!("MQTTD_CRASH_SEED={seed} MQTTD_CRASH_ROUNDS={rounds}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut broker = Broker::with(&format!(
        "persistence true\npersistence_location {{dir}}\nmax_queued_messages 0\n\
         shards {shards}\ndurability {durability}\nlog_type error\nlog_type warning\n\
         connection_messages false"
    ));
    let load = Load::new(broker.port());
    let (publishers, others) = start_clients(&load);
    for round in 0..rounds {
        thread::sleep(Duration::from_millis(random.u64(20..420)));
        let acknowledged = load.retained_acknowledged.load(SeqCst);
        let subscribed = load.subscribed.lock().unwrap().clone();
        broker.kill();
        broker.start();
        check_after_start(&load, acknowledged, &subscribed);
        let dead = publishers.iter().chain(&others).any(thread::JoinHandle::is_finished);
        assert!(!dead, "a client has given up in round {round}");
    }
    load.is_ending.store(true, SeqCst);
    let finished: Vec<u64> = publishers.into_iter().map(|it| it.join().unwrap()).collect();
    let all: u64 = finished.iter().sum();
    let expected = all * 2;
    let until = Instant::now() + PATIENCE;
    while (load.received.lock().unwrap().len() as u64) < expected && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    load.is_over.store(true, SeqCst);
    for client in others {
        client.join().unwrap();
    }
    check_received(&load, &finished);
    let (log, subscribed) = (broker.log(), load.subscribed.lock().unwrap().len());
    assert!(!log.contains("Error"), "{log}");
    let cut = load.cut.load(SeqCst);
    eprintln!("{all} messages, {subscribed} sessions, {cut} connections cut");
    assert!(cut >= rounds && all > rounds * 10, "too little was going on to show anything");
    broker.stop();
}
