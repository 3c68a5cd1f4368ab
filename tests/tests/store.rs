//! `mqttd store …`, and what the broker does with a store that is in use, newer, torn, damaged or
//! full. Other faults of the disk are in `disk.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mqttd_tests::disk::store_is;
use mqttd_tests::process::{self, Finished, until};
use mqttd_tests::tool::publish;
use mqttd_tests::{Broker, Level, Peer, Tools, only_our_broker, place};

const PERSISTENT: &str = "persistence true\npersistence_location {dir}\nsys_interval 1";

/// `mqttd store TASK ARGUMENTS…`
fn store(arguments: &[&str]) -> Finished {
    store_from(arguments, b"")
}

fn store_from(arguments: &[&str], input: &[u8]) -> Finished {
    let mut command = Command::new(place::our_binary("mqttd"));
    command.arg("store").args(arguments);
    process::run(command, input)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A broker with a session that waits for 20 messages, and a retained message.
fn with_a_queue(lines: &str) -> Broker {
    let broker = Broker::with(&format!("{PERSISTENT}\n{lines}"));
    let mut peer = Peer::tcp(&broker);
    peer.join(Level::V5, "00", "11 00015180", "sleeper");
    peer.send("82 [ 7001 [ 0b 07 ] <queue/#> 02 ]");
    peer.expect("90 [ 7001 [ ] 02 ]");
    peer.leave();
    let lines: String = (1..=20).map(|number| format!("{number}\n")).collect();
    Tools::UnderTest
        .publish_from(&broker, &["-t", "queue/a", "-q", "2", "-l"], lines.as_bytes())
        .ok();
    publish(&broker, &["-t", "lamp", "-r", "-q", "1", "-m", "on"]);
    broker
}

/// The session gets its 20 messages.
fn expect_queue(broker: &Broker) {
    let mut peer = Peer::tcp(broker);
    assert!(peer.join(Level::V5, "00", "11 00015180", "sleeper"), "Session Present");
    for number in 1..=20 {
        peer.expect_message("queue/a", &number.to_string(), 2);
    }
    peer.expect_nothing();
    peer.subscribe("lamp", 1);
    peer.expect_message("lamp", "on", 1);
}

/// The newest segment of a shard that has one.
fn a_segment(broker: &Broker) -> PathBuf {
    let mut found = Vec::new();
    for shard in fs::read_dir(broker.dir().join("mqttd.store")).unwrap() {
        let shard = shard.unwrap().path();
        if shard.is_dir() {
            found.extend(fs::read_dir(shard).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found.retain(|path| path.extension().is_some_and(|it| it == "log"));
    found.sort_by_key(|path| (fs::metadata(path).unwrap().len(), path.clone()));
    found.pop().expect("a segment")
}

#[test]
fn export_and_import_give_the_same_store_for_any_number_of_shards() {
    only_our_broker!("mqttd store");
    let mut broker = with_a_queue("shards 2");
    broker.stop();
    let exported = store(&["export", text(broker.dir())]).ok().stdout;
    for shards in ["2", "1", "7"] {
        let other = Broker::prepared(
            place::broker_under_test(),
            &format!("{PERSISTENT}\nlistener {{port}} 127.0.0.1\nallow_anonymous true"),
        );
        let dir = text(other.dir()).to_owned();
        let dir = dir.as_str();
        store_from(&["import", dir, "--shards", shards], &exported).ok();
        store(&["check", dir]).ok();
        let again = store(&["export", dir]).ok().stdout;
        assert_eq!(again == exported, shards == "2", "{shards} shards");
        let other = other.started();
        expect_queue(&other);
        // A second import finds a store.
        store_from(&["import", dir], &exported).exits(1).complains("exists already");
    }
    let broken = &exported[..exported.len() - 5];
    let dir = place::TempDir::new();
    store_from(&["import", text(dir.path())], broken).exits(1).complains("line ");
    assert!(!dir.path().join("mqttd.store").exists());
}

#[test]
fn a_backup_of_a_running_broker_has_all_that_was_acknowledged() {
    only_our_broker!("mqttd store");
    let broker = with_a_queue("shards 2");
    // Traffic goes on while it is made.
    let noise: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let mut command = Command::new(place::our_binary("mqtt-pub"));
    command.args(["-p", &broker.port().to_string(), "-t", "other", "-r", "-q", "1", "-l"]);
    let running = process::Running::spawn(command, noise.as_bytes());
    for round in 0..5 {
        let copy = broker.dir().join(format!("copy {round}"));
        store(&["backup", text(broker.dir()), text(&copy)]).ok();
        store(&["check", text(&copy)]).ok();
        let other = Broker::with(&PERSISTENT.replace("{dir}", text(&copy)));
        expect_queue(&other);
    }
    drop(running);
    expect_queue(&broker);
}

#[test]
fn a_store_in_use_is_refused_and_its_holder_named() {
    only_our_broker!("mqttd store");
    let broker = with_a_queue("");
    let lines =
        format!("{}\nlistener {{port}} 127.0.0.1", PERSISTENT.replace("{dir}", text(broker.dir())));
    let second = Broker::prepared(place::broker_under_test(), &lines).run_to_end(&[]);
    let holder = format!("in use by process {}", broker.id());
    assert!((second.out() + &second.err()).contains(&holder), "{second}");
    second.exits(1);
    for task in ["check", "stats", "export"] {
        store(&[task, text(broker.dir())]).exits(1).complains(&holder);
    }
    expect_queue(&broker);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    only_our_broker!("mqttd store");
    let mut broker = with_a_queue("");
    broker.stop();
    let path = a_segment(&broker);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let checksum = crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let said = broker.run_to_end(&[]).exits(1);
    let name = path.file_name().unwrap().to_str().unwrap();
    let all = said.out() + &said.err();
    assert!(all.contains(name) && all.contains("format 2"), "{all}");
}

/// Bit by bit, from the definition of CRC-32C (reflected, polynomial 0x1EDC6F41).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 }
        })
    })
}

