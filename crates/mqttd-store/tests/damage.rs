//! Decay of stored bytes: whatever is damaged, nothing wrong is handed out, what stands beside it
//! is kept,
//! and the place is reported.

use std::collections::BTreeMap;

use mqttd_store::{DiskMem, HoleKind, Mode, OpenReport, Options, RecordId, Store, StoreError};

fn options() -> Options {
    Options { segment_bytes: 1 << 20, reserve_bytes: 0, ..Options::new(Mode::Process, 99) }
}

fn small() -> Options {
    Options { segment_bytes: 4096, rewrite_bytes: 0, ..options() }
}

fn body(id: u64) -> Vec<u8> {
    vec![id as u8; 40 + (id as usize * 7) % 60]
}

fn open(disk: &DiskMem) -> (Store<DiskMem>, BTreeMap<u64, Vec<u8>>, OpenReport) {
    let mut found = BTreeMap::new();
    let (store, report) = Store::open(disk.clone(), small(), |id, body| {
        assert!(found.insert(id.0, body.to_vec()).is_none(), "{id:?} twice");
    })
    .unwrap();
    (store, found, report)
}

/// A store of `batches` batches of three records each, ids counting up from 0.
fn written(options: Options, batches: u64) -> DiskMem {
    let disk = DiskMem::new();
    let (mut store, _) = Store::open(disk.clone(), options, |_, _| {}).unwrap();
    for batch in 0..batches {
        for id in batch * 3..batch * 3 + 3 {
            store.put(RecordId(id), &body(id)).unwrap();
        }
        store.commit().unwrap();
    }
    store.sync().unwrap();
    drop(store);
    disk.copy()
}

fn log_names(disk: &DiskMem) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".log")).collect()
}

/// Bytes of each record's frame: id → (offset, length), found by its body.
fn frames(bytes: &[u8], ids: u64) -> BTreeMap<u64, (usize, usize)> {
    let place = |id: u64| {
        let mut head = (id.to_le_bytes()).to_vec();
        head.extend(body(id));
        let at = bytes.windows(head.len()).position(|window| window == head).unwrap();
        (id, (at - 8, 16 + body(id).len().next_multiple_of(8)))
    };
    (0..ids).map(place).collect()
}

#[test]
fn a_flipped_bit_costs_at_most_its_record_and_is_reported() {
    let disk = written(options(), 5);
    let [name] = &log_names(&disk)[..] else { panic!("one segment") };
    let clean = disk.content(name);
    let frames = frames(&clean, 15);
    let last_batch = frames[&12].0 - 32;
    for at in 0..clean.len() {
        let mut bytes = clean.clone();
        bytes[at] ^= 1 << (at % 8);
        let disk = disk.copy();
        disk.set_content(name, bytes);
        let (_store, found, report) = open(&disk);
        assert!(found.iter().all(|(id, b)| *b == body(*id)), "byte {at}: wrong data");
        let expected = |id: &u64| {
            let (from, length) = frames[id];
            let hit = (from..from + length).contains(&at);
            !hit && (at < last_batch || *id < 12)
        };
        let expected: Vec<u64> = (0..15).filter(expected).collect();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), expected, "byte {at}: {report:?}");
        if at < last_batch {
            let [hole] = &report.holes[..] else { panic!("byte {at}: {report:?}") };
            let place = hole.offset as usize..(hole.offset + hole.bytes) as usize;
            assert!(hole.file == *name && place.contains(&at), "byte {at}: {hole}");
        } else {
            let torn = report.torn.as_ref().unwrap_or_else(|| panic!("byte {at}: {report:?}"));
            assert_eq!(torn.offset as usize, last_batch, "byte {at}");
        }
    }
}

#[test]
fn a_zeroed_page_hides_nothing_behind_it() {
    let disk = written(options(), 60);
    let [name] = &log_names(&disk)[..] else { panic!("one segment") };
    let clean = disk.content(name);
    let frames = frames(&clean, 180);
    let last_batch = frames[&177].0 - 32;
    for from in (0..last_batch - 4096).step_by(256) {
        let mut bytes = clean.clone();
        bytes[from..from + 4096].fill(0);
        let disk = disk.copy();
        disk.set_content(name, bytes);
        let (_store, found, report) = open(&disk);
        for (id, (at, length)) in &frames {
            let untouched = at + length <= from || *at >= from + 4096;
            let kept = found.get(id) == Some(&body(*id));
            assert_eq!(kept, untouched, "page at {from}, record {id}: {report:?}");
        }
        assert!(!report.holes.is_empty() && report.torn.is_none(), "page at {from}");
    }
}

