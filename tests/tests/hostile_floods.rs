//! Hostile peers who do what is allowed, too much of it (docs/security.md, cases 10, 17 to 22).

use std::thread;
use std::time::{Duration, Instant};

use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::process;
use mqttd_tests::siege::{MIB, packet, string};
use mqttd_tests::{Siege, only_our_broker, place};

/// What the log says of a connection whose identifier another one has taken.
const TAKEN_OVER: &[&str] = &["throne", "session taken over"];

/// Case 10: filters of 200 levels with `+` at every place and in every other, and topics as deep
/// that match all of them. A publish is matched in bounded time.
#[test]
fn deep_filters_with_plus() {
    let mut siege = Siege::open();
    let mut peer = siege.attacker(Level::V311, "deep");
    let level = |plus: bool| if plus { "+" } else { "a" };
    let join = |levels: Vec<&str>| levels.join("/");
    let mut filters = Vec::new();
    for place in 0..200 {
        filters.push(join((0..200).map(|at| level(at == place)).collect()));
        filters.push(join((0..200).map(|at| level(at <= place)).collect()));
        filters.push(join((0..200).map(|at| level(at >= place)).collect()));
        filters.push(join((0..200).map(|at| level((at * 7 + place) % 3 == 0)).collect()));
    }
    for (id, chunk) in filters.chunks(100).enumerate() {
        let list: Vec<u8> =
            chunk.iter().flat_map(|filter| [string(filter), vec![0]].concat()).collect();
        peer.send_bytes(&packet(0x82, &[&[1, id as u8], &list]));
        assert_eq!(peer.packet("SUBACK")[0], 0x90);
    }
    // The last level differs: all but a few filters fail at the very end, or match there.
    for last in ["a", "b"] {
        let mut topic = vec!["a"; 199];
        topic.push(last);
        let mut publisher = siege.attacker(Level::V311, "publisher");
        let begun = Instant::now();
        for id in 1..=20 {
            publisher.publish_qos1(id, &topic.join("/"), "x");
        }
        let each = begun.elapsed() / 20;
        assert!(each < Duration::from_millis(250), "a publish takes {each:?}");
        siege.exchange();
    }
    peer.vanish();
    siege.survived(32 * MIB);
}

/// Case 17: two clients take one identifier from each other, a thousand times.
#[test]
fn takeover_war() {
    let mut siege = Siege::open();
    let mut last = siege.attacker(Level::V5, "throne");
    for round in 0..1000 {
        let mut next = Peer::tcp(&siege.broker);
        let flags = if round % 2 == 0 { "00" } else { "02" };
        next.join(Level::ALL[round % 3], flags, "11 0000003c", "throne");
        drop(std::mem::replace(&mut last, next));
        if round % 100 == 0 {
            siege.exchange();
        }
    }
    last.expect_nothing();
    // And five hundred at once: one of them is left, whichever was the last.
    let before = siege.lines(TAKEN_OVER);
    let mut crowd: Vec<Peer> = (0..500).map(|_| Peer::tcp(&siege.broker)).collect();
    for peer in &mut crowd {
        peer.send("10 [ <MQTT> 04 02 0000 <throne> ]");
    }
    siege.exchange();
    for peer in &mut crowd {
        peer.expect("20 02 00 00");
        peer.send_unless_closed("c0 00");
    }
    if !place::broker_is_peer() {
        siege.expect_lines(before + 500, TAKEN_OVER);
    }
    let left =
        crowd.iter_mut().filter_map(|peer| Some(peer.everything()).filter(|all| !all.is_empty()));
    assert_eq!(left.count(), 1);
    siege.survived(16 * MIB);
}

