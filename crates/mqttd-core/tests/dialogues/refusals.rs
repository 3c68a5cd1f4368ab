//! The log of another shard refuses: who is told, who waits, and that nothing comes twice.

use mqtt_proto::ReasonCode;
use mqttd_core::settings::Settings;

use crate::world::*;

/// A publisher on shard 0, an absent receiver of `t` on shard 1, one of `u` on shard 2 if there is
/// one; logs and letters wait for the test.
struct Scene {
    world: World,
    ann: Client,
    publisher: Hello,
    receivers: Vec<Hello>,
}

impl Scene {
    fn new(shards: u8, version: fn(&str) -> Hello) -> Self {
        let world = World::with(shards, Settings { persistence: true, ..Settings::default() });
        let receivers: Vec<_> =
            (1..shards).map(|shard| version(&world.name_on(shard, "bob")).resuming()).collect();
        for (receiver, filter) in receivers.iter().zip(["t", "u"]) {
            let client = world.connects(receiver.clone());
            client.subscribes(filter, 2);
            client.vanishes();
        }
        let publisher = version(&world.name_on(0, "ann")).resuming();
        let ann = world.connects(publisher.clone());
        world.log_is_late();
        Self { world, ann, publisher, receivers }
    }

    /// The publisher's connection breaks, and it comes back.
    fn comes_back(&mut self) {
        self.ann.vanishes();
        self.ann = self.world.client(self.world.opens(&self.publisher));
        self.world.commits_on(0);
        assert!(matches!(self.ann.hears(), Some(Said::Connack { present: true, .. })));
    }

    /// The broker is killed and starts again; logs work from then on.
    fn starts_again(&mut self) {
        self.world.restarts();
        self.ann = self.world.client(self.world.opens(&self.publisher));
        self.world.commits();
        self.ann.hears();
    }

    /// Payloads that the absent receivers find waiting for them.
    fn received(&self) -> Vec<Vec<String>> {
        let mut all = vec![];
        for receiver in &self.receivers {
            let client = self.world.client(self.world.opens(receiver));
            let mut texts = vec![];
            for _ in 0..20 {
                self.world.commits();
                let Some(heard) = client.hears() else { continue };
                let Said::Publish(publish) = heard else { continue };
                texts.push(String::from_utf8_lossy(&publish.payload).into_owned());
                client.sends(pubrec(publish.id));
                self.world.commits();
                client.sends(pubcomp(publish.id));
            }
            all.push(texts);
        }
        all
    }
}

#[test]
fn a_3_x_publisher_is_answered_when_the_log_of_another_shard_has_recovered() {
    for version in [v311 as fn(&str) -> Hello, v31] {
        let Scene { world, ann, receivers, publisher } = Scene::new(2, version);
        ann.sends(publish("t", "1").qos1(1)).sends(publish("t", "2").qos2(2));
        world.commits_on(0);
        ann.expects_nothing();
        world.refuses_on(1);
        ann.expects_nothing();
        // Others are not held up.
        ann.sends(publish("none", "3").qos1(3)).expects(puback(3));
        world.recovers_on(1, true);
        ann.expects(puback(1)).expects_nothing();
        world.commits_on(0);
        ann.expects(pubrec(2)).sends(pubrel(2)).expects_nothing();
        world.commits_on(0);
        ann.expects(pubcomp(2)).expects_nothing();
        world.recovers_on(1, true);
        ann.expects_nothing();
        let scene = Scene { world, ann, publisher, receivers };
        assert_eq!(scene.received(), [["1", "2"]]);
    }
}

#[test]
fn a_5_0_publisher_is_told_at_once_that_another_shards_log_refuses() {
    let Scene { world, ann, .. } = Scene::new(2, v5);
    ann.sends(publish("t", "1").qos1(1)).sends(publish("t", "2").qos2(2));
    world.commits_on(0);
    world.refuses_on(1);
    let full = ReasonCode::QuotaExceeded;
    ann.expects(Said::Puback(1, full)).expects(Said::Pubrec(2, full)).expects_nothing();
    world.recovers_on(1, true);
    world.commits();
    ann.expects_nothing();
}