#[test]
fn damage_at_the_end_of_a_full_segment_is_not_a_torn_tail() {
    let disk = written(small(), 60);
    let names = log_names(&disk);
    assert!(names.len() > 3);
    let mut bytes = disk.content(&names[1]);
    let end = bytes.len();
    bytes[end - 20] ^= 4;
    disk.set_content(&names[1], bytes);
    let (_store, found, report) = open(&disk);
    assert_eq!(found.len(), 179);
    assert!(report.torn.is_none());
    assert!(matches!(
        report.holes[..],
        [mqttd_store::Hole { kind: HoleKind::Frames { lost: 1, of: 3, .. }, .. }]
    ));
}

#[test]
fn a_missing_file_is_reported_and_the_others_are_read() {
    for missing in 0..3 {
        let disk = written(small(), 60);
        let names = log_names(&disk);
        let kept = DiskMem::new();
        for name in names.iter().filter(|name| **name != names[missing]) {
            kept.set_content(name, disk.content(name));
        }
        let lost = frames_of(&disk.content(&names[missing]));
        let (mut store, found, report) = open(&kept);
        assert_eq!(found.len(), 180 - lost);
        assert_eq!(report.holes.len(), 1, "{report:?}");
        // The store goes on. That it does not begin with its first segment is told once.
        store.put(RecordId(999), b"next").unwrap();
        store.commit().unwrap();
        drop(store);
        let (_store, found, again) = open(&kept);
        assert_eq!(found.len(), 181 - lost);
        assert_eq!(again.holes, if missing == 0 { vec![] } else { report.holes });
    }
}

/// Records in the bytes of a segment, counted by their bodies.
fn frames_of(bytes: &[u8]) -> usize {
    let present = |id: &u64| {
        let mut head = (id.to_le_bytes()).to_vec();
        head.extend(body(*id));
        bytes.windows(head.len()).any(|window| window == head)
    };
    (0..180).filter(present).count()
}

#[test]
fn damage_after_opening_is_seen_when_a_record_is_read() {
    let disk = written(options(), 2);
    let [name] = &log_names(&disk)[..] else { panic!("one segment") };
    let (mut store, ..) = open(&disk);
    let mut bytes = disk.content(name);
    let at = frames(&bytes, 6)[&2].0 + 20;
    bytes[at] ^= 1;
    disk.set_content(name, bytes);
    assert_eq!(store.read(RecordId(1)).unwrap(), body(1));
    assert!(matches!(store.read(RecordId(2)), Err(StoreError::Damaged { id: 2, .. })));
    let mut seen = Vec::new();
    store.for_each_live(|id, _| seen.push(id.0)).unwrap();
    assert_eq!(seen, [0, 1, 3, 4, 5]);
    assert!(matches!(
        store.take_damage()[..],
        [mqttd_store::Hole { kind: HoleKind::Records { lost: 1 }, .. }]
    ));
    assert_eq!(store.stats().damaged_records, 1);
}

#[test]
fn damage_in_what_is_copied_forward_is_told() {
    let disk = DiskMem::new();
    let options = Options { rewrite_bytes: 1 << 20, ..small() };
    let (mut store, _) = Store::open(disk.clone(), options, |_, _| {}).unwrap();
    store.put(RecordId(1), b"kept").unwrap();
    store.put(RecordId(2), b"spoilt").unwrap();
    store.commit().unwrap();
    let name = log_names(&disk)[0].clone();
    let mut bytes = disk.content(&name);
    let at = bytes.windows(6).position(|window| window == b"spoilt").unwrap();
    bytes[at] ^= 1;
    disk.set_content(&name, bytes);
    for turn in 0..400 {
        store.put(RecordId(3), &[turn as u8; 100]).unwrap();
        store.commit().unwrap();
    }
    assert!(matches!(
        store.take_damage()[..],
        [mqttd_store::Hole { kind: HoleKind::Records { lost: 1 }, .. }]
    ));
    assert_eq!(store.read(RecordId(1)).unwrap(), b"kept");
    assert!(matches!(store.read(RecordId(2)), Err(StoreError::NotFound { .. })));
}

