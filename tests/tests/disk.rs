//! The real broker on a disk that is slow, fails to sync, or cannot be written (`tests/c/disk.c`).
//! The full disk is in `store.rs`.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use mqttd_tests::disk::{FaultyDisk, READ_ONLY, store_is};
use mqttd_tests::peer::Carrier;
use mqttd_tests::process::until;
use mqttd_tests::{Broker, Level, Peer, only_our_broker};

const SYNC: &str = "persistence true\npersistence_location {dir}\ndurability sync\n\
                    sys_interval 1\nmax_queued_messages 0\nshards 1";

/// What one connection may wait for (`mqttd_core::limits::HELD_ANSWERS_MAX`).
const HELD_ANSWERS_MAX: usize = 1000;

/// A session that lasts and is away wants these messages.
fn sleeper(broker: &Broker, filter: &str) {
    let mut sleeper = Peer::tcp(broker);
    sleeper.join(Level::V5, "00", "11 00015180", "sleeper");
    sleeper.subscribe(filter, 1);
    sleeper.leave();
}

/// The reason code of a PUBACK to 5.0.
fn reason(peer: &mut Peer, packet_id: u16, topic: &str) -> u8 {
    peer.send(&format!("32 [ <{topic}> {packet_id:04x} [ ] 'x' ]"));
    let answer = peer.packet("PUBACK");
    assert_eq!((answer[0], &answer[2..4]), (0x40, &packet_id.to_be_bytes()[..]), "{answer:02x?}");
    if answer.len() > 4 { answer[4] } else { 0 }
}

/// A QoS 0 message to oneself and back.
fn round_trip(peer: &mut Peer, payload: &str) {
    peer.publish("live", payload);
    peer.expect_message("live", payload, 0);
}

#[test]
fn a_publisher_of_3_1_1_is_not_read_from_while_a_thousand_answers_wait() {
    only_our_broker!("durability sync");
    let Some(disk) = FaultyDisk::new(module_path!()) else { return };
    let broker = disk.broker(SYNC);
    sleeper(&broker, "flood");
    let mut watcher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "watcher");
    watcher.subscribe("flood", 0);
    let mut other = Peer::joined(&broker, Carrier::Tcp, Level::V311, "other");
    other.subscribe("live", 0);
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V311, "publisher");
    disk.holds_syncs();
    let mut flood = Vec::new();
    let ids = 1..=3 * HELD_ANSWERS_MAX as u16;
    for id in ids.clone() {
        flood.extend(b"\x32\x0a\x00\x05flood");
        flood.extend(id.to_be_bytes());
        flood.push(b'x');
    }
    publisher.send_bytes(&flood);
    // They go on to those who do not want them kept, and then no more do.
    for _ in 0..HELD_ANSWERS_MAX {
        watcher.expect_message("flood", "x", 0);
    }
    watcher.expect_nothing();
    round_trip(&mut other, "others are served");
    watcher.expect_nothing();
    disk.works();
    for _ in HELD_ANSWERS_MAX..flood.len() / 12 {
        watcher.expect_message("flood", "x", 0);
    }
    for id in ids {
        publisher.expect(&format!("40 02 {id:04x}"));
    }
    publisher.expect_nothing();
    // What one has sent before it says goodbye counts, and the goodbye too.
    disk.holds_syncs();
    let mut hasty = Peer::tcp(&broker);
    hasty.join_with(Level::V311, "06", "", "hasty", "<live> <'too late'>");
    hasty.send_bytes(&[&flood[..], b"\xe0\x00"].concat());
    for _ in 0..HELD_ANSWERS_MAX {
        watcher.expect_message("flood", "x", 0);
    }
    watcher.expect_nothing();
    disk.works();
    for _ in HELD_ANSWERS_MAX..flood.len() / 12 {
        watcher.expect_message("flood", "x", 0);
    }
    for id in 1..=flood.len() / 12 {
        hasty.expect(&format!("40 02 {id:04x}"));
    }
    hasty.expect_closed();
    round_trip(&mut other, "no will before this");
}

#[test]
fn slow_syncs_do_not_slow_down_what_waits_for_none() {
    only_our_broker!("durability sync");
    let Some(disk) = FaultyDisk::new(module_path!()) else { return };
    let broker = disk.broker(SYNC);
    sleeper(&broker, "kept");
    let mut live = Peer::joined(&broker, Carrier::Tcp, Level::V311, "live");
    live.subscribe("live", 0);
    let mut publisher = Peer::joined(&broker, Carrier::Tcp, Level::V5, "publisher");
    disk.is_slow(500);
    for round in 1..=4 {
        // Round trips within one sync: one or two if they waited for it.
        let kept = thread::scope(|scope| {
            let kept = scope.spawn(|| reason(&mut publisher, round, "kept"));
            let mut trips = 0;
            while !kept.is_finished() {
                round_trip(&mut live, &trips.to_string());
                trips += 1;
                thread::sleep(Duration::from_millis(1));
            }
            assert!(trips > 10, "{trips} round trips in 500 ms");
            kept.join().unwrap()
        });
        assert_eq!(kept, 0);
    }
}