#[test]
fn what_another_shards_log_has_given_up_is_not_acknowledged() {
    let mut scene = Scene::new(2, v311);
    scene.ann.sends(publish("t", "1").qos1(1)).sends(publish("t", "2").qos2(2));
    scene.world.commits_on(0);
    scene.world.refuses_on(1);
    scene.world.recovers_on(1, false);
    scene.world.commits();
    scene.ann.expects_nothing();
    scene.starts_again();
    scene.ann.sends(publish("t", "1").qos1(1).dup()).sends(publish("t", "2").qos2(2).dup());
    scene.world.commits();
    scene.world.commits();
    scene.ann.expects(puback(1)).expects(pubrec(2));
    assert_eq!(scene.received(), [["1", "2"]]);
}

/// Each log in turn is the last to recover, the publisher's own among them.
#[test]
fn an_answer_waits_for_the_last_log_that_has_refused() {
    for last in 0..3 {
        let scene = Scene::new(3, v311);
        let (world, ann) = (&scene.world, &scene.ann);
        let own = world.connects(v311(&world.name_on(0, "own")).resuming());
        own.sends(subscribe("#", 0));
        world.commits();
        own.hears();
        for receiver in &scene.receivers {
            let client = world.client(world.opens(receiver));
            client.sends(subscribe("#", 2));
            world.commits();
            client.vanishes();
        }
        // Retained, so that every log has something of it.
        for (id, topic) in [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e"), (6, "f")] {
            ann.sends(publish(topic, topic).qos1(id).retained());
        }
        ann.sends(publish("t", "x").qos2(7));
        world.refuses();
        for shard in (0..3).filter(|shard| *shard != last) {
            world.recovers_on(shard, true);
        }
        assert!(!ann.hears_all().contains(&pubrec(7)), "{last}");
        world.recovers_on(last, true);
        world.commits_on(0);
        assert!(ann.hears_all().contains(&pubrec(7)), "{last}");
        own.hears_all();
    }
}

#[test]
fn a_retained_message_of_3_1_1_waits_for_the_log_of_the_shard_that_keeps_it() {
    for topic in ["a", "b", "c", "d", "e", "f"] {
        let Scene { world, ann, .. } = Scene::new(2, v311);
        ann.sends(publish(topic, "x").qos1(1).retained());
        world.refuses();
        ann.expects_nothing();
        world.logs_recover(true);
        ann.expects(puback(1)).expects_nothing();
        // Cleared twice: the second finds nothing to do, in a log that has refused the first.
        ann.sends(publish(topic, "").qos1(2).retained());
        world.refuses();
        ann.sends(publish(topic, "").qos1(3).retained()).expects_nothing();
        world.logs_recover(true);
        ann.expects(puback(2)).expects(puback(3)).expects_nothing();
    }
}

/// The connection is gone when the other shard's log refuses: the message is taken once.
#[test]
fn a_publish_repeated_on_a_new_connection_waits_for_the_same_log() {
    for (version, is_told) in [(v311 as fn(&str) -> Hello, false), (v5, true)] {
        let mut scene = Scene::new(2, version);
        scene.ann.sends(publish("t", "x").qos2(1));
        scene.comes_back();
        // One repetition before the refusal, one behind it.
        scene.ann.sends(publish("t", "x").qos2(1).dup());
        scene.world.refuses_on(1);
        scene.ann.expects_nothing();
        scene.comes_back();
        scene.ann.sends(publish("t", "x").qos2(1).dup());
        if is_told {
            scene.ann.expects(Said::Pubrec(1, ReasonCode::QuotaExceeded));
        }
        scene.ann.expects_nothing();
        scene.world.recovers_on(1, true);
        scene.world.commits_on(0);
        if !is_told {
            scene.ann.expects(pubrec(1));
        }
        scene.ann.expects_nothing();
        assert_eq!(scene.received(), [["x"]]);
    }
}