/// Case 17: taken over in the middle of QoS 2: the message arrives once, in the session's new
/// life.
#[test]
fn takeover_in_the_middle_of_qos_2() {
    let siege = Siege::open();
    let mut receiver = siege.attacker(Level::V311, "receiver");
    receiver.subscribe("t", 2);
    let mut first = Peer::tcp(&siege.broker);
    first.join(Level::V311, "00", "", "taken");
    first.send("34 [ <t> 0001 'once' ]");
    first.expect("50 02 0001");
    let mut second = Peer::tcp(&siege.broker);
    assert!(second.join(Level::V311, "00", "", "taken"));
    first.expect_closed();
    second.send("3c [ <t> 0001 'once' ]");
    second.expect("50 02 0001");
    second.send("62 02 0001");
    second.expect("70 02 0001");
    receiver.expect_message("t", "once", 2);
    receiver.expect_nothing();
    siege.survived(4 * MIB);
}

/// Case 18: a thousand wills of 60 kB go off at once, into a subscriber that reads and one that
/// does not.
#[test]
fn will_flood() {
    let mut siege = Siege::open();
    let mut reader = siege.attacker(Level::V311, "reader");
    reader.subscribe("will/#", 0);
    let mut sleeper = siege.attacker(Level::V311, "sleeper");
    sleeper.subscribe("will/#", 0);
    let will = string(vec![b'w'; 60_000]);
    let mut dying = Vec::new();
    for number in 0..1000 {
        let mut peer = Peer::tcp(&siege.broker);
        let (id, topic) = (string(format!("d-{number}")), string(format!("will/{number}")));
        peer.send_bytes(&packet(0x10, &[&string("MQTT"), &[4, 6, 0, 0], &id, &topic, &will]));
        peer.expect("20 02 00 00");
        dying.push(peer);
    }
    dying.into_iter().for_each(Peer::vanish);
    siege.exchange();
    for _ in 0..100 {
        assert_eq!(reader.delivered().payload.len(), 60_000);
    }
    // 60 MB are held by the thousand, 16 MiB may wait for each subscriber.
    siege.survived(128 * MIB);
}

/// Case 18: a delayed will outlives nothing: the session's end sends it; a takeover takes it
/// back; one to be retained where nothing may be retained is refused.
#[test]
fn delayed_wills() {
    only_our_broker!("2.0.11 sends it later");
    let siege = Siege::with("retain_available false");
    let mut watcher = siege.attacker(Level::V5, "watcher");
    watcher.subscribe("will", 0);
    let delayed = "[ 18 00ffffff ] <will> <gone>";
    let mut peer = Peer::tcp(&siege.broker);
    peer.join_with(Level::V5, "06", "11 00000001", "short", delayed);
    peer.vanish();
    watcher.expect_message("will", "gone", 0);
    let mut peer = Peer::tcp(&siege.broker);
    peer.join_with(Level::V5, "04", "11 000000ff", "back", delayed);
    peer.vanish();
    let mut back = Peer::tcp(&siege.broker);
    back.join_with(Level::V5, "00", "11 00000000", "back", "");
    back.leave();
    watcher.expect_nothing();
    let mut peer = Peer::tcp(&siege.broker);
    peer.send("10 [ <MQTT> 05 26 0000 [ ] <retained> [ ] <will> <x> ]");
    assert_eq!(peer.everything().get(3), Some(&0x9a));
    siege.survived(4 * MIB);
}

/// Case 19: ten thousand clients with a keep alive of one second, and silence. All are gone after
/// two.
#[test]
fn keep_alive_of_one_second() {
    let mut siege = Siege::open();
    // As many as this process, and with it the broker, may have sockets.
    let clients = open_files_max().saturating_sub(500).min(10_000);
    assert!(clients >= 500, "ulimit -n is too small for this test");
    let mut silent = Vec::new();
    for number in 0..clients {
        let mut peer = Peer::tcp(&siege.broker);
        peer.send(&format!("10 [ <MQTT> 04 02 0001 <ka-{number}> ]"));
        peer.expect("20 02 00 00");
        silent.push(peer);
    }
    siege.exchange();
    for peer in &mut silent {
        peer.expect_closed_within(Duration::from_secs(10));
    }
    siege.expect_lines(clients, &["ka-", "exceeded timeout"]);
    siege.survived(64 * MIB);
}

