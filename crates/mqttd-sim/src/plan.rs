//! What a seed decides beforehand: the scene, and a list of steps. Each step carries its own
//! numbers, so that any of them can be left out without changing the others; see `shrink.rs`.

use mqtt_proto::QoS;

use crate::dice::Dice;

/// Most Clients that keep to the rules; one more watches the wills, another breaks the rules.
const ACTORS_MAX: usize = 30;
/// So many there are in most runs.
const ACTORS: usize = 5;
/// The one that sees every will.
pub(crate) const WATCHER: usize = ACTORS_MAX;
/// The one that keeps to no rule.
pub(crate) const ROGUE: usize = ACTORS_MAX + 1;

pub(crate) const TOPICS: [&str; 5] = ["a/b", "a/c", "d", "a", "secret/x"];
pub(crate) const FILTERS: [&str; 10] =
    ["a/b", "a/+", "#", "d", "a/#", "+/c", "secret/#", "$share/g/a/#", "$share/g/d", "$share/h/#"];

/// How strongly the logs keep: `durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the configuration")]
pub enum Level {
    Off,
    None,
    Process,
    Sync,
}

/// What stays the same during a run.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are settings of the same name")]
pub struct Scene {
    /// Clients that keep to the rules.
    pub actors: usize,
    pub shards: u8,
    pub level: Level,
    pub inflight_max: u16,
    pub inflight_bytes: Option<u64>,
    pub queue_max: Option<u32>,
    pub queue_bytes: Option<u64>,
    pub queue_qos0: bool,
    pub upgrade: bool,
    pub overlaps: bool,
    /// Access rights are checked.
    pub has_acl: bool,
    /// Bytes that the kernel takes for a Client that does not read.
    pub socket_bytes: usize,
    /// Longest pause between two turns of a shard, in milliseconds.
    pub jitter: u64,
    /// Time that a sync takes at most.
    pub sync_millis: u64,
    /// Bytes of a segment of the store.
    pub segment_bytes: u64,
    /// Versions, bounds and habits of the Clients come from here.
    pub people: u64,
}

/// A whole run before it happens.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides what steps leave open: delays, the order of turns.
    pub seed: u64,
    /// What stays the same.
    pub scene: Scene,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// How the broker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies between two turns; the system lives.
    Killed,
    /// The process dies at this operation of a disk from now, after this many bytes of it.
    KilledAt(u64, u32),
    /// The process dies in a turn, with its records written and nothing sent.
    KilledAfterCommit,
    /// The process dies in a turn, with the other shards told and not one socket written.
    KilledAfterLetters,
    /// Power fails; of what was not synced, nothing is left.
    PowerForgets,
    /// Power fails; what came first is left, the last write torn.
    PowerTears(u64),
    /// Power fails; any sectors are left.
    PowerScatters(u64),
    /// The broker is stopped and started as one does.
    Stopped,
}

/// What a disk does wrong until it is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// So many more bytes fit.
    Full(u64),
    /// The file system is read-only.
    ReadOnly,
    /// Syncs fail.
    SyncFails,
    /// A sync takes half a second.
    Slow,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it; `who` is a Client's number")]
