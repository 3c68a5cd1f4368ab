//! Issue 7: the `$SYS` tree beside Debian's mosquitto, and what is only ours.

use std::collections::{BTreeMap, BTreeSet};

use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::process;
use mqttd_tests::{Broker, only_our_broker};

/// All retained values below `$SYS` after a while.
fn tree(broker: &Broker) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut peer = Peer::joined(broker, Carrier::Tcp, Level::V311, "watcher");
    peer.subscribe("$SYS/#", 0);
    peer.send("c0 00");
    let (messages, _) = peer.messages_until(&[0xd0, 0]);
    for message in messages {
        let value = String::from_utf8_lossy(&message.payload).into_owned();
        values.insert(message.topic, value);
    }
    values
}

fn complete(broker: &Broker) -> BTreeMap<String, String> {
    // The averages come with the second update.
    let last = "$SYS/broker/load/connections/15min";
    let found = process::until(|| Some(tree(broker)).filter(|tree| tree.contains_key(last)));
    found.expect("the tree is published")
}

/// Every topic of Mosquitto's, with a value of the same form.
#[test]
fn every_topic_of_mosquittos_is_there() {
    only_our_broker!("it is compared with itself");
    let theirs = complete(&Broker::mosquitto("sys_interval 1"));
    let ours = complete(&Broker::with("sys_interval 1"));
    assert!(theirs.len() > 45, "{theirs:?}");
    let missing: BTreeSet<_> = theirs.keys().filter(|it| !ours.contains_key(*it)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let form = |value: &str| {
        let digits = |it: char| if it.is_ascii_digit() { '0' } else { it };
        let mut form: String = value.chars().map(digits).collect();
        while form.contains("00") {
            form = form.replace("00", "0");
        }
        form
    };
    for (topic, value) in &theirs {
        if topic != "$SYS/broker/version" {
            assert_eq!(form(&ours[topic]), form(value), "{topic}: {} {value}", ours[topic]);
        }
    }
    assert!(ours["$SYS/broker/version"].starts_with("mqttd version "));
    assert!(ours["$SYS/broker/heap/current"].parse::<u64>().unwrap() > 100_000);
}

/// The same clients do the same with both brokers: what is counted comes out the same.
#[test]
fn the_counters_mean_the_same() {
    only_our_broker!("it is compared with itself");
    let counted = |broker: Broker| {
        let mut away = Peer::tcp(&broker);
        away.send("10 [ <MQTT> 04 00 003c <away> ]");
        away.expect("20 02 00 00");
        away.subscribe("t", 1);
        away.leave();
        let mut sub = Peer::joined(&broker, Carrier::Tcp, Level::V5, "sub");
        sub.subscribe("$share/g/t", 0);
        sub.subscribe("u", 0);
        let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "pub");
        for id in 1..=5 {
            peer.publish_qos1(id, "t", "12345");
            sub.receive();
        }
        let names = [
            "clients/total",
            "clients/connected",
            "clients/active",
            "clients/disconnected",
            "clients/inactive",
            "clients/expired",
            "subscriptions/count",
            "shared_subscriptions/count",
            "publish/messages/received",
            "publish/bytes/received",
            "publish/messages/dropped",
        ];
        // Each broker counts once a second, and not everything in the same moment.
        let wanted = |name: &str| match name {
            "clients/connected" | "clients/active" => Some("2"),
            "clients/disconnected" | "clients/inactive" => Some("1"),
            "publish/messages/received" => Some("5"),
            "publish/bytes/received" => Some("25"),
            _ => None,
        };
        let settled = process::until(|| {
            let tree = tree(&broker);
            let value = |name: &str| tree.get(&format!("$SYS/broker/{name}")).cloned();
            let values: Vec<_> = names.iter().map(|name| (*name, value(name))).collect();
            let is_settled = |(name, value): &(&str, Option<String>)| {
                wanted(name).is_none_or(|wanted| value.as_deref() == Some(wanted))
            };
            values.iter().all(is_settled).then_some(values)
        });
        settled.expect("the counters arrive")
    };
    let ours = counted(Broker::with("sys_interval 1"));
    assert_eq!(ours, counted(Broker::mosquitto("sys_interval 1")));
}

/// What Mosquitto does not tell.
#[test]
fn shards_drops_logins_and_the_store_have_topics() {
    only_our_broker!("topics of ours");
    let lines = "sys_interval 1\nshards 2\npersistence true\npersistence_location {dir}/";
    let tree = complete(&Broker::with(lines));
    for (topic, value) in [
        ("shards/count", "2"),
        ("shards/0/clients/total", ""),
        ("shards/1/publish/messages/sent", ""),
        ("drops/queue_full", "0"),
        ("drops/slow_reader", "0"),
        ("drops/memory_limit", "0"),
        ("logins/failed", "0"),
        ("logins/banned/addresses", "0"),
        ("connections/rate/refused", "0"),
        ("store/state", ""),
        ("store/records", ""),
    ] {
        let found = tree.get(&format!("$SYS/broker/{topic}"));
        assert!(
            found.is_some_and(|found| value.is_empty() || found == value),
            "{topic}: {found:?}"
        );
    }
}

/// What was dropped last and for whom, as JSON.
#[test]
fn the_last_drops_can_be_asked_for() {
    only_our_broker!("topics of ours");
    let broker = Broker::with("sys_interval 1\nmax_queued_messages 1\nshards 2");
    for name in ["one", "two", "three"] {
        let mut away = Peer::tcp(&broker);
        away.send(&format!("10 [ <MQTT> 04 00 003c <{name}> ]"));
        away.expect("20 02 00 00");
        away.subscribe("t/+", 1);
        away.leave();
    }
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "pub");
    for id in 1..=60 {
        peer.publish_qos1(id, &format!("t/{id}"), "x");
    }
    let counted = process::until(|| {
        let tree = tree(&broker);
        let clients = tree.get("$SYS/broker/drops/clients")?;
        let all = ["one", "two", "three"]
            .iter()
            .all(|name| clients.contains(&format!(r#""{name}":{{"queue_full":59}}"#)));
        all.then(|| tree["$SYS/broker/drops/last"].clone())
    });
    let last = counted.expect("59 messages of each are dropped");
    assert_eq!(last.matches(r#""reason":"queue_full""#).count(), 100, "{last}");
    assert!(last.contains(r#""topic":"t/60""#) && !last.contains(r#""topic":"t/2""#), "{last}");
}