/// The soft limit of open files.
fn open_files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

/// Case 20: a subscriber that never reads, while 200 MB go by, at every QoS. What waits for it is
/// bounded; what is dropped is counted.
#[test]
fn a_subscriber_that_never_reads() {
    for qos in 0..=2 {
        let mut siege = Siege::with("sys_interval 1");
        let mut sleeper = siege.attacker(Level::V311, "sleeper");
        sleeper.subscribe("flood", qos);
        let mut publisher = siege.attacker(Level::V311, "flooder");
        let body = vec![b'f'; 10_000];
        let count = 20_000;
        for number in 0..count / 20 {
            let mut bytes = Vec::new();
            for id in 1..=20_u16 {
                let id = id.to_be_bytes();
                bytes.extend(packet(0x32, &[&string("flood"), &id, &body]));
            }
            publisher.send_bytes(&bytes);
            for id in 1..=20 {
                publisher.expect_acknowledgement(0x40, id);
            }
            if number % 100 == 0 {
                siege.exchange();
            }
        }
        // Most of it was dropped, and that is said once in the log and counted in $SYS.
        if !place::broker_is_peer() {
            siege.expect_lines(1, &["being dropped for client sleeper"]);
            let mut watcher = siege.attacker(Level::V311, "watcher");
            let reason = if qos == 0 { "slow_reader" } else { "queue_full" };
            watcher.subscribe(&format!("$SYS/broker/drops/{reason}"), 0);
            let told = || String::from_utf8_lossy(&watcher.delivered().payload).parse().ok();
            let mut counts = std::iter::repeat_with(told).take(5).flatten();
            assert!(counts.any(|all: u32| all > count / 2), "not counted as {reason}");
        }
        // OUTPUT_BACKLOG_MAX (16 MiB) at QoS 0, max_queued_messages (1000 of 10 kB) above.
        siege.survived(48 * MIB);
    }
}

/// Case 20: a client that asks and never reads the answers is not read from any more.
#[test]
fn a_client_that_never_reads_its_answers() {
    let mut siege = Siege::open();
    let mut peer = siege.attacker(Level::V311, "deaf");
    for number in 0..50 {
        let topic = format!("deaf/{number}");
        peer.send_bytes(&packet(0x33, &[&string(topic), &[0, 1], &[b'r'; 100_000]]));
        peer.expect("40 02 0001");
    }
    let mut asking = packet(0x82, &[&[0, 1], &string("deaf/#"), &[0]]);
    asking.extend([0xc0, 0].repeat(10_000));
    assert!(peer.send_until_stuck(&asking, 200 << 20), "the broker reads on");
    siege.exchange();
    siege.survived(64 * MIB);
}

/// Case 21: a hundred thousand retained topics, a subscriber of `#` that reads them all, and one
/// that never reads.
#[test]
fn retained_flood() {
    let mut siege = Siege::open();
    let mut sleeper = siege.attacker(Level::V311, "sleeper");
    let mut publisher = siege.attacker(Level::V311, "flooder");
    let count = 100_000_u32;
    for chunk in 0..count / 1000 {
        let mut bytes = Vec::new();
        for number in 0..1000 {
            let topic = format!("flood/{}/{number}", chunk);
            bytes.extend(packet(0x31, &[&string(topic), b"value"]));
        }
        publisher.send_bytes(&bytes);
        publisher.expect_nothing();
        if chunk % 10 == 0 {
            siege.exchange();
        }
    }
    sleeper.send("82 [ 7001 <#> 01 ]");
    let mut reader = siege.attacker(Level::V311, "reader");
    reader.send("82 [ 7001 <flood/#> 00 ]");
    siege.exchange();
    let mut seen = 0;
    while seen < count {
        let packet = reader.packet("a retained message");
        seen += u32::from(packet[0] == 0x31);
    }
    siege.exchange();
    // 100 000 topics of 20 bytes at about 500 bytes each.
    siege.survived(96 * MIB);
}