pub enum Step {
    /// Connects, or takes over from itself.
    Connect {
        who: usize,
        clean: bool,
        will_delay: u32,
    },
    Publish {
        who: usize,
        topic: usize,
        qos: QoS,
        bytes: usize,
        expires: bool,
    },
    /// A retained message on the Client's own topic; an empty one clears it.
    Retain {
        who: usize,
        clears: bool,
    },
    Subscribe {
        who: usize,
        filter: usize,
        qos: QoS,
        no_local: bool,
    },
    /// To everybody's retained topics.
    SubscribeRetained {
        who: usize,
    },
    Unsubscribe {
        who: usize,
        filter: usize,
    },
    Leave {
        who: usize,
        with_will: bool,
    },
    /// Both sides learn at once that the connection broke.
    Cut {
        who: usize,
    },
    /// Nothing passes any more and the broker is not told.
    Vanish {
        who: usize,
    },
    /// The Client shuts its sending side.
    HalfClose {
        who: usize,
    },
    StopReading {
        who: usize,
    },
    ReadAgain {
        who: usize,
    },
    /// Acknowledgements of what the Client is sent wait.
    HoldAnswers {
        who: usize,
    },
    GiveAnswers {
        who: usize,
    },
    /// Milliseconds that a packet takes from now on.
    Lag {
        who: usize,
        millis: u64,
    },
    /// Offences of the Client without rules, decided by the number.
    Offend {
        number: u64,
    },
    /// Another version of the access rights.
    Reload {
        acl: usize,
    },
    Disk {
        fault: DiskFault,
    },
    Heal,
    /// `away`: milliseconds until the next start; `jump`: seconds the wall clock steps meanwhile.
    Crash {
        how: Crash,
        away: u64,
        jump: i64,
        flips: Option<u64>,
    },
    /// Time passes.
    Pass {
        millis: u64,
    },
}

impl Step {
    /// All that [`Step::kind`] may say.
    pub const KINDS: [&str; 34] = [
        "connect",
        "connect clean",
        "publish",
        "retain",
        "clear",
        "subscribe",
        "subscribe retained",
        "unsubscribe",
        "leave",
        "leave with will",
        "cut",
        "vanish",
        "half-close",
        "stop reading",
        "read again",
        "hold answers",
        "give answers",
        "lag",
        "offend",
        "reload",
        "disk full",
        "disk read-only",
        "disk slow",
        "syncs fail",
        "heal",
        "killed",
        "killed at an operation",
        "killed after commit",
        "killed after letters",
        "power cut",
        "stopped",
        "clock jump",
        "flip",
        "pass",
    ];

    /// The kinds of event that the step is.
    pub fn kinds(&self) -> Vec<&'static str> {
        vec![match self {
            Self::Connect { clean: true, .. } => "connect clean",
            Self::Connect { .. } => "connect",
            Self::Publish { .. } => "publish",
            Self::Retain { clears: true, .. } => "clear",
            Self::Retain { .. } => "retain",
            Self::Subscribe { .. } => "subscribe",
            Self::SubscribeRetained { .. } => "subscribe retained",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Leave { with_will: true, .. } => "leave with will",
            Self::Leave { .. } => "leave",
            Self::Cut { .. } => "cut",
            Self::Vanish { .. } => "vanish",
            Self::HalfClose { .. } => "half-close",
            Self::StopReading { .. } => "stop reading",
            Self::ReadAgain { .. } => "read again",
            Self::HoldAnswers { .. } => "hold answers",
            Self::GiveAnswers { .. } => "give answers",
            Self::Lag { .. } => "lag",
            Self::Offend { .. } => "offend",
            Self::Reload { .. } => "reload",
            Self::Disk { fault: DiskFault::Full(_) } => "disk full",
            Self::Disk { fault: DiskFault::ReadOnly } => "disk read-only",
            Self::Disk { fault: DiskFault::Slow } => "disk slow",
            Self::Disk { fault: DiskFault::SyncFails } => "syncs fail",
            Self::Heal => "heal",
            Self::Pass { .. } => "pass",
            Self::Crash { how, jump, flips, .. } => {
                return Self::kinds_of_crash(*how, *jump, *flips);
            }
        }]
    }

    fn kinds_of_crash(how: Crash, jump: i64, flips: Option<u64>) -> Vec<&'static str> {
        let how = match how {
            Crash::Killed => "killed",
            Crash::KilledAt(..) => "killed at an operation",
            Crash::KilledAfterCommit => "killed after commit",
            Crash::KilledAfterLetters => "killed after letters",
            Crash::PowerForgets | Crash::PowerTears(_) | Crash::PowerScatters(_) => "power cut",
            Crash::Stopped => "stopped",
        };
        let jump = (jump != 0).then_some("clock jump");
        [Some(how), jump, flips.map(|_| "flip")].into_iter().flatten().collect()
    }

    /// The Client that must be there for it to mean anything.
    pub(crate) fn actor(&self) -> Option<usize> {
        match self {
            Self::Publish { who, .. }
            | Self::Retain { who, .. }
            | Self::Subscribe { who, .. }
            | Self::SubscribeRetained { who }
            | Self::Unsubscribe { who, .. }
            | Self::Leave { who, .. }
            | Self::Cut { who }
            | Self::Vanish { who }
            | Self::HalfClose { who }
            | Self::StopReading { who }
            | Self::ReadAgain { who }
            | Self::HoldAnswers { who }
            | Self::GiveAnswers { who }
            | Self::Lag { who, .. } => Some(*who),
            _ => None,
        }
    }
}

