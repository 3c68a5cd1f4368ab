//! What seeds have found, as stories of their own.

#![allow(missing_docs, reason = "a test binary has no readers from outside")]

use mqttd_sim::{Crash, DiskFault, Level, Plan, Scene, Step, plan, run};

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

/// A Client asks for a clean start, and the broker dies before it has read that: the old session is
/// rightly back, with what its Client had not acknowledged.
#[test]
fn a_clean_start_that_was_never_read_ends_no_session() {
    let mut steps = vec![Step::Connect { who: 1, clean: false, will_delay: 0 }];
    steps.push(Step::Pass { millis: 50 });
    steps.push(Step::Retain { who: 1, clears: false });
    for who in [0, 2, 3, 4] {
        steps.push(Step::Connect { who, clean: false, will_delay: 0 });
        steps.push(Step::Pass { millis: 50 });
        steps.push(Step::HoldAnswers { who });
        steps.push(Step::SubscribeRetained { who });
    }
    steps.push(Step::Pass { millis: 100 });
    for who in [0, 2, 3, 4] {
        steps.push(Step::Lag { who, millis: 10 });
        steps.push(Step::Connect { who, clean: true, will_delay: 0 });
    }
    steps.push(crash(Crash::Killed));
    steps.push(Step::Pass { millis: 100 });
    let scene = scene(Level::Process);
    let report = run(&Plan { seed: 1, scene: scene.clone(), steps: steps.clone() });
    let text = report.history.to_string();
    assert!(text.contains("present: true"), "no session was back\n{text}");
    keeps_every_promise(scene, steps);
}

/// The second clearing finds nothing left to do, but the log has not taken the first.
#[test]
fn a_topic_cleared_twice_while_the_log_refuses_is_not_back_after_its_answer() {
    // The second answer must not be kept back by the first, which depends on the Clients.
    for (shards, people) in (1..=3).flat_map(|shards| (0..8).map(move |people| (shards, people))) {
        let mut steps = Vec::new();
        for who in 0..5 {
            steps.push(Step::Connect { who, clean: false, will_delay: 0 });
            steps.push(Step::Pass { millis: 20 });
            steps.push(Step::Retain { who, clears: false });
        }
        steps.push(Step::Pass { millis: 100 });
        steps.push(Step::Disk { fault: DiskFault::ReadOnly });
        for _ in 0..2 {
            steps.extend((0..5).map(|who| Step::Retain { who, clears: true }));
            steps.push(Step::Pass { millis: 20 });
        }
        steps.push(crash(Crash::Killed));
        keeps_every_promise(Scene { shards, people, ..scene(Level::Process) }, steps);
    }
}