/// A repetition on the same connection, which 3.1.1 allows, does not overtake the refusal.
#[test]
fn a_publish_repeated_at_once_is_not_acknowledged_before_the_first() {
    let Scene { world, ann, .. } = Scene::new(2, v311);
    ann.sends(publish("t", "x").qos2(1)).sends(publish("t", "x").qos2(1).dup());
    world.commits_on(0);
    world.refuses_on(1);
    ann.sends(publish("t", "x").qos2(1).dup()).expects_nothing();
    world.recovers_on(1, true);
    ann.expects_nothing();
    world.commits_on(0);
    ann.expects(pubrec(1)).expects_nothing();
}

/// The younger exchange is over before the older one: a crash then brings back neither.
#[test]
fn an_exchange_that_had_to_wait_is_recorded_behind_younger_ones() {
    for commits in 0..=2 {
        let mut scene = Scene::new(3, v311);
        let (world, ann) = (&scene.world, &scene.ann);
        ann.sends(publish("t", "old").qos2(1)).sends(publish("u", "new").qos2(2));
        world.refuses_on(1);
        world.commits_on(2);
        world.commits_on(0);
        ann.expects(pubrec(2)).expects_nothing();
        world.recovers_on(1, true);
        ann.expects_nothing();
        if commits > 0 {
            world.commits_on(0);
            ann.expects(pubrec(1));
        }
        if commits > 1 {
            ann.sends(pubrel(2)).sends(pubrel(1));
            world.commits_on(0);
            ann.expects(pubcomp(2)).expects(pubcomp(1));
        }
        scene.starts_again();
        let repeated = [publish("t", "old").qos2(1).dup(), publish("u", "new").qos2(2).dup()];
        match commits {
            0 => {
                // The one case left: killed between the two logs (docs/durability.md).
                scene.ann.sends(repeated[1].clone());
                scene.world.commits();
                scene.ann.expects(pubrec(2));
            }
            1 => {
                for publish in repeated {
                    scene.ann.sends(publish);
                }
                scene.world.commits();
                scene.ann.expects(pubrec(1)).expects(pubrec(2));
            }
            _ => {
                // Over, so this is another message.
                scene.ann.sends(repeated[1].clone());
                scene.world.commits();
                scene.world.commits();
                scene.ann.expects(pubrec(2)).expects_nothing();
                assert_eq!(scene.received(), [vec!["old"], vec!["new", "new"]]);
                continue;
            }
        }
        scene.ann.expects_nothing();
        assert_eq!(scene.received(), [["old"], ["new"]]);
    }
}

/// Refused by this shard's own log while the others have kept theirs, then a crash: they still know
/// what they have.
#[test]
fn an_exchange_that_its_own_log_refuses_is_not_over_for_the_others() {
    let mut scene = Scene::new(2, v311);
    scene.ann.sends(publish("t", "x").qos2(1));
    scene.world.commits_on(1);
    scene.world.refuses_on(0);
    scene.ann.expects_nothing();
    assert_eq!(scene.received(), [["x"]], "delivered, and its record waits for the exchange");
    scene.starts_again();
    scene.ann.sends(publish("t", "x").qos2(1).dup());
    scene.world.commits();
    scene.world.commits();
    scene.ann.expects(pubrec(1));
    assert_eq!(scene.received(), [[""; 0]]);
}