/// Everything that the seed decides beforehand.
pub fn plan(seed: u64) -> Plan {
    let mut dice = Dice::new(seed);
    let mut scene = scene(&mut dice);
    // Some worlds never crash, so that nothing there has an excuse.
    let temper = Temper {
        crashes: dice.roll(3) > 0 && scene.level != Level::Off,
        power: dice.once_in(2),
        disk: dice.once_in(4),
        flips: dice.once_in(12),
        rogue: dice.once_in(2),
    };
    // One run in twenty is long, or has many Clients.
    let count = match dice.roll(40) {
        0 => 1000,
        1 => {
            scene.actors = ACTORS_MAX;
            400
        }
        _ => 60 + dice.roll(120),
    };
    let mut steps: Vec<_> =
        (0..scene.actors).map(|who| Step::Connect { who, clean: false, will_delay: 0 }).collect();
    steps.push(Step::Pass { millis: 20 });
    for _ in 0..count {
        steps.push(step(&scene, &temper, &mut dice));
    }
    Plan { seed, scene, steps }
}

/// What may happen in a run at all.
struct Temper {
    crashes: bool,
    power: bool,
    disk: bool,
    flips: bool,
    rogue: bool,
}

fn scene(dice: &mut Dice) -> Scene {
    let is_bounded = dice.once_in(4);
    Scene {
        actors: ACTORS,
        shards: 1 + dice.roll(3) as u8,
        level: dice.pick(&[
            Level::Off,
            Level::None,
            Level::Process,
            Level::Process,
            Level::Process,
            Level::Sync,
            Level::Sync,
            Level::Sync,
        ]),
        inflight_max: 1 + dice.roll(5) as u16,
        inflight_bytes: dice.once_in(4).then_some(60),
        queue_max: is_bounded.then(|| 2 + dice.roll(8) as u32),
        queue_bytes: (is_bounded && dice.once_in(2)).then(|| 200 + dice.roll(400)),
        queue_qos0: dice.once_in(2),
        upgrade: dice.once_in(8),
        overlaps: dice.once_in(6),
        has_acl: dice.once_in(2),
        socket_bytes: dice.pick(&[64, 300, 2000, 60_000]),
        jitter: dice.pick(&[0, 1, 4]),
        sync_millis: dice.pick(&[1, 10, 40]),
        segment_bytes: dice.pick(&[4096, 4096, 1 << 16]),
        people: dice.next(),
    }
}

