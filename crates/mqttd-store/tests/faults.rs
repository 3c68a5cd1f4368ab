//! Disks that fail, run full or are read-only, and what the store writes and keeps meanwhile.

use mqttd_store::{DiskMem, Mode, Options, PowerCut, RecordId, Store, StoreError};

fn options(mode: Mode) -> Options {
    Options { segment_bytes: 4096, reserve_bytes: 1024, ..Options::new(mode, 5) }
}

fn open(disk: &DiskMem, mode: Mode) -> (Store<DiskMem>, Vec<u64>) {
    let mut ids = Vec::new();
    let (store, report) = Store::open(disk.clone(), options(mode), |id, _| ids.push(id.0)).unwrap();
    assert!(report.holes.is_empty() && report.torn.is_none(), "{report:?}");
    (store, ids)
}

fn used(disk: &DiskMem) -> u64 {
    disk.names().iter().map(|name| disk.content(name).len() as u64).sum()
}

#[test]
fn a_failed_sync_is_final() {
    for mode in [Mode::Process, Mode::Sync] {
        let disk = DiskMem::new();
        let (mut store, _) = open(&disk, mode);
        store.put(RecordId(1), b"synced").unwrap();
        store.commit().unwrap();
        let durable = store.sync().unwrap();
        store.put(RecordId(2), b"not synced").unwrap();
        store.commit().unwrap();
        disk.fail_syncs(true);
        assert!(matches!(store.sync(), Err(StoreError::SyncFailed { .. })));
        disk.fail_syncs(false);
        assert!(matches!(store.sync(), Err(StoreError::SyncFailed { .. })));
        store.put(RecordId(3), b"x").unwrap();
        let refused = store.commit().unwrap_err();
        assert!(matches!(refused, StoreError::SyncFailed { .. }) && !refused.is_passing());
        assert!(!store.contains(RecordId(3)));
        assert_eq!(store.durable_lsn(), durable);
        assert_eq!(store.read(RecordId(2)).unwrap(), b"not synced");
        drop(store);
        disk.restart_machine(PowerCut::Forget);
        assert_eq!(open(&disk, mode).1, [1]);
    }
}

