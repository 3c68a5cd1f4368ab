//! Random Clients doing legal things over one to three shards, with cuts, takeovers, slow readers
//! and restarts at the edge of a commit, checked against a naive model. Each seed runs twice and
//! must leave the same trace. `SEED=n` runs one seed and prints what everybody hears; `SEEDS=n`
//! runs that many.

#![allow(missing_docs, unreachable_pub, reason = "a test binary has no readers from outside")]

#[path = "../world/mod.rs"]
mod world;

mod actor;

use mqttd_core::record::Record;
use mqttd_core::settings::Settings;

use actor::{Actor, Sent};
use world::*;

const SEEDS: u64 = 300;
const STEPS: u32 = 300;
const TOPICS: [&str; 4] = ["a/b", "a/c", "d", "a"];
const FILTERS: [&str; 8] = ["a/b", "a/+", "#", "d", "a/#", "+/c", "$share/g/a/#", "$share/g/d"];

/// A generator of numbers for tests.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }
}

/// What the model knows.
#[derive(Default)]
pub struct Model {
    pub step: u32,
    /// How often the broker was restarted.
    pub life: u32,
    /// Every message published with QoS 1 or 2, by payload.
    pub sent: std::collections::BTreeMap<String, Sent>,
    pub trace: Vec<String>,
    pub is_loud: bool,
}

impl Model {
    pub fn note(&mut self, line: String) {
        if self.is_loud {
            println!("{line}");
        }
        self.trace.push(line);
    }
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_disordered() {
    let one = std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
    let many = std::env::var("SEEDS").map_or(SEEDS, |count| count.parse().expect("a number"));
    let seeds = one.map_or(1..=many, |seed| seed..=seed);
    for seed in seeds {
        println!("seed {seed}");
        let first = run(seed, one.is_some());
        assert!(first == run(seed, false), "seed {seed}: the second run went another way");
    }
}

fn run(seed: u64, is_loud: bool) -> Vec<String> {
    let mut dice = Dice::new(seed);
    let shards = 1 + dice.roll(3) as u8;
    let settings = Settings {
        persistence: true,
        queued_messages_max: None,
        inflight_messages_max: 1 + dice.roll(5) as u16,
        inflight_bytes_max: (dice.roll(4) == 0).then_some(10),
        queue_qos0: dice.roll(2) == 0,
        upgrade_outgoing_qos: dice.roll(8) == 0,
        duplicate_overlaps: dice.roll(6) == 0,
        ..Settings::default()
    };
    let overlaps = settings.duplicate_overlaps;
    let world = World::with(shards, settings);
    world.log_is_late();
    world.mail_is_late();
    world.log_gates_the_wire();
    let mut model = Model { is_loud, ..Model::default() };
    let mut actors: Vec<_> = (0..5).map(|number| Actor::new(number, shards)).collect();
    for step in 0..STEPS {
        model.step = step;
        act(&world, &mut actors, &mut model, &mut dice);
    }
    finish(&world, &mut actors, &mut model);
    actors.iter().for_each(|actor| actor.check(&model, overlaps, seed));
    check_retained(&world, &actors, seed);
    clear(&world, &mut actors, &mut model, seed);
    model.trace
}

fn act(world: &World, actors: &mut [Actor], model: &mut Model, dice: &mut Dice) {
    let shards = actors[0].shards;
    match dice.roll(100) {
        0..=19 => (0..shards).for_each(|shard| {
            if dice.roll(2) == 0 {
                world.commits_on(usize::from(shard));
            }
        }),
        20..=44 => {
            world.letter_arrives(dice.roll(99));
        }
        45 => {
            world.passes(1);
        }
        46 if dice.roll(3) == 0 => {
            model.life += 1;
            model.note("restart".into());
            world.restarts_with(dice.roll(1 << 40));
            actors.iter_mut().for_each(Actor::is_cut);
        }
        _ => {
            let count = actors.len() as u64;
            let actor = &mut actors[dice.roll(count) as usize];
            actor.acts(world, model, dice);
        }
    }
    for actor in actors.iter_mut() {
        if dice.roll(3) > 0 {
            actor.listens(model);
        }
    }
}

/// Everybody comes back and everything is delivered.
fn finish(world: &World, actors: &mut [Actor], model: &mut Model) {
    model.note("finish".into());
    let mut quiet = 0;
    for _ in 0..2000 {
        for actor in actors.iter_mut() {
            actor.comes_back(world, model);
        }
        world.mail_arrives();
        world.commits();
        let mut heard = 0;
        for actor in actors.iter_mut() {
            heard += actor.listens(model);
        }
        quiet = if heard == 0 { quiet + 1 } else { 0 };
        // An answer may wait for another shard's log and then for its own.
        if quiet > 6 && actors.iter().all(Actor::is_quiet) {
            return;
        }
    }
    panic!("there is no end: {:?}", actors.iter().map(Actor::state).collect::<Vec<_>>());
}

fn check_retained(world: &World, actors: &[Actor], seed: u64) {
    settle_after(world, || ());
    let socket = world.opens(&v5("fresh"));
    let fresh = world.client(socket);
    settle_after(world, || ());
    settle_after(world, || {
        fresh.sends(subscribe("r/#", 0));
    });
    let heard = fresh.hears_all();
    for actor in actors {
        let topic = actor.retained_topic();
        let value = heard.iter().find_map(|said| match said {
            Said::Publish(publish) if publish.topic == topic => {
                Some(String::from_utf8(publish.payload.clone()).unwrap())
            }
            _ => None,
        });
        let value = value.unwrap_or_default();
        let possible = &actor.retained_values;
        assert!(possible.contains(&value), "seed {seed}: {topic} is {value:?}, not {possible:?}");
    }
    settle_after(world, || {
        fresh.sends(disconnect(mqtt_proto::ReasonCode::Success));
    });
}

fn settle_after(world: &World, what: impl FnOnce()) {
    what();
    for _ in 0..20 {
        world.mail_arrives();
        world.commits();
    }
}

/// All sessions end and all retained messages go: nothing may be left.
fn clear(world: &World, actors: &mut [Actor], model: &mut Model, seed: u64) {
    for actor in actors.iter_mut() {
        settle_after(world, || actor.clears_retained());
        actor.listens(model);
        settle_after(world, || actor.ends_session(world));
    }
    settle_after(world, || ());
    let stats = world.stats();
    assert_eq!((stats.sessions, stats.connected, stats.retained), (0, 0, 0), "seed {seed}");
    assert_eq!((stats.queued, stats.queued_bytes), (0, 0), "seed {seed}");
    assert_eq!((stats.subscriptions, stats.shared_subscriptions), (0, 0), "seed {seed}");
    let left = world.live_records().into_iter().filter(|(_, bytes)| !is_settled(bytes));
    assert_eq!(left.collect::<Vec<_>>(), [], "seed {seed}: records without an owner");
}

/// The one record of a shard that belongs to no session.
fn is_settled(bytes: &[u8]) -> bool {
    matches!(Record::decode(bytes), Ok(Record::Settled { .. }))
}
