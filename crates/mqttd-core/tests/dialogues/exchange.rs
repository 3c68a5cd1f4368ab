//! QoS 2 between shards: the broker dies between any two commits, and nothing comes twice.

use mqttd_core::record::Record;
use mqttd_core::settings::Settings;

use crate::world::*;

/// What happens after PUBLISH, one after the other; the publisher is on shard 0.
#[derive(Clone, Copy, Debug)]
enum Step {
    Commit(usize),
    Mail(usize),
}

use Step::{Commit, Mail};

/// The copies go out, are kept and confirmed, the exchange is recorded and settled. The receiving
/// shards in both orders.
const STEPS: [[Step; 13]; 2] = [steps(1, 2), steps(2, 1)];

const fn steps(first: usize, second: usize) -> [Step; 13] {
    [
        Commit(0),
        Mail(first),
        Commit(first),
        Mail(second),
        Commit(second),
        Mail(0),
        Commit(0),
        Mail(first),
        Commit(first),
        Mail(second),
        Commit(second),
        Mail(0),
        Commit(0),
    ]
}

struct Scene {
    world: World,
    publisher: Hello,
    receivers: Vec<Hello>,
    has_pubrec: bool,
}

impl Scene {
    /// A receiver on each shard, absent; the publisher is there.
    fn new(filter: &str, make: fn(&str) -> Hello) -> Self {
        let world = World::with(3, Settings { persistence: true, ..Settings::default() });
        let receivers: Vec<_> =
            (0..3).map(|shard| make(&world.name_on(shard, "r")).resuming()).collect();
        for receiver in &receivers {
            let client = world.connects(receiver.clone());
            client.subscribes(filter, 2);
            client.vanishes();
        }
        let publisher = make(&world.name_on(0, "p")).resuming();
        world.log_is_late();
        world.mail_is_late();
        world.log_gates_the_wire();
        Self { world, publisher, receivers, has_pubrec: false }
    }

    fn settles(&self) {
        for _ in 0..6 {
            self.world.commits();
            self.world.mail_arrives();
        }
    }

    fn connects(&self, hello: &Hello) -> Client {
        let client = self.world.client(self.world.opens(hello));
        self.settles();
        assert!(matches!(client.hears(), Some(Said::Connack { code: 0, .. })));
        client
    }

    /// The publisher sends, or goes on as PUBREC tells it to, and so many steps are made.
    fn publishes(&mut self, said: &Publish, steps: &[Step]) {
        let client = self.connects(&self.publisher);
        if self.has_pubrec {
            client.sends(pubrel(said.id));
        } else {
            client.sends(said.clone());
        }
        for step in steps {
            match step {
                Commit(shard) => self.world.commits_on(*shard),
                Mail(shard) => self.world.mail_arrives_at(*shard),
            }
        }
        self.has_pubrec |= client.hears_all().contains(&pubrec(said.id));
    }

    /// The publisher ends the exchange. Returns how often the payload came to each receiver.
    fn ends(&mut self, said: &Publish) -> Vec<usize> {
        let client = self.connects(&self.publisher);
        if !self.has_pubrec {
            client.sends(said.clone());
            self.settles();
            client.expects(pubrec(said.id));
        }
        client.sends(pubrel(said.id));
        self.settles();
        // A PUBREL before the crash may have been the end.
        assert!(matches!(client.hears(), Some(Said::Pubcomp(id, _)) if id == said.id));
        client.expects_nothing();
        self.has_pubrec = false;
        let receivers: Vec<_> = self.receivers.iter().map(|hello| self.connects(hello)).collect();
        self.settles();
        let mut counts = vec![];
        for receiver in &receivers {
            let mut count = 0;
            while let Some(heard) = receiver.hears() {
                let Said::Publish(publish) = heard else { continue };
                assert_eq!(publish.payload, said.payload);
                count += 1;
                receiver.sends(pubrec(publish.id)).sends(pubcomp(publish.id));
            }
            counts.push(count);
        }
        self.settles();
        counts
    }

    /// Only sessions, subscriptions and what tells of exchanges that are over.
    fn nothing_else_is_left(&self) {
        for (id, bytes) in self.world.live_records() {
            let record = Record::decode(&bytes).unwrap();
            let is_owned = matches!(
                record,
                Record::Session(_) | Record::Subscription { .. } | Record::Settled { .. }
            );
            assert!(is_owned, "{id:?} {record:?}");
        }
    }
}

fn message() -> Publish {
    publish("t", "x").qos2(5)
}

#[test]
fn a_crash_between_any_two_commits_doubles_nothing() {
    for (make, steps) in [(v5 as fn(&str) -> Hello, STEPS[0]), (v311, STEPS[1])] {
        for first in 0..=steps.len() {
            let mut scene = Scene::new("t", make);
            scene.publishes(&message(), &steps[..first]);
            scene.world.restarts_with(first as u64);
            assert_eq!(scene.ends(&message().dup()), [1, 1, 1], "after {first}: {steps:?}");
            scene.nothing_else_is_left();
            scene.world.restarts();
            assert_eq!(scene.ends(&message()), [1, 1, 1], "another one, after {first}");
        }
    }
}

