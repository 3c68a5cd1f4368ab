//! From Debian's mosquitto to mqttd and back by way of `mosquitto.db`: nobody loses a session, a
//! subscription, a waiting or a retained message. The packages do the same at a switch
//! (`scripts/deb-test`).

use std::fs;
use std::process::Command;

use mqttd_tests::peer::Carrier;
use mqttd_tests::process::{self, Finished};
use mqttd_tests::tool::publish;
use mqttd_tests::{Broker, Level, Peer, only_our_broker, place};

/// `mqttd store ARGUMENTS…`
fn store(arguments: &[&str]) -> Finished {
    let mut command = Command::new(place::our_binary("mqttd"));
    command.arg("store").args(arguments);
    process::run(command, b"")
}

/// One configuration for both brokers.
const CONFIGURATION: &str = "persistence true\npersistence_location {dir}/\n\
    persistence_file broker.db\nallow_anonymous true\nacl_file {dir}/acl\n\
    listener {port} 127.0.0.1\n";

fn prepared(program: &str) -> Broker {
    let path = match program {
        "mosquitto" => place::peer_binary(program),
        _ => place::broker_under_test(),
    };
    let broker = Broker::prepared(path, CONFIGURATION);
    let topics = ["queue/#", "late/#", "pool", "door", "lamp", "gone"];
    let rights: String = topics.iter().map(|it| format!("topic readwrite {it}\n")).collect();
    broker.write("acl", &rights);
    broker
}

/// Debian's mosquitto 2.0.11 writes version 6. Version 5 has shorter client chunks and is otherwise
/// the same (see the table in `mosquitto_db.rs`), so it is made of the other.
fn as_version_5(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (bytes[..23].to_vec(), &bytes[23..]);
    assert_eq!(out[19..], [0, 0, 0, 6]);
    out[22] = 5;
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[4..8].try_into().unwrap()) as usize;
        let (chunk, more) = rest.split_at(8 + length);
        rest = more;
        if chunk[3] != 6 {
            out.extend(chunk);
            continue;
        }
        let id = usize::from(u16::from_be_bytes([chunk[22], chunk[23]]));
        out.extend([0, 0, 0, 6]);
        out.extend((16 + id as u32).to_be_bytes());
        out.extend(&chunk[8..24]);
        out.extend(&chunk[32..32 + id]);
    }
    out
}

/// Mosquitto's database with queues, exchanges in each stage and retained messages, and the packet
/// identifiers of a released and a sent message.
fn mosquittos_database() -> (Vec<u8>, u16, u16) {
    let mut mosquitto = Broker::mosquitto("persistence true\npersistence_location {dir}/");
    let mut peer = Peer::tcp(&mosquitto);
    peer.join(Level::V311, "00", "", "old");
    peer.subscribe("queue/#", 2);
    // One message in flight at QoS 2 whose PUBREL has gone out, one that waits for PUBREC.
    publish(&mosquitto, &["-t", "queue/a", "-q", "2", "-m", "released"]);
    publish(&mosquitto, &["-t", "queue/a", "-q", "2", "-m", "sent"]);
    let released = peer.delivered().packet_id;
    let sent = peer.delivered().packet_id;
    peer.send(&format!("50 02 {released:04x}"));
    peer.expect(&format!("62 02 {released:04x}"));
    peer.leave();
    let mut peer = Peer::tcp(&mosquitto);
    peer.join(Level::V5, "00", "11 00015180", "new");
    peer.send("82 [ 7001 [ 0b 07 ] <queue/b> 09 ]");
    peer.expect("90 [ 7001 [ ] 01 ]");
    peer.leave();
    for number in 1..=5 {
        publish(&mosquitto, &["-t", "queue/b", "-q", "1", "-m", &format!("both {number}")]);
    }
    publish(&mosquitto, &["-t", "lamp", "-r", "-q", "1", "-m", "on"]);
    publish(&mosquitto, &["-t", "gone", "-r", "-q", "1", "-m", "x"]);
    publish(&mosquitto, &["-t", "gone", "-r", "-q", "1", "-n"]);
    // A publisher in the middle of QoS 2: Mosquitto passes the message on at PUBREL.
    let mut sender = Peer::tcp(&mosquitto);
    sender.join(Level::V311, "00", "", "sender");
    sender.send("34 [ <queue/c> 0009 'half' ]");
    sender.expect("50 02 0009");
    mosquitto.stop();
    (fs::read(mosquitto.file("mosquitto.db")).unwrap(), released, sent)
}

/// A QoS 2 message whose PUBREC the publisher has not seen comes again, once for everybody.
fn expect_the_sender_to_repeat(broker: &Broker) {
    let mut sender = Peer::tcp(broker);
    assert!(sender.join(Level::V311, "00", "", "sender"));
    sender.send("3c [ <queue/c> 0009 'half' ]");
    sender.expect("50 02 0009");
    sender.send("62 02 0009");
    sender.expect("70 02 0009");
}