#[test]
fn a_failed_sync_is_final_and_said_aloud() {
    only_our_broker!("durability sync");
    let Some(disk) = FaultyDisk::new(module_path!()) else { return };
    let mut broker = disk.broker(SYNC);
    sleeper(&broker, "kept");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "peer");
    peer.subscribe("live", 0);
    let mut old = Peer::joined(&broker, Carrier::Tcp, Level::V311, "old");
    assert_eq!(reason(&mut peer, 1, "kept"), 0);
    disk.fails_syncs();
    assert_eq!(reason(&mut peer, 2, "kept"), 0x97);
    assert!(store_is(&broker, "failed"), "{}", broker.log());
    // Works again, but nobody knows what the device has.
    disk.works();
    assert_eq!(reason(&mut peer, 3, "kept"), 0x97);
    old.send("32 [ <kept> 0001 'x' ]");
    old.expect_nothing();
    old.send("34 [ <kept> 0002 'x' ]");
    old.expect_nothing();
    round_trip(&mut peer, "QoS 0 flows");
    assert!(store_is(&broker, "failed"), "{}", broker.log());
    let said = until(|| Some(broker.log()).filter(|log| log.contains("sync")));
    assert!(said.is_some_and(|log| log.contains("Error")), "{}", broker.log());
    broker.kill();
    broker.start();
    assert!(store_is(&broker, "ok"), "{}", broker.log());
    let mut sleeper = Peer::tcp(&broker);
    assert!(sleeper.join(Level::V5, "00", "11 00015180", "sleeper"));
    sleeper.expect_message("kept", "x", 1);
}

/// `mount -o remount,ro` is refused while a broker has files open for writing, so the error comes
/// from the call.
#[test]
fn a_read_only_file_system_refuses_and_recovers_by_itself() {
    only_our_broker!("durability");
    let Some(disk) = FaultyDisk::new(module_path!()) else { return };
    let mut broker = disk.broker(&SYNC.replace("sync\n", "process\n"));
    sleeper(&broker, "kept");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "peer");
    peer.subscribe("live", 0);
    let mut old = Peer::joined(&broker, Carrier::Tcp, Level::V311, "old");
    assert_eq!(reason(&mut peer, 1, "kept"), 0);
    disk.fails_writes(READ_ONLY);
    assert_eq!(reason(&mut peer, 2, "kept"), 0x97);
    old.send("32 [ <kept> 0001 'x' ]");
    old.expect_nothing();
    round_trip(&mut peer, "QoS 0 flows");
    assert!(store_is(&broker, "read-only"), "{}", broker.log());
    assert!(broker.log().to_lowercase().contains("read-only"), "{}", broker.log());
    disk.works();
    assert!(store_is(&broker, "ok"), "{}", broker.log());
    assert!(broker.log().contains("can be written again"), "{}", broker.log());
    // 3.1.1 had no words for the refusal: its answer came when it was true.
    old.expect("40 02 0001");
    assert_eq!(reason(&mut peer, 3, "kept"), 0);
    broker.kill();
    broker.start();
    let mut sleeper = Peer::tcp(&broker);
    assert!(sleeper.join(Level::V5, "00", "11 00015180", "sleeper"));
    // Those that were refused stayed in memory, and went to the log with the next.
    for _ in 0..4 {
        sleeper.expect_message("kept", "x", 1);
    }
    sleeper.expect_nothing();
}

/// Names, lengths and times of all files of the store.
fn files_of_the_store(broker: &Broker) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut files = Vec::new();
    let mut folders = vec![broker.dir().join("mqttd.store")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let about = entry.metadata().unwrap();
            if about.is_dir() {
                folders.push(entry.path());
            }
            files.push((entry.path(), about.len(), about.modified().unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn an_idle_broker_writes_nothing() {
    only_our_broker!("the store");
    let broker = Broker::with(&SYNC.replace("durability sync", "durability process"));
    sleeper(&broker, "kept");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V5, "peer");
    assert_eq!(reason(&mut peer, 1, "kept"), 0);
    // Connected, with QoS 0 coming and going.
    peer.subscribe("$SYS/broker/uptime", 0);
    let next_uptime = |peer: &mut Peer| while peer.delivered().topic != "$SYS/broker/uptime" {};
    // The sync that follows within a second has been made.
    (0..3).for_each(|_| next_uptime(&mut peer));
    let before = files_of_the_store(&broker);
    (0..4).for_each(|_| next_uptime(&mut peer));
    assert_eq!(files_of_the_store(&broker), before);
    assert_eq!(reason(&mut peer, 2, "kept"), 0);
    assert_ne!(files_of_the_store(&broker), before, "the test looks at the right files");
}
