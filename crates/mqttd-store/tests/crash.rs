//! Crashes at every operation of seeded histories, compared with a naive model. What was synced
//! must be
//! there; of what was only committed, whole batches from the front; after the death of the process
//! alone,
//! everything. Every failure names its seed.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use mqttd_store::{DiskMem, Mode, OpenReport, Options, PowerCut, RecordId, Store};

/// Live records: id → (order of birth, body).
type State = BTreeMap<u64, (u64, Body)>;

/// Length and byte of a body that is one byte repeated.
type Body = (usize, u8);

#[derive(Clone)]
struct Model {
    now: State,
    born: u64,
    /// State after each batch of the caller, by its sequence number.
    batches: BTreeMap<u64, State>,
    /// Everything ever put.
    puts: BTreeSet<(u64, Body)>,
    committed: u64,
    durable: u64,
}

fn options(seed: u64) -> Options {
    let mode = if seed % 2 == 0 { Mode::Process } else { Mode::Sync };
    let rewrite_bytes = if seed % 5 == 0 { 0 } else { 2000 };
    Options { segment_bytes: 4096, reserve_bytes: 512, rewrite_bytes, ..Options::new(mode, seed) }
}

/// Opens the store of a seed on a disk with space.
fn open(disk: &DiskMem, seed: u64) -> (Store<DiskMem>, Vec<(u64, Body)>, OpenReport) {
    disk.set_capacity(None);
    disk.set_read_only(false);
    let mut found = Vec::new();
    let (store, report) =
        Store::open(disk.clone(), options(seed), |id, body| found.push((id.0, brief(body))))
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    (store, found, report)
}

fn brief(body: &[u8]) -> Body {
    assert!(body.iter().all(|byte| *byte == body[0]));
    (body.len(), body.first().copied().unwrap_or(0))
}

fn in_order(state: &State) -> Vec<(u64, Body)> {
    let mut all: Vec<_> = state.iter().map(|(id, (born, body))| (*born, *id, *body)).collect();
    all.sort();
    all.into_iter().map(|(_, id, body)| (id, body)).collect()
}

impl Model {
    fn new() -> Model {
        let batches = BTreeMap::from([(0, State::new())]);
        Model {
            now: State::new(),
            born: 0,
            batches,
            puts: BTreeSet::new(),
            committed: 0,
            durable: 0,
        }
    }

    fn put(&mut self, id: u64, body: &[u8]) {
        self.born += 1;
        self.puts.insert((id, brief(body)));
        let born = self.now.get(&id).map_or(self.born, |(born, _)| *born);
        self.now.insert(id, (born, brief(body)));
    }

    /// The state at the last batch of the caller not after `lsn`.
    fn at(&self, lsn: u64) -> &State {
        self.batches.range(..=lsn).next_back().unwrap().1
    }

    /// Goes on from a state that was found.
    fn resume(&mut self, lsn: u64) {
        self.now = self.at(lsn).clone();
        self.batches.retain(|at, _| *at <= lsn);
        self.batches.insert(lsn, self.now.clone());
        (self.committed, self.durable) = (lsn, 0);
    }
}