/// Case 21: payloads above `max_packet_size`: refused by their head, before they arrive.
#[test]
fn payloads_of_256_megabytes() {
    only_our_broker!("2.0.11 has no bound by default");
    let siege = Siege::open();
    let mut peer = siege.attacker(Level::V5, "huge");
    peer.send("30 ff ff ff 7f");
    peer.send_raw(&vec![0; 1 << 20]);
    peer.expect_disconnect(0x95);
    siege.expect_lines(1, &["huge", "disconnected: oversize packet"]);
    siege.survived(4 * MIB);
}

/// Case 22: SUBSCRIBE with ten thousand filters, a hundred thousand filters of one client, the
/// same filter a hundred thousand times, and all unsubscribed again.
#[test]
fn subscription_flood() {
    let mut siege = Siege::open();
    let mut peer = siege.attacker(Level::V311, "collector");
    let list = |range: std::ops::Range<u32>, same: bool| -> Vec<u8> {
        range
            .flat_map(|number| {
                let filter = if same { "s/+/#".into() } else { format!("s/{number}/+/#") };
                [string(filter), vec![1]].concat()
            })
            .collect()
    };
    let mut repeater = siege.attacker(Level::V311, "repeater");
    for round in 0..20_u32 {
        let same = round >= 10;
        let peer = if same { &mut repeater } else { &mut peer };
        let filters = list(round * 10_000..(round + 1) * 10_000, same);
        peer.send_bytes(&packet(0x82, &[&[0, 1], &filters]));
        let answer = peer.packet("SUBACK");
        assert_eq!(answer.len(), 10_000 + 2 + 1 + 2, "one code for each filter");
        siege.exchange();
    }
    let mut publisher = siege.attacker(Level::V311, "publisher");
    publisher.publish_qos1(1, "s/5/x/y", "x");
    for peer in [&mut peer, &mut repeater] {
        assert_eq!(peer.receive().topic, "s/5/x/y");
    }
    siege.exchange();
    peer.vanish();
    let begun = Instant::now();
    siege.exchange();
    assert!(begun.elapsed() < Duration::from_secs(2), "forgetting takes {:?}", begun.elapsed());
    siege.survived(96 * MIB);
}

/// Case 2 and 20: a hundred clients, each in the middle of a large packet and silent. Memory
/// follows what they sent.
#[test]
fn packets_never_finished() {
    let mut siege = Siege::open();
    let mut peers = Vec::new();
    for number in 0..100 {
        let mut peer = siege.attacker(Level::V311, &format!("half-{number}"));
        peer.send("30 80 89 7a");
        peer.send_bytes(&vec![0; 100_000]);
        peers.push(peer);
    }
    siege.exchange();
    thread::sleep(Duration::from_millis(300));
    siege.exchange();
    peers.into_iter().for_each(Peer::vanish);
    let all = process::until(|| (siege.lines(&["half-", "disconnected"]) >= 100).then_some(()));
    all.expect("a line for each");
    siege.survived(40 * MIB);
}

/// Case 22: subscription identifiers of many overlapping filters: one delivery carries them all,
/// or they are split; either way nothing breaks.
#[test]
fn overlapping_subscription_identifiers() {
    let mut siege = Siege::open();
    let mut peer = siege.attacker(Level::V5, "identifiers");
    let mut filter = String::from("o");
    for id in 1..=100_u8 {
        peer.send(&format!("82 [ 0001 [ 0b {id:02x} ] <{filter}/#> 00 ]"));
        peer.expect("90 [ 0001 [ ] 00 ]");
        filter.push_str("/l");
    }
    let mut publisher = Peer::joined(&siege.broker, Carrier::Tcp, Level::V311, "publisher");
    publisher.publish_qos1(1, &format!("{filter}/end"), "x");
    let first = peer.packet("PUBLISH");
    assert_eq!(first[0], 0x30);
    peer.send("c0 00");
    while peer.packet("PINGRESP")[0] != 0xd0 {}
    siege.exchange();
    siege.survived(4 * MIB);
}