/// The log knows that the message was taken: it is not refused when it comes again, for the
/// identifier would come back to its Client's next message.
#[test]
fn a_message_that_the_log_knows_is_not_refused_when_it_comes_again() {
    for shards in [1, 2] {
        let mut scene = Scene::new(shards, v5);
        scene.ann.sends(publish("t", "x").qos2(1));
        scene.world.commits();
        scene.world.commits();
        scene.comes_back();
        scene.ann.sends(subscribe("new", 1).id(7));
        scene.ann.sends(publish("t", "x").qos2(1).dup());
        scene.world.refuses_on(0);
        let heard = scene.ann.hears_all();
        assert!(!heard.iter().any(|said| matches!(said, Said::Pubrec(..))), "{heard:?}");
        scene.ann.sends(publish("t", "x").qos2(1).dup()).expects_nothing();
        let before = scene.world.live_records();
        scene.world.recovers_on(0, true);
        scene.ann.expects(pubrec(1)).expects_nothing();
        assert!(scene.world.live_records().len() >= before.len());
    }
}

/// A member of a shared subscription on shard 1 has gone: its message is passed on to shard 2,
/// whose log refuses it.
#[test]
fn a_message_that_is_passed_on_waits_for_the_log_of_its_last_shard() {
    let world = World::with(3, Settings { persistence: true, ..Settings::default() });
    let ann = world.connects(v311(&world.name_on(0, "ann")).resuming());
    world.connects(v5(&world.name_on(1, "bob")).resuming()).subscribes("$share/g/t", 2);
    let second = world.connects(v5(&world.name_on(2, "eve")).resuming());
    second.subscribes("$share/g/t", 2);
    second.vanishes();
    world.log_is_late();
    world.mail_is_late();
    // Chosen is the one who is there; the choice is on its way when the session ends.
    ann.sends(publish("t", "x").qos1(1)).sends(publish("t", "y").qos2(2));
    let clean = world.client(world.opens(&v5(&world.name_on(1, "bob")).clean(true)));
    world.commits_on(1);
    assert!(matches!(clean.hears_all()[..], [Said::Connack { present: false, .. }]));
    world.mail_arrives();
    clean.expects_nothing();
    world.commits_on(0);
    world.refuses_on(2);
    world.mail_arrives();
    ann.expects_nothing();
    world.recovers_on(2, true);
    ann.expects_nothing();
    world.mail_arrives();
    world.commits_on(0);
    ann.expects(puback(1)).expects(pubrec(2)).expects_nothing();
}

/// PUBREL was lost with the end of the broker: the identifier comes back from the log, but its
/// Client uses it for another message. A repetition has DUP, and is one.
#[test]
fn an_identifier_that_a_start_has_found_is_free_for_a_new_message() {
    for shards in [1, 2] {
        let mut scene = Scene::new(shards, v5);
        let bob = scene.world.connects(v5(&scene.world.name_on(shards - 1, "eve")));
        bob.sends(subscribe("#", 0));
        scene.world.commits();
        bob.hears();
        scene.ann.sends(publish("t", "old").qos2(1));
        scene.world.commits();
        scene.world.commits();
        scene.ann.expects(pubrec(1)).sends(pubrel(1));
        scene.starts_again();
        let bob = scene.world.connects(v5(&scene.world.name_on(shards - 1, "eve")));
        bob.sends(subscribe("#", 0));
        scene.world.commits();
        bob.hears_all();
        scene.ann.sends(publish("t", "old").qos2(1).dup());
        scene.world.commits();
        scene.ann.expects(pubrec(1));
        bob.expects_nothing();
        for text in ["new", "newer"] {
            scene.ann.sends(publish("t", text).qos2(1));
            scene.world.commits();
            scene.world.commits();
            scene.ann.expects(pubrec(1)).expects_nothing();
            // Known to this life: the same identifier is the same message.
            let heard = bob.hears_all();
            assert_eq!(heard.len(), usize::from(text == "new"), "{text}: {heard:?}");
        }
        scene.ann.sends(pubrel(1));
        scene.world.commits();
        scene.ann.expects(pubcomp(1)).expects_nothing();
    }
}
