//! A failing plan made small: steps are left out as long as the same checker complains.

use crate::plan::{Plan, Scene};
use crate::world::{Report, run};

/// The smallest plan found that breaks the same promise, and its report.
pub fn shrink(plan: &Plan) -> Option<(Plan, Report)> {
    let mut best = plan.clone();
    let mut report = run(&best);
    let checker = report.failure.as_ref()?.checker;
    let fails = |plan: &Plan| {
        let report = run(plan);
        report.failure.as_ref().is_some_and(|failure| failure.checker == checker).then_some(report)
    };
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut has_shrunk = false;
        while at < best.steps.len() {
            let mut steps = best.steps.clone();
            steps.drain(at..(at + size).min(steps.len()));
            let smaller = Plan { steps, ..best.clone() };
            if let Some(found) = fails(&smaller) {
                (best, report) = (smaller, found);
                has_shrunk = true;
            } else {
                at += size;
            }
        }
        if !has_shrunk || size > 1 {
            size /= 2;
        }
    }
    for scene in simpler(&best.scene) {
        let candidate = Plan { scene, ..best.clone() };
        if let Some(found) = fails(&candidate) {
            (best, report) = (candidate, found);
        }
    }
    Some((best, report))
}

/// Scenes with one thing less.
fn simpler(scene: &Scene) -> Vec<Scene> {
    vec![
        Scene { shards: 1, ..scene.clone() },
        Scene { jitter: 0, ..scene.clone() },
        Scene { has_acl: false, ..scene.clone() },
        Scene { upgrade: false, ..scene.clone() },
        Scene { overlaps: false, ..scene.clone() },
        Scene { inflight_bytes: None, ..scene.clone() },
        Scene { socket_bytes: 60_000, ..scene.clone() },
    ]
}
