//! What is read at a start or an import: the log of a shard, Mosquitto's database.

use std::collections::BTreeMap;

use mqttd_core::restore::Restore;
use mqttd_store::{DiskMem, Mode, Options, RecordId, Store};

use crate::mosquitto_db::{Chunk, begin, read};

const SALT: u64 = 7;

fn options() -> Options {
    Options { segment_bytes: 4096, reserve_bytes: 0, ..Options::new(Mode::Process, SALT) }
}

/// A disk with a log of a few records, and the name of its first segment.
fn sample() -> (DiskMem, String) {
    let disk = DiskMem::new();
    let (mut store, _) = Store::open(disk.clone(), options(), |_, _| ()).expect("an empty disk");
    for id in 1..=6_u64 {
        let body: Vec<u8> = (0..id * 9).map(|byte| byte as u8).collect();
        store.put(RecordId(id), &body).expect("a small record");
        if id % 2 == 0 {
            store.kill(RecordId(id - 1));
            store.commit().expect("a disk without faults");
        }
    }
    store.sync().expect("a disk without faults");
    drop(store);
    let mut names = disk.names().into_iter();
    let name = names.find(|name| name.ends_with(".log")).expect("a segment was written");
    (disk, name)
}

/// The bytes of a segment as a store writes it.
pub fn store_segment() -> Vec<u8> {
    let (disk, name) = sample();
    disk.content(&name)
}

/// Whatever stands in a segment, the store opens or says why not; what it has opened can be
/// written, and after another start it holds exactly that. A shard takes what it finds.
pub fn store_recovery(bytes: &[u8]) {
    let (disk, name) = sample();
    disk.set_content(&name, bytes.to_vec());
    let mut found = BTreeMap::new();
    let mut restore = Restore::default();
    let opened = Store::open(disk.clone(), options(), |id, body| {
        assert!(found.insert(id, body.to_vec()).is_none(), "handed over twice: {id:?}");
        // What can't be read is counted and ends the start; see mqttd-durability.
        let _ = restore.record(mqttd_core::ids::RecordId(id.0), body);
    });
    let Ok((mut store, report)) = opened else { return };
    assert_eq!(report.records as usize, found.len());
    let new = RecordId(u64::MAX);
    store.put(new, b"new").expect("a small record");
    found.insert(new, b"new".to_vec());
    store.commit().expect("a disk without faults");
    drop(store);
    let mut again = BTreeMap::new();
    Store::open(disk, options(), |id, body| {
        again.insert(id, body.to_vec());
    })
    .expect("what could be opened and written can be opened");
    assert_eq!(again, found, "another start finds something else");
}

pub(crate) fn store_seeds() -> Vec<Vec<u8>> {
    let whole = store_segment();
    let cut = whole[..whole.len() * 2 / 3].to_vec();
    let mut flipped = whole.clone();
    if let Some(byte) = flipped.get_mut(60) {
        *byte ^= 16;
    }
    vec![whole, cut, flipped, Vec::new()]
}

/// Mosquitto's database is read to its end or to the damage, chunk by chunk; what was read can be
/// written and says the same.
pub fn mosquitto_db(bytes: &[u8]) {
    let mut held = 0;
    let mut chunks = Vec::new();
    let result = read(bytes, |chunk| {
        held += match &chunk {
            Chunk::Client(client) => client.id.len() + client.username.len(),
            Chunk::ClientMessage(message) => message.client_id.len() + message.properties.len(),
            _ => 0,
        };
        chunks.push(chunk);
    });
    chunks.retain(|chunk| *chunk != Chunk::Other);
    let mut written = Vec::new();
    begin(&mut written, 0);
    chunks.iter().for_each(|chunk| chunk.write(&mut written).expect("it came from a file"));
    let mut again = Vec::new();
    read(&written, |chunk| again.push(chunk)).expect("written as it must be");
    assert_eq!(again.get(1..), Some(&chunks[..]), "read again, it says something else");
    assert!(held <= bytes.len(), "more than the file holds");
    if let Err(error) = result {
        assert!(!error.to_string().is_empty());
    }
}

pub(crate) fn mosquitto_seeds() -> Vec<Vec<u8>> {
    let chunk = |kind: u32, body: &[u8]| {
        [&kind.to_be_bytes()[..], &(body.len() as u32).to_be_bytes(), body].concat()
    };
    let file = |version: u32, chunks: &[Vec<u8>]| {
        let head = [&b"\0\xB5\0mosquitto db"[..], &[0; 4], &version.to_be_bytes()].concat();
        [&[head][..], chunks].concat().concat()
    };
    let configuration = chunk(1, &[1, 0, 0, 0, 0, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0]);
    let mut client = vec![0; 24];
    client[15] = 2;
    client.extend_from_slice(b"c1");
    let mut subscription = vec![0, 0, 0, 0, 0, 2, 0, 1, 1, 0, 0, 0];
    subscription.extend_from_slice(b"c1a");
    let mut message = vec![0; 32];
    message[0] = 9;
    message.extend_from_slice(b"topicpayload");
    let parts = [configuration, chunk(6, &client), chunk(5, &subscription), chunk(2, &message)];
    vec![file(6, &parts), file(5, &parts), file(6, &parts[..1]), chunk(4, &[0; 8])]
}
