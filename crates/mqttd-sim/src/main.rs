//! `make sim`: runs seeds until one fails, and prints the smallest history that fails likewise.
//!
//! ```text
//! mqttd-sim              seeds from 1 on, until one fails or somebody has seen enough
//! mqttd-sim SEED         one seed, with its history when it fails
//! mqttd-sim FIRST..LAST  these: a line for each that fails, and the history of the first
//! ```
#![forbid(unsafe_code)]

use std::process::ExitCode;

use mqttd_sim::{Failure, Plan, plan, run, shrink};

fn main() -> ExitCode {
    // A panic of the core is a finding; it is told with its history.
    std::panic::set_hook(Box::new(|_| ()));
    let argument = std::env::args().nth(1);
    let (first, last) = match argument.as_deref().map(seeds) {
        None => (1, u64::MAX),
        Some(Some(seeds)) => seeds,
        Some(None) => {
            eprintln!("usage: mqttd-sim [SEED | FIRST..LAST]");
            return ExitCode::from(2);
        }
    };
    let mut failing = Vec::new();
    for seed in first..=last {
        if seed % 1000 == 0 {
            println!("{seed} seeds");
        }
        let plan = plan(seed);
        let report = run(&plan);
        if let Some(Failure { checker, words }) = report.failure {
            println!("seed {seed}: {checker}: {words}");
            failing.push(plan);
        } else if run(&plan).trace != report.trace {
            println!("seed {seed}: the second run went another way");
            return ExitCode::FAILURE;
        }
        // Who asked for no end wants to see the first.
        if last == u64::MAX && !failing.is_empty() {
            break;
        }
    }
    match failing.first() {
        Some(plan) => explain(plan),
        None => {
            println!("{} seeds, every promise kept", last - first + 1);
            ExitCode::SUCCESS
        }
    }
}

fn seeds(text: &str) -> Option<(u64, u64)> {
    match text.split_once("..") {
        Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
        None => text.parse().ok().map(|seed| (seed, seed)),
    }
}

fn explain(plan: &Plan) -> ExitCode {
    println!("seed {} fails; looking for a small history …", plan.seed);
    if let Some((small, report)) = shrink::shrink(plan) {
        println!("{:#?}", small.scene);
        println!("{} of {} steps", small.steps.len(), plan.steps.len());
        print!("{}", report.history);
        if let Some(failure) = report.failure {
            println!("\n{}: {}", failure.checker, failure.words);
        }
    }
    ExitCode::FAILURE
}
