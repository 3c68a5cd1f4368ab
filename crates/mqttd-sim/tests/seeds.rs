//! A thousand worlds, each run twice. `make sim SEED=n` tells the story of one that fails.

#![allow(missing_docs, reason = "a test binary has no readers from outside")]

use std::collections::{BTreeMap, BTreeSet};

use mqttd_sim::{Step, plan, run};

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

/// What is planned: no kind of event may be absent from a thousand worlds.
#[test]
fn a_thousand_plans_hold_every_kind_of_event() {
    let mut counts = BTreeMap::new();
    let mut large = 0;
    for seed in 1..=SEEDS {
        let plan = plan(seed);
        large += u64::from(plan.scene.actors > 20 || plan.steps.len() > 900);
        for kind in plan.steps.iter().flat_map(Step::kinds) {
            *counts.entry(kind).or_insert(0) += 1;
        }
    }
    println!("{counts:#?}");
    let known = BTreeSet::from(Step::KINDS);
    assert!(counts.keys().all(|kind| known.contains(kind)));
    let seldom: Vec<_> = known.iter().filter(|kind| counts.get(*kind) < Some(&50)).collect();
    assert!(seldom.is_empty(), "fewer than 50 times in {SEEDS} plans: {seldom:?}");
    assert!((20..100).contains(&large), "{large} large worlds");
}

/// What the worlds hold: a simulator in which nothing happens proves nothing.
#[test]
fn the_worlds_are_full() {
    let histories: Vec<_> = (1..=100).map(|seed| run(&plan(seed)).history).collect();
    let mut tally = BTreeMap::new();
    for (kind, count) in histories.iter().flat_map(|history| &history.tally) {
        *tally.entry(*kind).or_insert(0) += count;
    }
    println!("{tally:#?}");
    let absent = Step::KINDS.iter().filter(|kind| !tally.contains_key(*kind));
    assert_eq!(absent.count(), 0, "planned and never carried out");
    let all: Vec<_> = histories.iter().map(ToString::to_string).collect();
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
