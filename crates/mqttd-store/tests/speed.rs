//! Prints what the store costs: `cargo test --release -p mqttd-store --test speed -- --ignored
//! --nocapture`.
//! Judges nothing; wall time on a shared machine is no verdict.

use std::time::Instant;

use mqttd_store::{DiskOs, Mode, Options, RecordId, Store};

const BATCH: u64 = 64;

fn open(path: &std::path::Path, mode: Mode) -> Store<DiskOs> {
    let disk = DiskOs::new(path).unwrap();
    let options = Options { segment_bytes: 16 << 20, ..Options::new(mode, 1) };
    Store::open(disk, options, |_, _| {}).unwrap().0
}

/// An online flow: every record dies one batch later.
fn flow(mode: Mode, batches: u64, sync_every: u64) {
    let dir = tempfile::tempdir_in(".").unwrap();
    let mut store = open(dir.path(), mode);
    let body = [7; 64];
    let start = Instant::now();
    for batch in 0..batches {
        for at in 0..BATCH {
            store.put(RecordId(batch * BATCH + at), &body).unwrap();
            if batch > 0 {
                store.kill(RecordId((batch - 1) * BATCH + at));
            }
        }
        store.commit().unwrap();
        if batch % sync_every == 0 {
            store.sync().unwrap();
        }
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / (batches * BATCH) as f64;
    let factor = store.stats().write_amplification().unwrap();
    println!(
        "{mode:?}, sync every {sync_every}: {each:.3} µs per put + kill, {factor:.2} bytes written \
         per byte put"
    );
}

#[test]
#[ignore = "measures"]
fn put_kill_commit() {
    flow(Mode::Process, 20_000, 1_000);
    flow(Mode::Process, 20_000, 1_000_000);
    flow(Mode::Sync, 2_000, 1);
}

#[test]
#[ignore = "measures"]
fn open_a_million() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let mut store = open(dir.path(), Mode::Process);
    let body = [7; 64];
    let start = Instant::now();
    for id in 0..1_000_000 {
        store.put(RecordId(id), &body).unwrap();
        if id % BATCH == BATCH - 1 {
            store.commit().unwrap();
        }
    }
    store.commit().unwrap();
    println!("1 M records written in {:.3} s", start.elapsed().as_secs_f64());
    let bytes = store.stats().log_bytes;
    drop(store);
    for _ in 0..3 {
        let disk = DiskOs::new(dir.path()).unwrap();
        let (start, mut count) = (Instant::now(), 0);
        let (_store, report) =
            Store::open(disk, Options::new(Mode::Process, 1), |_, _| count += 1).unwrap();
        assert_eq!((count, report.records), (1_000_000, 1_000_000));
        println!("1 M records, {bytes} bytes, opened in {:.3} s", start.elapsed().as_secs_f64());
    }
}