#[test]
fn nor_does_another_crash_on_the_way_back() {
    for (first_steps, second_steps) in [(STEPS[0], STEPS[1]), (STEPS[1], STEPS[0])] {
        for first in 0..=first_steps.len() {
            for second in 0..=second_steps.len() {
                let mut scene = Scene::new("t", v5);
                scene.publishes(&message(), &first_steps[..first]);
                scene.world.restarts();
                scene.publishes(&message().dup(), &second_steps[..second]);
                scene.world.restarts();
                let counts = scene.ends(&message().dup());
                assert_eq!(counts, [1, 1, 1], "after {first} and {second}");
                scene.nothing_else_is_left();
            }
        }
    }
}

#[test]
fn one_member_of_a_shared_subscription_has_it_once() {
    for steps in STEPS {
        // The first message goes to one shard, the next to another.
        for turns in 0..3 {
            for first in 0..=steps.len() {
                let mut scene = Scene::new("$share/g/t", v5);
                for turn in 0..turns {
                    let before = publish("t", "before").qos2(9 + turn);
                    scene.ends(&before);
                }
                scene.publishes(&message(), &steps[..first]);
                scene.world.restarts();
                let counts = scene.ends(&message().dup());
                let all: usize = counts.iter().sum();
                assert_eq!(all, 1, "after {first}: {counts:?}");
                scene.nothing_else_is_left();
            }
        }
    }
}

/// The same identifier and the same words, but an exchange of its own: the one before is over, and
/// the shards that have kept its message may not know yet.
#[test]
fn an_equal_message_of_a_later_exchange_is_another_message() {
    for steps in STEPS {
        for first in 0..=steps.len() {
            let mut scene = Scene::new("t", v5);
            let client = scene.connects(&scene.publisher);
            client.sends(message());
            scene.world.commits_on(0);
            scene.world.mail_arrives();
            scene.world.commits();
            scene.world.mail_arrives_at(0);
            scene.world.commits_on(0);
            client.expects(pubrec(5)).sends(pubrel(5));
            scene.world.commits_on(0);
            client.expects(pubcomp(5)).sends(message());
            for step in &steps[..first] {
                match step {
                    Commit(shard) => scene.world.commits_on(*shard),
                    Mail(shard) => scene.world.mail_arrives_at(*shard),
                }
            }
            scene.has_pubrec = client.hears_all().contains(&pubrec(5));
            scene.world.restarts();
            assert_eq!(scene.ends(&message().dup()), [2, 2, 2], "after {first}: {steps:?}");
            scene.nothing_else_is_left();
        }
    }
}

/// A Client that has forgotten its side uses the identifier for something new.
#[test]
fn another_message_under_the_identifier_is_news() {
    let other = publish("t", "other").qos2(5);
    for said in [message(), other.dup()] {
        let mut scene = Scene::new("t", v5);
        scene.publishes(&message(), &STEPS[0][..3]);
        scene.world.restarts();
        let client = scene.connects(&scene.publisher);
        client.sends(said);
        scene.settles();
        client.expects(pubrec(5)).sends(pubrel(5));
        scene.settles();
        client.expects(pubcomp(5));
        let counts: Vec<_> = scene
            .receivers
            .iter()
            .map(|hello| {
                let receiver = scene.connects(hello);
                scene.settles();
                receiver.hears_all().len()
            })
            .collect();
        // Shards 0 and 1 had kept the first one.
        assert_eq!(counts, [2, 2, 1]);
    }
}

#[test]
fn the_end_of_the_publishers_session_ends_the_matter() {
    for first in 0..=STEPS[0].len() {
        let mut scene = Scene::new("t", v5);
        scene.publishes(&message(), &STEPS[0][..first]);
        scene.world.restarts();
        let gone = scene.publisher.clone().clean(true);
        scene.connects(&gone);
        scene.has_pubrec = false;
        let began = scene.ends(&message());
        assert!(began.iter().all(|count| (1..=2).contains(count)), "{began:?}");
        scene.nothing_else_is_left();
    }
}

/// What nobody lasting waits for leaves no trace, and QoS 1 receivers cost no waiting.
#[test]
fn only_deliveries_at_qos_2_are_remembered() {
    let world = World::with(3, Settings { persistence: true, ..Settings::default() });
    let receiver = world.connects(v5(&world.name_on(1, "r")).resuming());
    receiver.subscribes("t", 1);
    receiver.vanishes();
    let ann = world.connects(v5(&world.name_on(0, "p")).resuming());
    world.mail_is_late();
    ann.sends(message());
    world.mail_arrives();
    ann.expects(pubrec(5));
    for (_, bytes) in world.live_records() {
        if let Record::Message { origin, .. } = Record::decode(&bytes).unwrap() {
            assert_eq!(origin, None);
        }
    }
}