fn step(scene: &Scene, temper: &Temper, dice: &mut Dice) -> Step {
    let who = dice.roll(scene.actors as u64) as usize;
    match dice.roll(100) {
        0..=24 => Step::Pass {
            millis: match dice.roll(12) {
                0 => 500 + dice.roll(2000),
                1..=3 => 20 + dice.roll(100),
                _ => dice.roll(6),
            },
        },
        25..=49 => publish(who, dice),
        50..=53 => Step::Retain { who, clears: dice.once_in(5) },
        54..=60 => Step::Subscribe {
            who,
            filter: dice.roll(FILTERS.len() as u64) as usize,
            qos: qos(dice),
            no_local: dice.once_in(8),
        },
        61..=62 => Step::SubscribeRetained { who },
        63..=64 => Step::Unsubscribe { who, filter: dice.roll(FILTERS.len() as u64) as usize },
        65..=76 => {
            Step::Connect { who, clean: dice.once_in(12), will_delay: dice.pick(&[0, 0, 1, 3]) }
        }
        77 => Step::Leave { who, with_will: dice.once_in(3) },
        78..=80 => Step::Cut { who },
        81 => Step::Vanish { who },
        82 => Step::HalfClose { who },
        83..=84 => Step::StopReading { who },
        85..=87 => Step::ReadAgain { who },
        88 => Step::HoldAnswers { who },
        89..=90 => Step::GiveAnswers { who },
        91 => Step::Lag { who, millis: dice.pick(&[0, 0, 1, 10, 200]) },
        92..=94 if temper.rogue => Step::Offend { number: dice.next() },
        95 if scene.has_acl => Step::Reload { acl: dice.roll(ACLS.len() as u64) as usize },
        96 if temper.disk => Step::Disk { fault: fault(dice) },
        97 if temper.disk => Step::Heal,
        98 if temper.crashes => crash(temper, dice),
        _ => publish(who, dice),
    }
}

fn publish(who: usize, dice: &mut Dice) -> Step {
    Step::Publish {
        who,
        topic: dice.roll(TOPICS.len() as u64) as usize,
        qos: qos(dice),
        bytes: dice.pick(&[0, 0, 0, 40, 300, 3000]),
        expires: dice.once_in(10),
    }
}

fn qos(dice: &mut Dice) -> QoS {
    dice.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce])
}

fn fault(dice: &mut Dice) -> DiskFault {
    match dice.roll(5) {
        0 | 1 => DiskFault::Full(dice.roll(2000)),
        2 => DiskFault::ReadOnly,
        3 => DiskFault::Slow,
        _ => DiskFault::SyncFails,
    }
}

fn crash(temper: &Temper, dice: &mut Dice) -> Step {
    let how = match dice.roll(if temper.power { 9 } else { 6 }) {
        0 => Crash::Killed,
        1 | 2 => Crash::KilledAt(dice.roll(6), dice.roll(300) as u32),
        3 => Crash::KilledAfterCommit,
        4 => Crash::KilledAfterLetters,
        5 => Crash::Stopped,
        6 => Crash::PowerForgets,
        7 => Crash::PowerTears(dice.next()),
        _ => Crash::PowerScatters(dice.next()),
    };
    Step::Crash {
        how,
        away: dice.roll(50),
        jump: if dice.once_in(6) { dice.roll(7200) as i64 - 3600 } else { 0 },
        flips: temper.flips.then(|| dice.next()),
    }
}

/// Access rights that a reload may bring. What all of them allow is promised to arrive. `eve` is
/// the one without rules.
pub(crate) const ACLS: [&str; 3] = [
    concat!(
        "user eve\ntopic deny a/#\ntopic deny d\ntopic deny secret/#\ntopic deny r/#\n",
        "topic deny w/#\npattern readwrite #\n"
    ),
    concat!(
        "user eve\ntopic deny a/#\ntopic deny d\ntopic deny secret/#\ntopic deny r/#\n",
        "topic deny w/#\npattern readwrite #\npattern deny secret/#\n"
    ),
    concat!(
        "user eve\ntopic write x/#\ntopic deny r/#\ntopic deny w/#\n",
        "user c1\ntopic deny d\ntopic readwrite #\n",
        "user c0\ntopic readwrite #\nuser c2\ntopic read a/#\ntopic readwrite d\n",
        "topic readwrite r/#\ntopic readwrite w/#\ntopic write secret/#\n",
        "user c3\ntopic readwrite #\nuser c4\ntopic readwrite #\nuser c30\ntopic readwrite #\n",
        "user fresh\ntopic readwrite #\npattern readwrite r/#\npattern readwrite w/#\n"
    ),
];