/// Drives a store and its model through `steps` random steps; stops early when the machine does.
fn drive(disk: &DiskMem, store: &mut Store<DiskMem>, model: &mut Model, rng: &mut Rng, steps: u64) {
    // Every third history runs on a disk that is full or read-only at times.
    let cramped = rng.u64(..3) == 0;
    for _ in 0..steps {
        let before = model.now.clone();
        if cramped {
            let names = disk.names();
            let used: usize = names.iter().map(|name| disk.content(name).len()).sum();
            let spare = rng.u64(..4000);
            disk.set_capacity((rng.u64(..3) > 0).then_some(used as u64 + spare));
            disk.set_read_only(rng.u64(..8) == 0);
        }
        for _ in 0..rng.u64(..6) {
            let id = rng.u64(..24);
            if rng.u64(..5) < 2 {
                assert_eq!(store.kill(RecordId(id)), model.now.remove(&id).is_some());
            } else {
                let length = if rng.u64(..20) == 0 { 3000 } else { rng.u64(..200) };
                let body = vec![rng.u8(..); length as usize];
                // Reading the old order may find the machine stopped.
                if store.put(RecordId(id), &body).is_err() {
                    return;
                }
                model.put(id, &body);
            }
        }
        let next = store.last_lsn() + 1;
        model.batches.insert(next, model.now.clone());
        match store.commit() {
            Ok(committed) => model.committed = committed.lsn,
            Err(_) if disk.is_stopped() => return,
            Err(error) => {
                assert!(cramped && error.is_passing(), "{error}");
                model.batches.remove(&next);
                model.now = before;
            }
        }
        // The machine may have stopped while survivors were copied behind the commit.
        if disk.is_stopped() {
            return;
        }
        if rng.u64(..3) == 0 {
            match store.sync() {
                Ok(lsn) => model.durable = lsn,
                Err(_) => return,
            }
        }
    }
    disk.set_capacity(None);
    disk.set_read_only(false);
}

/// Checks what was found after a crash that kept a prefix, and that life goes on from there.
fn check(disk: &DiskMem, model: &mut Model, seed: u64, least: u64, what: &str) {
    let (mut store, found, report) = open(disk, seed);
    assert!(report.holes.is_empty(), "seed {seed}, {what}: {report:?}");
    assert!(report.lsn >= least, "seed {seed}, {what}: {} is before {least}", report.lsn);
    assert_eq!(found, in_order(model.at(report.lsn)), "seed {seed}, {what}, batch {}", report.lsn);
    model.resume(report.lsn);
    let mut rng = Rng::with_seed(seed * 31 + 7);
    drive(disk, &mut store, model, &mut rng, 4);
    assert!(!disk.is_stopped());
    let synced = store.sync().unwrap();
    drop(store);
    disk.restart_machine(PowerCut::Forget);
    let (_store, found, again) = open(disk, seed);
    // A torn end stays visible until something is written behind it.
    let torn = if synced == report.lsn { report.torn } else { None };
    let report = again;
    assert!(report.holes.is_empty() && report.torn == torn, "seed {seed}, {what}: {report:?}");
    assert_eq!(report.lsn, synced, "seed {seed}, {what}");
    assert_eq!(found, in_order(&model.now), "seed {seed}, {what}: after going on");
}

/// Runs the history of a seed with the machine stopping at an operation; `None` when it never got
/// there.
fn run(seed: u64, steps: u64, stop: Option<(u64, usize)>) -> (DiskMem, Model) {
    let disk = DiskMem::new();
    if let Some((operation, torn)) = stop {
        disk.stop_at(operation, torn);
    }
    let mut model = Model::new();
    let mut rng = Rng::with_seed(seed * 2 + 1);
    let (mut store, ..) = open(&disk, seed);
    drive(&disk, &mut store, &mut model, &mut rng, steps);
    (disk, model)
}

/// Seeds to run: `STORE_SEEDS=20` runs twenty times as many.
fn seeds(short: u64) -> std::ops::RangeInclusive<u64> {
    let times = std::env::var("STORE_SEEDS").ok().and_then(|text| text.parse().ok());
    1..=short * times.unwrap_or(1)
}

#[test]
fn a_crash_at_every_operation_leaves_whole_batches() {
    let mut crashes = 0;
    for seed in seeds(1500) {
        let steps = if seed % 50 == 0 { 120 } else { 6 + seed % 7 };
        let (disk, _) = run(seed, steps, None);
        let operations = disk.operations();
        for operation in 0..operations {
            if seed % 50 == 0 && operation % 13 != seed / 50 % 13 {
                continue;
            }
            let mut rng = Rng::with_seed(seed << 20 | operation << 1 | 1);
            let torn = rng.usize(..600);
            let (disk, mut model) = run(seed, steps, Some((operation, torn)));
            let (least, what) = match operation % 3 {
                0 => {
                    disk.restart_process();
                    (model.committed, "kill")
                }
                1 => {
                    disk.restart_machine(PowerCut::Forget);
                    (model.durable, "power cut, nothing kept")
                }
                _ => {
                    disk.restart_machine(PowerCut::Prefix { seed: rng.u64(..) });
                    (model.durable, "power cut, some kept")
                }
            };
            let what = format!("operation {operation}, {torn} bytes, {what}");
            check(&disk, &mut model, seed, least, &what);
            crashes += 1;
        }
    }
    assert!(crashes > 10_000, "only {crashes} crashes");
}

