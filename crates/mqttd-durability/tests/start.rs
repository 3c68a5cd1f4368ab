//! What a start says while it reads the logs, and what a log says that works again.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqttd_conf::{Durability as Level, DurabilityRule, LogType, Persistence};
use mqttd_core::ids::{Lsn, RecordId};
use mqttd_core::record::Record;
use mqttd_durability::{Around, Durability, Levels, Outcome, Progress};
use mqttd_store::{DiskMem, Options, SyncJob};

/// A clock that goes on by `step` each time it is looked at.
#[derive(Clone)]
struct World {
    now: Rc<Cell<Instant>>,
    step: Duration,
    said: Rc<RefCell<Vec<String>>>,
}

impl World {
    fn new(step: Duration) -> Self {
        Self { now: Rc::new(Cell::new(Instant::now())), step, said: Rc::default() }
    }
}

impl Around for World {
    type Disk = DiskMem;

    fn now(&self) -> Instant {
        self.now.set(self.now.get() + self.step);
        self.now.get()
    }

    fn say(&self, _: LogType, words: fmt::Arguments<'_>) {
        self.said.borrow_mut().push(words.to_string());
    }

    fn run(&self, job: SyncJob<DiskMem>) {
        drop(job.run());
    }
}

fn levels() -> Arc<Levels> {
    Arc::new(Levels::new(&Persistence { enabled: true, ..Persistence::default() }))
}

fn options() -> Options {
    Durability::<World>::options(&levels(), 1)
}

/// A log of `records` records.
fn disk(records: u64) -> DiskMem {
    let disk = DiskMem::new();
    let world = World::new(Duration::ZERO);
    let (mut log, _) =
        Durability::open(disk.clone(), options(), levels(), "the store", world.clone()).unwrap();
    let mut body = Vec::new();
    Record::Settled { exchange: RecordId(1) }.encode(&mut body);
    for number in 1..=records {
        log.put(RecordId(number), &body);
        if number % 1000 == 0 || number == records {
            assert_eq!(log.commit(Lsn(number)), Outcome::Durable(Lsn(number)));
        }
    }
    assert!(world.said.borrow().is_empty());
    drop(log);
    disk.restart_process();
    disk
}

/// The lines of a start with two logs.
fn said(records: u64, step: Duration) -> Vec<String> {
    let world = World::new(step);
    let progress = Progress::new(world.now.get());
    for shard in ["one", "two"] {
        let opened = Durability::open_with_progress(
            disk(records),
            options(),
            levels(),
            (shard, &progress),
            world.clone(),
        );
        assert!(opened.is_ok());
    }
    world.said.take()
}

#[test]
fn a_start_that_takes_a_second_says_how_far_it_is() {
    let quick = said(100_000, Duration::from_millis(1));
    assert!(quick.is_empty(), "{quick:?}");
    let slow = said(100_000, Duration::from_millis(100));
    assert!(slow.iter().any(|line| line.ends_with(" MB.")), "{slow:?}");
    assert!(slow.iter().any(|line| line.ends_with(" records.")), "{slow:?}");
    for shard in ["one", "two"] {
        let of_shard = format!("Reading the store {shard}: ");
        assert!(slow.iter().any(|line| line.starts_with(&of_shard)), "{slow:?}");
    }
    // Of two logs that take less than a second each the second one speaks.
    let both = said(30_000, Duration::from_millis(80));
    assert!(both.iter().all(|line| line.contains("two")) && !both.is_empty(), "{both:?}");
}

fn settled() -> Vec<u8> {
    let mut body = Vec::new();
    Record::Settled { exchange: RecordId(1) }.encode(&mut body);
    body
}

/// What it refused is dead by then, so that nothing is left to write and no sync is to come.
#[test]
fn a_log_that_recovers_with_nothing_left_to_write_says_so() {
    let world = World::new(Duration::from_millis(1));
    let disk = DiskMem::new();
    let (mut log, _) =
        Durability::open(disk.clone(), options(), levels(), "the store", world.clone()).unwrap();
    disk.set_read_only(true);
    log.put(RecordId(1), &settled());
    assert_eq!(log.commit(Lsn(1)), Outcome::Refused(Lsn(1)));
    assert!(log.is_held_back(RecordId(1)) && !log.is_held_back(RecordId(2)));
    log.kill(RecordId(1));
    assert_eq!(log.commit(Lsn(2)), Outcome::Refused(Lsn(2)));
    disk.set_read_only(false);
    let recovered = (0..1000).map(|_| log.commit(Lsn(2))).find(|said| *said != Outcome::Nothing);
    assert_eq!(recovered, Some(Outcome::Recovered { lsn: Lsn(2), complete: true }));
    assert!(!log.is_held_back(RecordId(1)));
}

/// A death of what the log does not hold is no batch; with `durability sync` its answer comes too.
#[test]
fn a_death_of_nothing_is_answered_without_a_sync() {
    let sync = DurabilityRule { level: Level::Sync, filter: None };
    let persistence =
        Persistence { enabled: true, durability: vec![sync], ..Persistence::default() };
    let levels = Arc::new(Levels::new(&persistence));
    let options = Durability::<World>::options(&levels, 1);
    let world = World::new(Duration::ZERO);
    let (mut log, _) =
        Durability::open(DiskMem::new(), options, levels, "the store", world).unwrap();
    log.kill(RecordId(7));
    assert_eq!(log.commit(Lsn(1)), Outcome::Durable(Lsn(1)));
}