/// Clients find here what they left at Mosquitto's.
fn expect_what_mosquitto_had(broker: &Broker, released: u16, sent: u16) {
    let mut new = Peer::tcp(broker);
    assert!(new.join(Level::V5, "00", "11 00015180", "new"));
    for number in 1..=5 {
        let got = new.expect_message("queue/b", &format!("both {number}"), 1);
        assert_eq!(got.properties, [0x0B, 7]);
    }
    new.expect_nothing();
    let mut old = Peer::tcp(broker);
    assert!(old.join(Level::V311, "00", "", "old"));
    let first = old.packet("PUBREL");
    let id = released.to_be_bytes();
    assert_eq!(first, [0x62, 2, id[0], id[1]]);
    old.send(&format!("70 02 {released:04x}"));
    let got = old.expect_message("queue/a", "sent", 2);
    assert_eq!((got.packet_id, got.dup), (sent, true));
    for number in 1..=5 {
        old.expect_message("queue/b", &format!("both {number}"), 1);
    }
    old.expect_message("queue/c", "half", 2);
    old.expect_nothing();
    old.subscribe("lamp", 1);
    assert!(old.expect_message("lamp", "on", 1).retain);
    old.subscribe("gone", 1);
    old.expect_nothing();
}

#[test]
fn mosquittos_sessions_queues_and_retained_messages_go_on_here() {
    only_our_broker!("mqttd store");
    let (six, released, sent) = mosquittos_database();
    for (version, bytes) in [(6, six.clone()), (5, as_version_5(&six))] {
        let lines = "persistence true\npersistence_location {dir}\nallow_anonymous true\n\
            listener {port} 127.0.0.1";
        let broker = Broker::prepared(place::broker_under_test(), lines);
        fs::write(broker.file("mosquitto.db"), bytes).unwrap();
        let said = store(&["import-mosquitto", &broker.file("mosquitto.db"), "--shards", "2"]).ok();
        let counts = "3 sessions, 2 subscriptions, 12 waiting messages, 1 retained messages";
        assert!(said.err().contains(counts), "version {version}: {said}");
        let broker = broker.started();
        expect_the_sender_to_repeat(&broker);
        expect_what_mosquitto_had(&broker, released, sent);
    }
    let dir = place::TempDir::new();
    let path = dir.write("x.db", b"nothing");
    store(&["import-mosquitto", &path]).exits(1).complains("not a database of Mosquitto");
    let path = dir.write("y.db", &six[..six.len() - 1]);
    store(&["import-mosquitto", &path]).exits(1).complains("cut short");
}

/// What Clients leave at mqttd after the switch. Returns Packet Identifiers of a released and a
/// sent message.
fn live_at_mqttd(broker: &Broker) -> (u16, u16) {
    let mut peer = Peer::joined(broker, Carrier::Tcp, Level::V5, "p");
    peer.send("33 [ <door> 0001 [ 01 01 26 <k> <v> ] 'shut' ]");
    peer.expect_acknowledgement(0x40, 1);
    let mut late = Peer::tcp(broker);
    late.join(Level::V5, "00", "11 00015180", "late");
    // Two filters: Subscription Identifier 7, No Local and Retain As Published; a shared one.
    late.send("82 [ 7001 [ 0b 07 ] <late/#> 0e <$share/g/pool> 01 ]");
    late.expect("90 [ 7001 [ ] 02 01 ]");
    peer.send("34 [ <late/a> 0002 [ ] 'released' ]");
    let released = late.delivered().packet_id;
    late.send(&format!("50 02 {released:04x}"));
    late.expect(&format!("62 02 {released:04x}"));
    peer.expect("50 02 0002");
    peer.send("34 [ <late/a> 0003 [ 02 00001000 26 <k> <v> ] 'sent' ]");
    let sent = late.delivered().packet_id;
    peer.expect("50 02 0003");
    late.leave();
    peer.send("35 [ <late/b> 0004 [ 02 00001000 ] 'waits' ]");
    peer.expect("50 02 0004");
    peer.send("32 [ <pool> 0005 [ ] 'shared' ]");
    peer.expect_acknowledgement(0x40, 5);
    // A publisher between PUBREC and PUBREL: its message is delivered already.
    let mut sender = Peer::tcp(broker);
    sender.join(Level::V311, "00", "", "half way");
    sender.send("34 [ <late/c> 0006 'once' ]");
    sender.expect("50 02 0006");
    (released, sent)
}