/// The log of a broker that was started twice: its ports accept before the store is read.
fn log_of_start(broker: &Broker) -> String {
    let log = until(|| Some(broker.log()).filter(|log| log.matches(" running\n").count() == 2));
    log.unwrap_or_else(|| panic!("the second start does not come to its end\n{}", broker.log()))
}

#[test]
fn a_torn_tail_is_one_line_and_costs_nothing_that_was_acknowledged() {
    only_our_broker!("mqttd store");
    let mut broker = with_a_queue("shards 1");
    broker.stop();
    let path = a_segment(&broker);
    // The beginning of a batch that was not written whole.
    let mut bytes = fs::read(&path).unwrap();
    let begun = bytes[64..104].to_vec();
    bytes.extend(begun);
    fs::write(&path, bytes).unwrap();
    let said = store(&["check", text(broker.dir())]).ok().out();
    assert_eq!(said.matches("torn tail").count(), 1, "{said}");
    broker.start();
    let log = log_of_start(&broker);
    assert_eq!(log.matches("Warning: store").count(), 1, "{log}");
    assert!(log.contains("a batch that was not written whole"), "{log}");
    expect_queue(&broker);
}

#[test]
fn a_flipped_bit_is_found_and_never_served() {
    only_our_broker!("mqttd store");
    let mut broker = with_a_queue("shards 1");
    // At the very end of the log it could not be told from a batch that was not written whole.
    publish(&broker, &["-t", "later", "-r", "-q", "1", "-m", "x"]);
    broker.stop();
    let path = a_segment(&broker);
    let mut bytes = fs::read(&path).unwrap();
    // In the payload of the retained message, which is the last "on" behind its topic.
    let at = bytes.windows(4).rposition(|four| four == b"lamp").unwrap() + 12;
    let payload = bytes[at - 4..].windows(2).position(|two| two == b"on").unwrap() + at - 4;
    bytes[payload] ^= 4;
    fs::write(&path, bytes).unwrap();
    let said = store(&["check", text(broker.dir())]).exits(2).out();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(said.contains("damage") && said.contains(name) && said.contains("Damaged."), "{said}");
    broker.start();
    let log = log_of_start(&broker);
    assert!(log.contains("Error: store") && log.contains(name), "{log}");
    let mut peer = Peer::tcp(&broker);
    assert!(peer.join(Level::V5, "00", "11 00015180", "sleeper"));
    for number in 1..=20 {
        peer.expect_message("queue/a", &number.to_string(), 2);
    }
    peer.subscribe("lamp", 1);
    peer.expect_nothing();
}

/// A file system of a few megabytes; only root can make one.
struct SmallDisk(place::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<SmallDisk> {
        let dir = place::TempDir::new();
        let options = format!("size={size}");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs", text(dir.path())];
        let mounted = Command::new("mount").args(arguments).output();
        if mounted.is_ok_and(|it| it.status.success()) {
            return Some(SmallDisk(dir));
        }
        place::say_skipped(module_path!(), "mounting a small disk needs root");
        None
    }

    fn grow(&self, size: &str) {
        let option = format!("remount,size={size}");
        let done = Command::new("mount").args(["-o", &option, text(self.0.path())]).output();
        assert!(done.as_ref().is_ok_and(|it| it.status.success()), "{done:?}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", text(self.0.path())]).status();
    }
}

