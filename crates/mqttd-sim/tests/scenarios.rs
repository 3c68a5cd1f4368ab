//! What seeds have found, as stories of their own.

#![allow(missing_docs, reason = "a test binary has no readers from outside")]

use mqttd_sim::{Crash, Level, Plan, Scene, Step, plan, run};

/// A scene with nothing special, and a level.
fn scene(level: Level) -> Scene {
    Scene {
        shards: 1,
        level,
        inflight_max: 20,
        inflight_bytes: None,
        queue_max: None,
        queue_bytes: None,
        queue_qos0: false,
        upgrade: false,
        overlaps: false,
        has_acl: false,
        socket_bytes: 60_000,
        jitter: 0,
        sync_millis: 1,
        segment_bytes: 1 << 16,
        ..plan(1).scene
    }
}

#[track_caller]
fn keeps_every_promise(scene: Scene, steps: Vec<Step>) {
    let report = run(&Plan { seed: 1, scene, steps });
    if let Some(failure) = report.failure {
        panic!("{}\n{}: {}", report.history, failure.checker, failure.words);
    }
}

fn crash(how: Crash) -> Step {
    Step::Crash { how, away: 10, jump: 0, flips: None }
}

/// The first broker is killed before its background sync, the second reads what it wrote and has
/// nothing to write itself: the device must have it all the same.
#[test]
fn what_a_killed_broker_wrote_outlives_a_power_cut_after_the_next_start() {
    let steps = vec![
        Step::Pass { millis: 850 },
        crash(Crash::Killed),
        Step::Pass { millis: 840 },
        crash(Crash::PowerForgets),
        Step::Pass { millis: 100 },
    ];
    keeps_every_promise(scene(Level::Process), steps);
}