fn expect_what_mqttd_had(broker: &Broker, released: u16, sent: u16) {
    let mut sender = Peer::tcp(broker);
    assert!(sender.join(Level::V311, "00", "", "half way"));
    sender.send("62 02 0006");
    sender.expect("70 02 0006");
    let mut late = Peer::tcp(broker);
    assert!(late.join(Level::V5, "00", "11 00015180", "late"));
    let first = late.packet("PUBREL");
    assert_eq!((first[0], &first[2..4]), (0x62, &released.to_be_bytes()[..]), "{first:02x?}");
    late.send(&format!("70 02 {released:04x}"));
    let got = late.expect_message("late/a", "sent", 2);
    assert_eq!((got.packet_id, got.dup), (sent, true));
    let properties = |bytes: &[u8]| {
        let expiry = bytes.iter().position(|byte| *byte == 2).map(|at| &bytes[at + 1..at + 5]);
        let left = expiry.map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
        assert!(left.is_some_and(|left| (4000..=4097).contains(&left)), "{left:?}");
        (bytes.windows(2).any(|it| it == [0x0B, 7]), bytes.ends_with(b"\0\x01k\0\x01v"))
    };
    let has_user_property = got.properties.windows(7).any(|it| it == b"\x26\0\x01k\0\x01v");
    assert!(properties(&got.properties).0 && has_user_property, "{:02x?}", got.properties);
    let got = late.expect_message("late/b", "waits", 2);
    assert!(got.retain && properties(&got.properties).0, "Retain As Published: {got:?}");
    late.expect_message("pool", "shared", 1);
    let got = late.expect_message("late/c", "once", 2);
    assert_eq!(got.properties, [0x0B, 7]);
    late.expect_nothing();
    // No Local is still in force, and the subscription too.
    late.send("32 [ <late/d> 0001 [ ] 'mine' ]");
    late.expect_acknowledgement(0x40, 1);
    late.expect_nothing();
    late.subscribe("door", 1);
    let got = late.expect_message("door", "shut", 1);
    assert_eq!((got.retain, &got.properties[..]), (true, &b"\x01\x01\x26\0\x01k\0\x01v"[..]));
    late.subscribe("late/b", 0);
    assert!(late.expect_message("late/b", "waits", 0).retain);
}

/// Mosquitto → mqttd → Mosquitto, and from there to mqttd once more.
#[test]
fn what_mqttd_has_goes_back_to_mosquitto() {
    only_our_broker!("mqttd store");
    let (original, released_first, sent_first) = mosquittos_database();
    let ours = prepared("mqttd");
    let (config, database) = (ours.file("mosquitto.conf"), ours.file("broker.db"));
    let said = store(&["export-mosquitto", "-c", &config]).ok();
    assert!(said.err().contains("nothing to give back"), "{said}");
    let said = store(&["import-mosquitto", "-c", &config]).ok();
    assert!(said.err().contains("nothing to take over"), "{said}");
    fs::write(&database, &original).unwrap();
    let said = store(&["import-mosquitto", "-c", &config]).ok();
    assert!(said.err().contains("3 sessions, 2 subscriptions"), "{said}");
    // A second installation does not import a second time.
    let said = store(&["import-mosquitto", "-c", &config]).ok();
    assert!(said.err().contains("already"), "{said}");
    let mut ours = ours.started();
    let (released, sent) = live_at_mqttd(&ours);
    ours.stop();
    let said = store(&["export-mosquitto", "-c", &config]).ok();
    let counts = "5 sessions, 4 subscriptions, 16 waiting messages, 3 retained messages";
    assert!(said.err().contains(counts), "{said}");
    assert!(!said.err().contains("left out"), "{said}");
    let kept = fs::read(ours.file("broker.db.before-mqttd")).unwrap();
    assert_eq!(kept, original, "the original is kept");

    // Nobody starts on the old store by mistake.
    assert!(!fs::exists(ours.file("mqttd.store")).unwrap());
    assert!(fs::exists(ours.file("mqttd.store.exported/shards")).unwrap());
    let exported = fs::read(&database).unwrap();
    for program in ["mosquitto", "mqttd"] {
        let broker = prepared(program);
        fs::write(broker.file("broker.db"), &exported).unwrap();
        if program == "mqttd" {
            store(&["import-mosquitto", "-c", &broker.file("mosquitto.conf")]).ok();
        }
        let broker = broker.started();
        expect_what_mosquitto_had(&broker, released_first, sent_first);
        expect_what_mqttd_had(&broker, released, sent);
    }
}

/// A second export keeps the first file too.
#[test]
fn no_file_is_written_over() {
    only_our_broker!("mqttd store");
    let broker = Broker::with("persistence true\npersistence_location {dir}");
    publish(&broker, &["-t", "lamp", "-r", "-q", "1", "-m", "on"]);
    let dir = broker.dir().to_str().unwrap();
    store(&["export-mosquitto", dir]).exits(1).complains("in use");
    let mut broker = broker;
    broker.stop();
    let dir = broker.dir().to_str().unwrap();
    for _ in 0..3 {
        store(&["export-mosquitto", dir]).ok();
    }
    for name in ["mosquitto.db", "mosquitto.db.before-mqttd", "mosquitto.db.before-mqttd.2"] {
        assert!(fs::metadata(broker.file(name)).unwrap().len() > 40, "{name}");
    }
    store(&["export-mosquitto", "/nowhere"]).exits(1).complains("there is no store");
}
