//! The store on a real directory: reopening, the lock, newer versions, backups, unlinking.

use mqttd_store::{DiskOs, Mode, OpenReport, Options, RecordId, Store, StoreError};

type Opened = (Store<DiskOs>, Vec<(u64, Vec<u8>)>, OpenReport);

fn open(path: &std::path::Path, mode: Mode) -> Result<Opened, StoreError> {
    let mut found = Vec::new();
    let disk = DiskOs::new(path).unwrap();
    let options = Options { segment_bytes: 16 << 10, ..Options::new(mode, 42) };
    let (store, report) = Store::open(disk, options, |id, body| found.push((id.0, body.to_vec())))?;
    Ok((store, found, report))
}

#[test]
fn records_survive_reopening_in_order() {
    for mode in [Mode::Process, Mode::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, found, report) = open(dir.path(), mode).unwrap();
        assert!(found.is_empty() && report.torn.is_none() && report.holes.is_empty());
        for id in 0..10 {
            store.put(RecordId(id), format!("body {id}").as_bytes()).unwrap();
        }
        assert_eq!(store.commit().unwrap().lsn, 1);
        store.put(RecordId(3), b"replaced").unwrap();
        assert!(store.kill(RecordId(4)));
        assert!(!store.kill(RecordId(4)));
        assert_eq!(store.commit().unwrap().lsn, 2);
        assert_eq!(store.sync().unwrap(), 2);
        assert_eq!(store.read(RecordId(3)).unwrap(), b"replaced");
        assert!(matches!(store.read(RecordId(4)), Err(StoreError::NotFound { id: 4 })));
        store.put(RecordId(77), b"never committed").unwrap();
        drop(store);
        for _ in 0..3 {
            let (_store, found, report) = open(dir.path(), mode).unwrap();
            let ids: Vec<u64> = found.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
            assert_eq!(found[3].1, b"replaced");
            assert_eq!((report.records, report.lsn), (9, 2));
            assert!(report.torn.is_none() && report.holes.is_empty(), "{report:?}");
        }
    }
}

#[test]
fn the_second_opener_is_told_who_holds_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ..) = open(dir.path(), Mode::Process).unwrap();
    match open(dir.path(), Mode::Process).err() {
        Some(StoreError::Locked { holder }) => {
            assert_eq!(holder, format!("process {}", std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    drop(store);
    open(dir.path(), Mode::Process).unwrap();
}

#[test]
fn a_steady_flow_keeps_the_directory_small() {
    for mode in [Mode::Process, Mode::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, ..) = open(dir.path(), mode).unwrap();
        store.put(RecordId(u64::MAX), b"a survivor").unwrap();
        for turn in 0..3000u64 {
            store.put(RecordId(turn), &[turn as u8; 200]).unwrap();
            if turn >= 5 {
                assert!(store.kill(RecordId(turn - 5)));
            }
            store.commit().unwrap();
            if mode == Mode::Sync || turn % 50 == 0 {
                store.sync().unwrap();
            }
        }
        store.sync().unwrap();
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert!(files < 16, "{files} files");
        drop(store);
        let (_store, found, report) = open(dir.path(), mode).unwrap();
        assert_eq!(found.len(), 6);
        assert_eq!(found[0], (u64::MAX, b"a survivor".to_vec()));
        assert!(report.torn.is_none() && report.holes.is_empty(), "{report:?}");
    }
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, ..) = open(dir.path(), Mode::Process).unwrap();
    store.put(RecordId(1), b"x").unwrap();
    store.commit().unwrap();
    drop(store);
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let path = names.into_iter().find(|p| p.extension().is_some_and(|e| e == "log")).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 2;
    let sum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    match open(dir.path(), Mode::Process).err() {
        Some(StoreError::NewerFormat { file, version: 2 }) => {
            assert_eq!(file, path.file_name().unwrap().to_str().unwrap());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backup_taken_while_writing_is_the_committed_state() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut store, ..) = open(dir.path(), Mode::Process).unwrap();
    for id in 0..500 {
        store.put(RecordId(id), &[1; 100]).unwrap();
    }
    store.commit().unwrap();
    store.put(RecordId(9000), b"staged").unwrap();
    let snapshot = store.snapshot();
    for id in 0..500 {
        store.kill(RecordId(id));
    }
    store.commit().unwrap();
    store.sync().unwrap();
    let to = DiskOs::new(copy.path()).unwrap();
    assert!(snapshot.copy_to(&to).unwrap() > 50_000);
    assert!(matches!(snapshot.copy_to(&to), Err(StoreError::Mixed { .. })));
    drop(snapshot);
    let (_store, found, report) = open(copy.path(), Mode::Process).unwrap();
    assert_eq!(found.len(), 500);
    assert!(report.torn.is_none() && report.holes.is_empty(), "{report:?}");
}