#[test]
fn a_crash_at_every_byte_of_the_last_write_leaves_whole_batches() {
    for seed in seeds(40) {
        let (disk, _) = run(seed, 5, None);
        // The last operation that is a write: stop there and see bytes appear.
        let last = (0..disk.operations()).rev().find(|operation| {
            let (with, _) = run(seed, 5, Some((*operation, usize::MAX)));
            let (without, _) = run(seed, 5, Some((*operation, 0)));
            with.written() > without.written()
        });
        let Some(last) = last else { continue };
        let (whole, _) = run(seed, 5, Some((last, usize::MAX)));
        let (none, _) = run(seed, 5, Some((last, 0)));
        for torn in 0..=(whole.written() - none.written()) as usize {
            let (disk, mut model) = run(seed, 5, Some((last, torn)));
            disk.restart_process();
            let least = model.committed;
            check(&disk, &mut model, seed, least, &format!("{torn} bytes of operation {last}"));
        }
    }
}

#[test]
fn whatever_sectors_a_power_cut_keeps_nothing_synced_is_lost_and_holes_are_told() {
    let mut holes = 0;
    for seed in seeds(3000) {
        let steps = 8 + seed % 40;
        let mut rng = Rng::with_seed(seed * 77 + 1);
        let (disk, _) = run(seed, steps, None);
        let operation = rng.u64(..disk.operations().max(1));
        let (disk, model) = run(seed, steps, Some((operation, rng.usize(..4000))));
        disk.restart_machine(PowerCut::Scatter { seed: rng.u64(..) });
        let (mut store, found, report) = open(&disk, seed);
        let later: Vec<&State> = model.batches.range(model.durable..).map(|(_, s)| s).collect();
        for (id, body) in &found {
            assert!(
                model.puts.contains(&(*id, *body)),
                "seed {seed}: record {id} was never put like that"
            );
        }
        let base = model.at(model.durable);
        for (id, (_, body)) in base {
            if later.iter().all(|s| s.get(id).is_some_and(|(_, b)| b == body)) {
                let there = found.iter().any(|(i, b)| i == id && b == body);
                assert!(there, "seed {seed}: record {id} was synced and is gone: {report:?}");
            }
        }
        if report.holes.is_empty() {
            assert!(report.lsn >= model.durable, "seed {seed}");
            assert_eq!(found, in_order(model.at(report.lsn)), "seed {seed}: {report:?}");
        } else {
            holes += 1;
        }
        // What was found stays found.
        store.put(RecordId(1000), b"nnn").unwrap();
        store.commit().unwrap();
        store.sync().unwrap();
        drop(store);
        disk.restart_machine(PowerCut::Forget);
        let (_store, again, _) = open(&disk, seed);
        let mut expected = found;
        expected.push((1000, (3, b'n')));
        assert_eq!(again, expected, "seed {seed}: the second opening differs");
    }
    assert!(holes > 100, "only {holes} runs had holes: the test does not bite");
}

#[test]
fn the_same_seed_leaves_the_same_bytes() {
    for seed in 1..20 {
        let ((a, _), (b, _)) = (run(seed, 30, None), run(seed, 30, None));
        assert_eq!(a.names(), b.names());
        for name in a.names() {
            assert_eq!(a.content(&name), b.content(&name), "seed {seed}, {name}");
        }
    }
}