#[test]
fn files_that_do_not_belong_together_are_refused_or_left_alone() {
    let disk = written(small(), 20);
    let names = log_names(&disk);
    let foreign = written(Options { salt: 100, ..small() }, 5);
    let other = log_names(&foreign)[0].clone();
    let mixed = disk.copy();
    mixed.set_content(&other, foreign.content(&other));
    assert!(matches!(Store::open(mixed, small(), |_, _| {}).err(), Some(StoreError::Mixed { .. })));
    // A file under another segment's name is not read, and not removed either.
    let renamed = disk.copy();
    let stray = names[0].replacen("00000001", "00000900", 1);
    renamed.set_content(&stray, disk.content(&names[1]));
    let (mut store, found, report) = open(&renamed);
    assert_eq!(found.len(), 60);
    assert!(matches!(
        report.holes[..],
        [mqttd_store::Hole { kind: HoleKind::Misnamed { says: 2 }, .. }]
    ));
    store.put(RecordId(500), b"x").unwrap();
    store.commit().unwrap();
    store.sync().unwrap();
    assert!(renamed.names().contains(&stray));
}

/// A body made of what looks like beginnings of long frames must not make the search for real ones
/// endless.
#[test]
fn a_hostile_body_does_not_stall_opening() {
    let disk = DiskMem::new();
    let (mut store, _) = Store::open(disk.clone(), options(), |_, _| {}).unwrap();
    let word = (2u32 << 29 | 1 << 21).to_le_bytes();
    let hostile: Vec<u8> = word.iter().copied().cycle().take(6 << 20).collect();
    store.put(RecordId(1), b"before").unwrap();
    store.put(RecordId(2), &hostile).unwrap();
    store.put(RecordId(3), b"behind").unwrap();
    store.commit().unwrap();
    store.put(RecordId(4), b"later").unwrap();
    store.commit().unwrap();
    drop(store);
    let name = log_names(&disk)[0].clone();
    let mut bytes = disk.content(&name);
    // The length of the hostile record's frame is gone, too.
    let at = bytes.windows(16).position(|window| window == &hostile[..16]).unwrap();
    bytes[at - 12..at].fill(0xff);
    disk.set_content(&name, bytes);
    let start = std::time::Instant::now();
    let (mut store, report) = Store::open(disk, options(), |_, _| {}).unwrap();
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    assert!(!report.holes.is_empty());
    assert_eq!(store.read(RecordId(1)).unwrap(), b"before");
    assert_eq!(store.read(RecordId(4)).unwrap(), b"later");
    assert!(!store.contains(RecordId(2)));
}

/// Random damage anywhere: no panic, nothing invented, and the store goes on.
#[test]
fn random_damage_is_survived() {
    let disk = written(small(), 60);
    let seed = 0x1234_5678_9abc_def1u64;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..1500 {
        let disk = disk.copy();
        for _ in 0..=random.usize(..3) {
            let names = log_names(&disk);
            let name = &names[random.usize(..names.len())];
            let mut bytes = disk.content(name);
            let at = random.usize(..bytes.len());
            let length = random.usize(1..=700).min(bytes.len() - at);
            match random.u8(..4) {
                0 => bytes[at..at + length].fill(random.u8(..)),
                1 => bytes.truncate(at),
                2 => bytes[at] ^= 1 << random.u8(..8),
                _ => drop(bytes.splice(at..at + length, [7, 7, 7])),
            }
            disk.set_content(name, bytes);
        }
        let (mut store, found, _) = open(&disk);
        assert!(found.iter().all(|(id, b)| *b == body(*id)), "round {round}");
        store.put(RecordId(999), b"next").unwrap();
        store.commit().unwrap();
        drop(store);
        let (_store, again, _) = open(&disk);
        let before: Vec<_> = found.keys().copied().chain([999]).collect();
        assert_eq!(again.keys().copied().collect::<Vec<_>>(), before, "round {round}");
    }
}
