//! `check` and `stats`: reading everything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use mqttd_core::ids::{RecordId, SessionUid, ShardId};
use mqttd_core::record::Record;

use super::{Verdict, files};

/// How many of the sessions with most waiting messages `stats` lists.
const LONGEST_QUEUES: usize = 10;

/// What a shard's records are.
#[derive(Default)]
struct Survey {
    kinds: BTreeMap<&'static str, (u64, u64)>,
    unreadable: Vec<RecordId>,
    sessions: HashMap<SessionUid, String>,
    /// Whose, and what refers to them.
    sessions_named: HashSet<SessionUid>,
    messages: HashSet<RecordId>,
    messages_named: HashSet<RecordId>,
    /// Messages that wait, by session.
    waiting: HashMap<SessionUid, u64>,
}

impl Survey {
    fn record(&mut self, id: RecordId, body: &[u8]) {
        let Ok(record) = Record::decode(body) else { return self.unreadable.push(id) };
        let name = match record {
            Record::Session(session) => {
                self.sessions.insert(SessionUid(id.0), session.client_id.to_owned());
                "sessions"
            }
            Record::Subscription { session, .. } => {
                self.sessions_named.insert(session);
                "subscriptions"
            }
            Record::Message { entries, .. } => {
                self.messages.insert(id);
                for entry in Record::entries(entries) {
                    self.sessions_named.insert(entry.session);
                    *self.waiting.entry(entry.session).or_default() += 1;
                }
                "messages"
            }
            Record::Done { message, .. } => {
                self.messages_named.insert(message);
                "deliveries"
            }
            Record::Sent { session, message, .. } => {
                self.sessions_named.insert(session);
                self.messages_named.insert(message);
                "messages sent"
            }
            Record::Released { session, .. } => {
                self.sessions_named.insert(session);
                "messages released"
            }
            Record::Received { session, .. } => {
                self.sessions_named.insert(session);
                "messages received"
            }
            Record::Begun { session, .. } => {
                self.sessions_named.insert(session);
                "messages begun"
            }
            Record::Settled { .. } => "ends of exchanges",
            Record::Retained(..) => "retained messages",
            Record::Will { session, .. } => {
                self.sessions_named.insert(session);
                "wills"
            }
        };
        let (count, bytes) = self.kinds.entry(name).or_default();
        *count += 1;
        *bytes += body.len() as u64;
    }

    /// Things that are spoken of and are not there.
    fn dangling(&self) -> usize {
        let no_session =
            self.sessions_named.iter().filter(|uid| !self.sessions.contains_key(uid)).count();
        let no_message = self.messages_named.difference(&self.messages).count();
        no_session + no_message
    }
}

/// Reads everything; one line for each shard and one for each thing that is wrong.
pub(super) fn check(dir: &Path) -> anyhow::Result<Verdict> {
    let (folder, shards) = files::find(dir)?;
    let mut verdict = Verdict::Good;
    for shard in (0..shards).map(ShardId) {
        let mut survey = Survey::default();
        let (report, _) = files::read(&folder, shard, |id, body| survey.record(id, body))?;
        let place = folder.of_shard(shard);
        let place = place.display();
        println!(
            "{place}: {} records in {} batches, {} segments, {} bytes",
            report.records, report.batches, report.segments, report.bytes
        );
        if let Some(torn) = &report.torn {
            // What a crash leaves; nothing of it was acknowledged.
            println!("{place}: torn tail: {torn}");
        }
        for hole in &report.holes {
            println!("{place}: damage: {hole}");
        }
        for id in &survey.unreadable {
            println!("{place}: record {:#x} is of a kind or form this version can't read", id.0);
        }
        let dangling = survey.dangling();
        if dangling > 0 {
            println!(
                "{place}: {dangling} sessions or messages are spoken of and are not there; the \
                 broker removes what speaks of them"
            );
        }
        if !report.holes.is_empty() || !survey.unreadable.is_empty() {
            verdict = Verdict::Damaged;
        }
    }
    println!("{}", if verdict == Verdict::Good { "No damage." } else { "Damaged." });
    Ok(verdict)
}

/// What the store holds.
pub(super) fn stats(dir: &Path) -> anyhow::Result<Verdict> {
    let (folder, shards) = files::find(dir)?;
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let (mut log, mut live, mut segments) = (0, 0, 0);
    let mut queues = Vec::new();
    for shard in (0..shards).map(ShardId) {
        let mut survey = Survey::default();
        let (_, stats) = files::read(&folder, shard, |id, body| survey.record(id, body))?;
        for (name, (count, bytes)) in &survey.kinds {
            let sum = kinds.entry(name).or_default();
            *sum = (sum.0 + count, sum.1 + bytes);
        }
        log += stats.log_bytes;
        live += stats.live_bytes;
        segments += stats.segments;
        let waiting = survey.waiting.iter();
        queues.extend(
            waiting.filter_map(|(uid, count)| Some((*count, survey.sessions.get(uid)?.clone()))),
        );
    }
    println!("shards                {shards}");
    println!("segments              {segments}");
    println!("bytes of log          {log}");
    println!("bytes of live records {live}");
    for (name, (count, bytes)) in kinds {
        println!("{name:21} {count} ({bytes} bytes)");
    }
    queues.sort_unstable_by(|a, b| b.cmp(a));
    for (count, client_id) in queues.iter().take(LONGEST_QUEUES) {
        println!("waiting for {client_id}: {count}");
    }
    Ok(Verdict::Good)
}