/// Publishes at QoS 1 with 5.0 and returns the reason code.
fn reason(peer: &mut Peer, packet_id: u16, topic: &str, payload: &str) -> u8 {
    peer.send(&format!("32 [ <{topic}> {packet_id:04x} [ ] '{payload}' ]"));
    let answer = peer.packet("PUBACK");
    assert_eq!((answer[0], &answer[2..4]), (0x40, &packet_id.to_be_bytes()[..]), "{answer:02x?}");
    if answer.len() > 4 { answer[4] } else { 0 }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    only_our_broker!("mqttd store");
    let Some(disk) = SmallDisk::mount("2m") else { return };
    let lines = PERSISTENT.replace("{dir}", text(disk.0.path()));
    let mut broker = Broker::with(&format!("{lines}\nshards 1\nmax_queued_messages 0"));
    let mut sleeper = Peer::tcp(&broker);
    sleeper.join(Level::V5, "00", "11 00015180", "sleeper");
    sleeper.subscribe("queue", 1);
    sleeper.leave();
    let mut peer = Peer::joined(&broker, mqttd_tests::peer::Carrier::Tcp, Level::V5, "p");
    let payload = "x".repeat(100_000);
    let mut taken = 0;
    while reason(&mut peer, 1, "queue", &payload) == 0 {
        taken += 1;
        assert!(taken < 30, "2 MB hold no 3 MB");
    }
    assert!(taken > 5, "{taken}");
    assert_eq!(reason(&mut peer, 2, "queue", &payload), 0x97);
    assert_eq!(reason(&mut peer, 3, "lamp", "on"), 0x10, "nobody waits for it");
    // QoS 0 flows.
    peer.subscribe("live", 0);
    peer.publish("live", "still here");
    peer.expect_message("live", "still here", 0);
    assert!(store_is(&broker, "full"), "{}", broker.log());
    assert!(broker.log().contains("the disk is full"), "{}", broker.log());
    disk.grow("40m");
    assert!(store_is(&broker, "ok"), "{}", broker.log());
    assert!(broker.log().contains("can be written again"), "{}", broker.log());
    assert_eq!(reason(&mut peer, 4, "queue", "the last"), 0);
    // What was refused is in the log by now too: memory and log tell the same story.
    broker.kill();
    broker.start();
    let mut sleeper = Peer::tcp(&broker);
    assert!(sleeper.join(Level::V5, "00", "11 00015180", "sleeper"));
    for _ in 0..taken + 2 {
        assert_eq!(sleeper.receive().payload.len(), payload.len());
    }
    sleeper.expect_message("queue", "the last", 1);
    sleeper.expect_nothing();
}

/// The number in a topic below `$SYS/broker/store/`, as it is in the next snapshot but one.
fn number(broker: &Broker, topic: &str) -> u64 {
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let topic = format!("$SYS/broker/store/{topic}");
    let said = Tools::UnderTest.receive(broker, &["-t", &topic, "-C", "1", "-W", "5"]).out();
    said.trim().parse().unwrap_or_else(|_| panic!("{topic}: '{said}'\n{}", broker.log()))
}

fn says(broker: &Broker, topic: &str) -> String {
    let topic = format!("$SYS/broker/store/{topic}");
    Tools::UnderTest.receive(broker, &["-t", &topic, "-C", "1", "-W", "5"]).out().trim().to_owned()
}

#[test]
fn each_topic_waits_for_what_its_line_asks() {
    only_our_broker!("durability by topic");
    let broker = with_a_queue("shards 1\ndurability process\ndurability sync alarms/#");
    assert_eq!(says(&broker, "durability"), "process; sync alarms/#");
    assert_eq!(says(&broker, "loss/power cut"), "1 seconds");
    let mut peer = Peer::joined(&broker, mqttd_tests::peer::Carrier::Tcp, Level::V5, "p");
    let mut round = |topic: &str| {
        let before = number(&broker, "syncs");
        for payload in 0..60 {
            // The broker is quick enough for all of them to come within a few seconds.
            peer.send(&format!("33 [ <{topic}> 0001 [ ] '{payload}' ]"));
            peer.expect_acknowledgement(0x40, 1);
        }
        number(&broker, "syncs") - before
    };
    let alarms = round("alarms/fire");
    assert!(alarms >= 60, "{alarms} syncs for 60 answers");
    let others = round("street");
    assert!(others < 30, "{others} syncs for 60 answers that wait for none");
}

#[test]
fn none_answers_at_once_and_a_clean_stop_still_keeps_everything() {
    only_our_broker!("durability none");
    let mut broker = with_a_queue("shards 1\ndurability none");
    assert_eq!(says(&broker, "durability"), "none");
    assert_eq!(says(&broker, "loss/crash"), "1 seconds");
    broker.restart();
    expect_queue(&broker);
    // What is older than the bound outlives a kill too.
    publish(&broker, &["-t", "lamp", "-r", "-q", "1", "-m", "off"]);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    broker.kill();
    broker.start();
    let mut peer = Peer::joined(&broker, mqttd_tests::peer::Carrier::Tcp, Level::V5, "p");
    peer.subscribe("lamp", 1);
    peer.expect_message("lamp", "off", 1);
}
