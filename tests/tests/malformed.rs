//! Issue 2, point 11: packets that break the rules, byte for byte. The connection ends, in 5.0
//! perhaps after a DISCONNECT with a reason; nobody else notices.

use mqttd_tests::notation::show;
use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::{Broker, only_our_broker};

/// Offences in 3.1.1 that Mosquitto 2.0.11 answers in the same way.
const IN_3_1_1: &[&str] = &[
    "00 00",
    "f0 00",
    "30 ff ff ff ff 7f",
    "36 [ <t> 0001 'x' ]",
    "32 [ <t> 0000 'x' ]",
    "30 [ <a/#> 'x' ]",
    "30 [ <a/+> 'x' ]",
    "30 [ <> 'x' ]",
    "30 [ 00ff 'abc' ]",
    "30 01 00",
    "32 [ <t> 00 ]",
    "30 [ 0002 c328 'x' ]",
    "30 [ 0003 610062 'x' ]",
    "30 [ 0003 eda080 'x' ]",
    "40 01 00",
    "60 02 0001",
    "80 [ 0001 <t> 00 ]",
    "82 [ 0001 ]",
    "82 [ 0001 <t> ]",
    "82 [ 0001 <t> 03 ]",
    "82 [ 0000 <t> 00 ]",
    "82 [ 0001 <> 00 ]",
    "82 [ 0001 <a/#/b> 00 ]",
    "82 [ 0001 <a+> 00 ]",
    "82 [ 0001 <a#> 00 ]",
    "a0 [ 0001 <t> ]",
    "a2 [ 0001 ]",
    "a2 [ 0000 <t> ]",
    "e1 00",
    "20 02 00 00",
];

/// Offences in 3.1.1 that 2.0.11 lets pass.
const IN_3_1_1_STRICT: &[&str] =
    &["38 [ <t> 'dup at qos 0' ]", "c0 01 00", "c1 00", "41 02 0001", "e0 01 00", "d0 00"];

/// Offences in 5.0.
const IN_5_0: &[&str] = &[
    "30 [ <t> [ 7f 00 ] 'x' ]",
    "30 [ <t> [ 11 00000001 ] 'x' ]",
    "30 [ <t> [ 01 00 01 00 ] 'x' ]",
    "30 [ <t> [ 23 0000 ] 'x' ]",
    "30 [ <t> [ 23 ffff ] 'x' ]",
    "30 [ <> [ ] 'x' ]",
    "30 [ <> [ 23 0001 ] 'never set' ]",
    "30 [ <t> 7f 'short' ]",
    "82 [ 0001 [ 0b 00 ] <t> 00 ]",
    "82 [ 0001 [ ] <t> 30 ]",
    "82 [ 0001 [ ] <t> c0 ]",
    "82 [ 0001 [ 0b 01 0b 02 ] <t> 00 ]",
    "e0 [ 00 [ 11 00000001 ] ]",
    "f0 00",
];

/// Offences in 5.0 that 2.0.11 lets pass.
const IN_5_0_STRICT: &[&str] = &[
    "30 [ <t> [ 01 02 ] 'x' ]",
    "82 [ 0001 [ ] <$share//t> 00 ]",
    "82 [ 0001 [ ] <$share/g> 00 ]",
    "82 [ 0001 [ ] <$share/a+/t> 00 ]",
    "40 [ 0001 77 ]",
    "82 [ 0001 [ ] <$share/g/t> 04 ]",
    "30 [ <t> [ 0b 01 ] 'x' ]",
    "30 [ <t> [ 08 <a/#> ] 'x' ]",
];

#[track_caller]
fn check(broker: &Broker, level: Level, offences: &[&str]) {
    let mut witness = Peer::joined(broker, Carrier::Tcp, Level::V311, "witness");
    let mut wrong = Vec::new();
    for offence in offences {
        for carrier in Carrier::ALL {
            let mut peer = Peer::joined(broker, carrier, level, "offender");
            peer.send(offence);
            // An answer to this would mean that the broker goes on.
            peer.send_unless_closed("c0 00");
            let all = peer.everything();
            let fits = match level {
                // A SUBACK with an error is as good where a filter is wrong (5.0, 3.9.3).
                Level::V5 => {
                    all.is_empty()
                        || (all[0] == 0xe0 && all.len() >= 3 && all[2] >= 0x80)
                        || (all[0] == 0x90 && all.get(5).is_some_and(|code| *code >= 0x80))
                }
                _ => all.is_empty(),
            };
            if !fits {
                wrong.push(format!("{offence} over {carrier:?}: {}", show(&all)));
            }
        }
    }
    witness.expect_nothing();
    assert!(wrong.is_empty(), "not refused:\n{}", wrong.join("\n"));
}

#[test]
fn offences_in_3_1_1() {
    check(&Broker::open(), Level::V311, IN_3_1_1);
}

#[test]
fn offences_in_3_1_1_that_mosquitto_lets_pass() {
    only_our_broker!("2.0.11 is not that strict");
    check(&Broker::open(), Level::V311, IN_3_1_1_STRICT);
}

#[test]
fn offences_in_5_0() {
    check(&Broker::open(), Level::V5, IN_5_0);
}

#[test]
fn offences_in_5_0_that_mosquitto_lets_pass() {
    only_our_broker!("2.0.11 is not that strict");
    check(&Broker::open(), Level::V5, IN_5_0_STRICT);
}

/// Deeper than 200 levels: a protocol error, as in Mosquitto.
#[test]
fn topics_deeper_than_200_levels() {
    let broker = Broker::open();
    let deep = |levels: usize| vec!["a"; levels].join("/");
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.subscribe(&deep(200), 0);
    peer.publish(&deep(200), "x");
    assert_eq!(peer.delivered().payload, b"x");
    peer.send(&format!("30 [ <{}> 'x' ]", deep(202)));
    peer.expect_closed();
    let mut peer = Peer::joined(&broker, Carrier::Tcp, Level::V311, "c");
    peer.send(&format!("82 [ 0001 <{}> 00 ]", deep(202)));
    assert!(peer.everything().is_empty());
}

/// Random bytes of many lengths after a good CONNECT, and before one. The broker must live.
#[test]
fn noise_does_not_hurt_the_broker() {
    let mut broker = Broker::open();
    let mut random = fastrand::Rng::with_seed(0x2545_f491);
    for round in 0..200 {
        let mut peer = Peer::tcp(&broker);
        if round % 2 == 0 {
            peer.join(Level::ALL[round % 3], "02", "", "noise");
        }
        let noise: Vec<u8> = (0..random.usize(..300)).map(|_| random.u8(..)).collect();
        peer.send_raw(&noise);
        peer.vanish();
    }
    let mut witness = Peer::joined(&broker, Carrier::Tcp, Level::V311, "witness");
    witness.subscribe("t", 0);
    witness.publish("t", "alive");
    witness.expect_message("t", "alive", 0);
    assert!(broker.is_running());
}
