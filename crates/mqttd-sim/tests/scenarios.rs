//! What seeds have found, as stories of their own.

#![allow(missing_docs, reason = "a test binary has no readers from outside")]

use mqtt_proto::QoS;
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

/// A start finds messages whose exchange was cut, in logs that refuse: once they have recovered the
/// other shards are told that it is over, and nothing stays in any log.
#[test]
fn what_a_start_has_to_tell_the_other_shards_outlives_a_log_that_refuses() {
    let seed = 16657;
    let subscribe = |who, filter, qos| Step::Subscribe { who, filter, qos, no_local: false };
    let (twice, once) = (QoS::ExactlyOnce, QoS::AtLeastOnce);
    let steps = vec![
        Step::Connect { who: 0, clean: false, will_delay: 0 },
        Step::Connect { who: 3, clean: false, will_delay: 0 },
        Step::Connect { who: 1, clean: false, will_delay: 1 },
        Step::Pass { millis: 81 },
        subscribe(3, 2, twice),
        subscribe(0, 1, twice),
        subscribe(1, 1, once),
        Step::Publish { who: 3, topic: 0, qos: twice, bytes: 3000, expires: false },
        Step::Pass { millis: 3 },
        Step::Disk { fault: DiskFault::ReadOnly },
        Step::Pass { millis: 86 },
        Step::Crash { how: Crash::Killed, away: 12, jump: 0, flips: None },
        Step::Pass { millis: 55 },
    ];
    // The order of turns in which it happened.
    let people = 5_829_524_041_293_625_263;
    let small = Scene { inflight_max: 2, queue_max: Some(7), ..scene(Level::Sync) };
    let scene = Scene { shards: 2, people, sync_millis: 40, ..small };
    let report = run(&Plan { seed, scene, steps });
    let text = report.history.to_string();
    assert!(text.contains("can be written again"), "no log has recovered\n{text}");
    assert_eq!(report.failure, None, "{text}");
}

/// QoS 2 from Clients of both versions to sessions on other shards while the logs refuse for a
/// while; half of the publishers lose their connections in between.
#[test]
fn what_other_shards_logs_refuse_for_a_while_comes_once() {
    for (shards, people) in (1..=3).flat_map(|shards| (0..8).map(move |people| (shards, people))) {
        let mut steps = Vec::new();
        for who in 0..5 {
            steps.push(Step::Connect { who, clean: false, will_delay: 0 });
            steps.push(Step::Pass { millis: 20 });
            let qos = QoS::ExactlyOnce;
            steps.push(Step::Subscribe { who, filter: 2, qos, no_local: false });
        }
        steps.push(Step::Pass { millis: 100 });
        let publish = |who| Step::Publish {
            who,
            topic: who % 5,
            qos: QoS::ExactlyOnce,
            bytes: 40,
            expires: false,
        };
        steps.push(Step::Disk { fault: DiskFault::Full(200) });
        for _ in 0..3 {
            steps.extend((0..5).map(publish));
            steps.push(Step::Pass { millis: 5 });
        }
        steps.extend([0, 1].map(|who| Step::Connect { who, clean: false, will_delay: 0 }));
        steps.push(Step::Pass { millis: 50 });
        steps.push(Step::Heal);
        steps.push(Step::Pass { millis: 3000 });
        steps.extend((0..5).map(publish));
        steps.push(Step::Pass { millis: 100 });
        keeps_every_promise(Scene { shards, people, ..scene(Level::Process) }, steps);
    }
}

/// Windows and queues are full when the broker dies. The next one finds all of it waiting, more
/// than a queue takes, and keeps it: it was acknowledged.
#[test]
fn what_was_in_flight_is_kept_beyond_the_bound_of_the_queue() {
    let (inflight_max, queue_max) = (3, Some(2));
    let mut came = 0;
    for people in 0..8 {
        let mut steps = Vec::new();
        for who in 0..5 {
            steps.push(Step::Connect { who, clean: false, will_delay: 0 });
            steps.push(Step::Pass { millis: 20 });
        }
        for who in 0..4 {
            let qos = QoS::AtLeastOnce;
            steps.push(Step::Subscribe { who, filter: 2, qos, no_local: false });
            steps.push(Step::HoldAnswers { who });
        }
        steps.push(Step::Pass { millis: 100 });
        for _ in 0..5 {
            let (qos, bytes) = (QoS::AtLeastOnce, 40);
            steps.push(Step::Publish { who: 4, topic: 0, qos, bytes, expires: false });
            steps.push(Step::Pass { millis: 10 });
        }
        steps.push(crash(Crash::Killed));
        let scene = Scene { inflight_max, queue_max, people, ..scene(Level::Process) };
        let report = run(&Plan { seed: 1, scene: scene.clone(), steps: steps.clone() });
        let text = report.history.to_string();
        let after = text.rsplit_once("Starts").expect("it starts again").1;
        let has_all = |who: &usize| (0..5).all(|m| after.contains(&format!("c{who} gets m{m} ")));
        came += (0..4).filter(has_all).count();
        keeps_every_promise(scene, steps);
    }
    assert!(came > 8, "the queues never held what had been in flight: {came}");
}

/// A power cut leaves a message on the device and takes the record of its arrival, but not a
/// younger one: the broker takes the repetition for another message, as `process` admits. A kill
/// takes nothing, and the repetition is known.
#[test]
fn only_a_power_cut_makes_a_repetition_pass_for_another_message() {
    let twice = |how: Crash, shards: u8, people: u64| {
        let mut steps = Vec::new();
        for who in 0..5 {
            steps.push(Step::Connect { who, clean: false, will_delay: 0 });
            steps.push(Step::Pass { millis: 20 });
        }
        let qos = QoS::ExactlyOnce;
        for who in 0..2 {
            steps.push(Step::Subscribe { who, filter: 2, qos, no_local: false });
        }
        steps.push(Step::Pass { millis: 1500 });
        for who in 0..2 {
            steps.push(Step::Cut { who });
        }
        // The answers are on their way when the publishers lose their connections.
        steps.extend((2..5).map(|who| Step::Lag { who, millis: 3 }));
        // Large ones keep the records of small ones apart, for the device writes sectors.
        let publish = |who, bytes| Step::Publish { who, topic: 0, qos, bytes, expires: false };
        steps.extend([publish(2, 40), publish(3, 3000), Step::Pass { millis: 4 }]);
        steps.extend([Step::Vanish { who: 2 }, Step::Vanish { who: 3 }]);
        steps.extend([publish(4, 3000), Step::Pass { millis: 4 }, Step::Vanish { who: 4 }]);
        steps.push(Step::Pass { millis: 5 });
        steps.push(crash(how));
        let scene = Scene { shards, people, ..scene(Level::Process) };
        let report = run(&Plan { seed: 1, scene: scene.clone(), steps: steps.clone() });
        let text = report.history.to_string();
        keeps_every_promise(scene, steps);
        let comes_twice =
            |who, m| text.matches(&format!("c{who} gets m{m} on a/b QoS 2")).count() > 1;
        (0..2).any(|who| (0..3).any(|m| comes_twice(who, m)))
    };
    for (shards, people) in (1..=3).flat_map(|shards| (0..8).map(move |people| (shards, people))) {
        assert!(!twice(Crash::Killed, shards, people), "{shards} shards, people {people}");
    }
    // Worlds in which the records lie so that it can happen.
    for (shards, people) in [(1, 8), (2, 4)] {
        let mut cuts = (0..40).map(Crash::PowerScatters);
        assert!(cuts.any(|cut| twice(cut, shards, people)), "no cut took the right record");
    }
}