#[test]
fn a_full_disk_refuses_records_takes_deaths_and_recovers() {
    for mode in [Mode::Process, Mode::Sync] {
        let disk = DiskMem::new();
        let (mut store, _) = open(&disk, mode);
        let mut kept = Vec::new();
        disk.set_capacity(Some(40_000));
        let mut refused = 0;
        for id in 0..200 {
            store.put(RecordId(id), &[1; 400]).unwrap();
            match store.commit() {
                Ok(_) => kept.push(id),
                Err(StoreError::DiskFull) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            if mode == Mode::Sync {
                store.sync().unwrap();
            }
        }
        assert!(refused > 50 && kept.len() > 40, "{refused} refused, {} kept", kept.len());
        assert_eq!(store.stats().refused, refused);
        assert_eq!(store.stats().live_records, kept.len() as u64);
        disk.set_capacity(Some(used(&disk)));
        let written = disk.written();
        store.put(RecordId(500), b"x").unwrap();
        assert!(matches!(store.commit(), Err(StoreError::DiskFull)));
        assert!(disk.written() - written < 4096 * 2, "a refusal costs little");
        // Deaths fit, one batch after the other, and are kept.
        let (dead, alive) = kept.split_at(kept.len() / 2);
        for id in dead {
            assert!(store.kill(RecordId(*id)));
            store.commit().unwrap_or_else(|error| panic!("{mode:?}, death of {id}: {error}"));
        }
        store.sync().unwrap();
        assert!(used(&disk) < 40_000);
        // Dead segments are gone, so there is space again without any other help.
        disk.set_capacity(Some(40_000));
        store.put(RecordId(900), b"fits again").unwrap();
        store.commit().unwrap();
        store.sync().unwrap();
        drop(store);
        disk.restart_machine(PowerCut::Forget);
        let mut expected = alive.to_vec();
        expected.push(900);
        assert_eq!(open(&disk, mode).1, expected);
    }
}

#[test]
fn a_full_disk_of_few_survivors_gives_its_garbage_back() {
    let disk = DiskMem::new();
    let roomy = Options { segment_bytes: 16_384, reserve_bytes: 8192, ..options(Mode::Process) };
    let (mut store, _) = Store::open(disk.clone(), roomy, |_, _| {}).unwrap();
    disk.set_capacity(Some(400_000));
    let mut kept = Vec::new();
    for id in 0..2000 {
        store.put(RecordId(id), &[1; 400]).unwrap();
        match store.commit() {
            Ok(_) => kept.push(id),
            Err(StoreError::DiskFull) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(kept.len() > 800);
    // Of every twenty records one stays, so every segment keeps a survivor.
    for id in kept.iter().filter(|id| *id % 20 != 0) {
        assert!(store.kill(RecordId(*id)));
        store.commit().unwrap_or_else(|error| panic!("death of {id}: {error}"));
        if id % 5 == 0 {
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
    assert!(disk.names().len() < 30, "{} files", disk.names().len());
    store.put(RecordId(5000), &[2; 400]).unwrap();
    store.commit().unwrap();
    drop(store);
    let mut alive: Vec<u64> = kept.into_iter().filter(|id| id % 20 == 0).collect();
    alive.push(5000);
    assert_eq!(open(&disk, Mode::Process).1, alive);
}

#[test]
fn nothing_of_a_refused_batch_is_seen_even_after_a_crash() {
    for spare in 0..1500u64 {
        let disk = DiskMem::new();
        let (mut store, _) = open(&disk, Mode::Process);
        store.put(RecordId(1), b"one").unwrap();
        store.commit().unwrap();
        disk.set_capacity(Some(used(&disk) + spare));
        store.put(RecordId(1), b"other").unwrap();
        for id in 2..8 {
            store.put(RecordId(id), &[2; 100]).unwrap();
        }
        let refused = store.commit().is_err();
        assert_eq!(refused, spare < 784, "{spare}");
        if refused {
            assert_eq!(store.read(RecordId(1)).unwrap(), b"one");
            disk.set_capacity(None);
            store.put(RecordId(9), b"nine").unwrap();
            store.commit().unwrap();
            disk.restart_process();
            assert_eq!(open(&disk, Mode::Process).1, [1, 9], "{spare}");
        }
    }
}

#[test]
fn a_read_only_file_system_is_passing() {
    let disk = DiskMem::new();
    let (mut store, _) = open(&disk, Mode::Process);
    for id in 0..30 {
        store.put(RecordId(id), &[1; 300]).unwrap();
        if id % 10 == 9 {
            disk.set_read_only(true);
            let refused = store.commit().unwrap_err();
            assert!(matches!(refused, StoreError::ReadOnly) && refused.is_passing());
            disk.set_read_only(false);
            store.put(RecordId(id), &[1; 300]).unwrap();
        }
        store.commit().unwrap();
    }
    drop(store);
    assert_eq!(open(&disk, Mode::Process).1, (0..30).collect::<Vec<_>>());
}

#[test]
fn an_idle_store_writes_nothing() {
    for mode in [Mode::Process, Mode::Sync] {
        let disk = DiskMem::new();
        drop(open(&disk, mode));
        assert_eq!(disk.operations(), 0);
        let (mut store, _) = open(&disk, mode);
        store.put(RecordId(1), b"x").unwrap();
        store.commit().unwrap();
        store.sync().unwrap();
        let operations = disk.operations();
        for _ in 0..10 {
            assert!(!store.needs_sync());
            store.commit().unwrap();
            store.sync().unwrap();
            assert!(!store.kill(RecordId(2)));
        }
        assert_eq!(disk.operations(), operations);
    }
}

#[test]
fn copying_forward_keeps_exactly_what_lives() {
    for mode in [Mode::Process, Mode::Sync] {
        let disk = DiskMem::new();
        let (mut store, _) = open(&disk, mode);
        // One long-lived record in every ten.
        for id in 0..3000u64 {
            store.put(RecordId(id), &[id as u8; 120]).unwrap();
            if id >= 30 && (id - 30) % 10 != 0 {
                assert!(store.kill(RecordId(id - 30)));
            }
            store.commit().unwrap();
            if id % 7 == 0 {
                store.sync().unwrap();
            }
        }
        store.sync().unwrap();
        let stats = store.stats();
        assert!(stats.rewritten_bytes > 0);
        let bound = 2 * stats.live_bytes + 7 * 4096;
        assert!(stats.log_bytes <= bound, "{} > {bound}", stats.log_bytes);
        let amplification = stats.write_amplification().unwrap();
        assert!(amplification < 4.0, "{amplification}");
        let live: Vec<u64> = (0..3000).filter(|id| id % 10 == 0 || *id >= 2970).collect();
        let mut seen = Vec::new();
        store.for_each_live(|id, _| seen.push(id.0)).unwrap();
        assert_eq!(seen, live);
        drop(store);
        disk.restart_machine(PowerCut::Forget);
        assert_eq!(open(&disk, mode).1, live);
    }
}

#[test]
fn many_openings_leave_few_files() {
    let disk = DiskMem::new();
    for round in 0..300u64 {
        let (mut store, ids) = open(&disk, Mode::Process);
        assert_eq!(ids.len() as u64, round);
        store.put(RecordId(round), b"small").unwrap();
        store.commit().unwrap();
        store.sync().unwrap();
    }
    let files = disk.names().len();
    assert!(files < 80, "{files} files");
}

#[test]
fn a_sync_on_another_thread_does_not_stop_commits() {
    let disk = DiskMem::new();
    let (mut store, _) = open(&disk, Mode::Process);
    store.put(RecordId(1), b"one").unwrap();
    store.commit().unwrap();
    let job = store.begin_sync().unwrap();
    store.put(RecordId(2), b"two").unwrap();
    store.commit().unwrap();
    assert!(matches!(store.begin_sync(), Err(StoreError::SyncOutstanding)));
    let done = std::thread::spawn(|| job.run()).join().unwrap();
    assert_eq!(store.finish_sync(done).unwrap(), 1);
    assert!(store.needs_sync());
    assert_eq!(store.sync().unwrap(), 2);
    drop(store);
    disk.restart_machine(PowerCut::Forget);
    assert_eq!(open(&disk, Mode::Process).1, [1, 2]);
}

#[test]
#[ignore = "needs 3 GB of memory"]
fn bounds_are_kept_from_both_sides() {
    let disk = DiskMem::new();
    let (mut store, _) = open(&disk, Mode::Process);
    let largest = vec![3; mqttd_store::MAX_RECORD_BYTES];
    store.put(RecordId(1), &largest).unwrap();
    let more = vec![3; mqttd_store::MAX_RECORD_BYTES + 1];
    assert!(matches!(store.put(RecordId(2), &more), Err(StoreError::TooLarge { .. })));
    drop(more);
    store.put(RecordId(3), &largest).unwrap();
    store.put(RecordId(4), &largest).unwrap();
    // A fourth one is more than a batch can hold; the three are still staged.
    assert!(matches!(store.put(RecordId(5), &largest), Err(StoreError::TooLarge { .. })));
    store.commit().unwrap();
    assert_eq!(store.read(RecordId(4)).unwrap().len(), largest.len());
    assert_eq!(store.stats().live_records, 3);
    assert!(store.kill(RecordId(1)) && store.kill(RecordId(3)) && store.kill(RecordId(4)));
    store.commit().unwrap();
    assert_eq!(store.stats().live_bytes, 0);
}

/// Whatever the disk does to a commit, the batch comes back as it was staged, and staging it again
/// gives the same store as if nothing had happened.
#[test]
fn a_refused_batch_comes_back_whole() {
    for mode in [Mode::Process, Mode::Sync] {
        for at_new_segment in [true, false] {
            if mode == Mode::Sync && !at_new_segment {
                continue; // the space of a segment that is begun is taken already
            }
            let disk = DiskMem::new();
            let (mut store, _) = open(&disk, mode);
            for id in 1..=5 {
                store.put(RecordId(id), &[id as u8; 40]).unwrap();
            }
            store.commit().unwrap();
            assert!(store.take_refused().is_empty());
            if at_new_segment {
                store.put(RecordId(9), &[9; 5000]).unwrap();
                store.commit().unwrap();
            }
            store.kill(RecordId(1));
            store.put(RecordId(1), b"second life").unwrap();
            store.put(RecordId(2), b"replaced").unwrap();
            store.put(RecordId(6), b"").unwrap();
            store.kill(RecordId(3));
            store.kill(RecordId(6));
            let body = |text: &str| Some(text.as_bytes().to_vec());
            let staged = vec![
                (RecordId(1), None),
                (RecordId(1), body("second life")),
                (RecordId(2), body("replaced")),
                (RecordId(6), body("")),
                (RecordId(3), None),
                (RecordId(6), None),
            ];
            disk.set_capacity(Some(used(&disk) - 1));
            assert!(matches!(store.commit(), Err(StoreError::DiskFull)), "{mode:?}");
            let refused = store.take_refused();
            assert_eq!(refused, staged, "{mode:?} {at_new_segment}");
            assert_eq!(store.read(RecordId(2)).unwrap(), [2; 40]);
            let stage = |store: &mut Store<DiskMem>| {
                for (id, body) in &refused {
                    match body {
                        Some(body) => store.put(*id, body).unwrap(),
                        None => assert!(store.kill(*id)),
                    }
                }
            };
            stage(&mut store);
            assert_eq!(store.unstage(), staged);
            assert_eq!(store.read(RecordId(2)).unwrap(), [2; 40]);
            disk.set_capacity(None);
            stage(&mut store);
            store.commit().unwrap();
            assert!(store.take_refused().is_empty());
            drop(store);
            let mut expected = vec![2, 4, 5];
            expected.extend(at_new_segment.then_some(9));
            expected.push(1);
            assert_eq!(open(&disk, mode).1, expected);
        }
    }
}
