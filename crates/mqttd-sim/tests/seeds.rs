//! A thousand worlds, each run twice. `make sim SEED=n` tells the story of one that fails.

#![allow(missing_docs, reason = "a test binary has no readers from outside")]

use mqttd_sim::{plan, run};

const SEEDS: u64 = 1000;
/// Tests that run beside each other, each with its part of the seeds.
const PARTS: u64 = 4;

fn part(number: u64) {
    for seed in (1..=SEEDS).filter(|seed| seed % PARTS == number) {
        let plan = plan(seed);
        let report = run(&plan);
        if let Some(failure) = report.failure {
            let words = failure.words;
            panic!("{}: {words}. The smallest history: make sim SEED={seed}", failure.checker);
        }
        let again = run(&plan);
        assert_eq!(report.trace, again.trace, "seed {seed}: the second run went another way");
    }
}

#[test]
fn every_promise_is_kept_in_the_first_worlds() {
    part(0);
}

#[test]
fn every_promise_is_kept_in_the_second_worlds() {
    part(1);
}

#[test]
fn every_promise_is_kept_in_the_third_worlds() {
    part(2);
}

#[test]
fn every_promise_is_kept_in_the_fourth_worlds() {
    part(3);
}

/// What the worlds hold: a simulator in which nothing happens proves nothing.
#[test]
fn the_worlds_are_full() {
    let all: Vec<_> = (1..=100).map(|seed| run(&plan(seed)).history.to_string()).collect();
    for (what, at_least) in [
        ("Crashes", 60),
        ("Power", 10),
        (" again on ", 200),
        ("can't keep", 10),
        ("Reloaded", 100),
        ("w/", 200),
        ("retained", 1000),
        ("present: true", 300),
        ("is_error: true", 10),
        ("QoS 2", 3000),
    ] {
        let count: usize = all.iter().map(|text| text.matches(what).count()).sum();
        assert!(count >= at_least, "{what:?} stands {count} times in a hundred histories");
    }
}
