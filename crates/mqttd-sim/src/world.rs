//! The world: carries out a plan, step by step, and lets time pass in between.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mqtt_proto::codec::Frame;
use mqtt_proto::packet::{Packet, PacketType};
use mqtt_proto::{QoS, Version};
use mqttd_core::limits::OUTPUT_BYTES_MAX;

use crate::body::{Item, State};
use crate::broker::{Broker, Trap};
use crate::checks;
use crate::client::Client;
use crate::dice::Dice;
use crate::history::{Connection, Copy, Fact, History, Sent};
use crate::packets::{self, Hello};
use crate::plan::{Crash, DiskFault, FILTERS, Plan, ROGUE, Scene, Step, TOPICS, WATCHER};

/// Who looks at the retained messages at the end.
pub(crate) const FRESH: usize = ROGUE + 1;

/// The largest packet of a run, for bounds that one packet may pass.
const PACKET_BYTES_MAX: usize = 4096;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which checker says so.
    pub checker: &'static str,
    /// In its words.
    pub words: String,
}

/// What a run came to.
pub struct Report {
    /// The same in every run of the plan.
    pub trace: u64,
    /// What happened.
    pub history: History,
    /// The first promise that was broken.
    pub failure: Option<Failure>,
}

/// Carries out a plan and checks every promise.
pub fn run(plan: &Plan) -> Report {
    let mut world = World::new(plan);
    // The core must not panic, whatever happens: that is a promise too.
    let result = catch_unwind(AssertUnwindSafe(|| world.run(plan)));
    let mut history = std::mem::take(&mut world.history);
    let failure = match result {
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
            Some(Failure { checker: "panic", words: text.unwrap_or_default() })
        }
        Ok(Err(failure)) => Some(failure),
        Ok(Ok(())) => None,
    };
    let failure = match (history.offences.first(), failure) {
        (Some((checker, words)), None) => Some(Failure { checker, words: words.clone() }),
        (_, found) => found,
    };
    let failure = failure.or_else(|| checks::check(&plan.scene, &history));
    history.offences.clear();
    Report { trace: history.trace(), history, failure }
}

/// See the file's head.
pub(crate) struct World {
    pub(crate) scene: Scene,
    pub(crate) broker: Broker,
    pub(crate) clients: Vec<Client>,
    rogue: Option<usize>,
    rogue_reads: bool,
    rogue_unread: Vec<u8>,
    pub(crate) history: History,
    pub(crate) dice: Dice,
    pub(crate) now: u64,
    /// How the broker dies when a trap closes, and what follows.
    pub(crate) dying: Option<(Crash, u64, i64, Option<u64>)>,
    start_at: Option<u64>,
    /// A start has failed on a damaged log: there is no broker any more.
    pub(crate) is_over: bool,
    watched_at: u64,
    pub(crate) watches: bool,
    /// Messages and bytes in all queues after the last start.
    found: (u64, u64),
}

impl World {
    fn new(plan: &Plan) -> Self {
        let scene = plan.scene.clone();
        let mut history = History::default();
        history.acls = vec![Vec::new(); usize::from(scene.shards)];
        let mut clients: Vec<_> = (0..=FRESH).map(|who| Client::new(who, scene.people)).collect();
        clients[FRESH].name = "fresh".into();
        clients[FRESH].persists = false;
        history.is_told = clients.iter().map(|client| client.version == Version::V5).collect();
        history.packet_max = clients.iter().map(Client::packet_max).collect();
        let mut broker = Broker::new(scene.clone(), plan.seed);
        broker.start(&mut history).expect("an empty disk can be opened");
        Self {
            scene,
            broker,
            clients,
            rogue: None,
            rogue_reads: true,
            rogue_unread: Vec::new(),
            history,
            dice: Dice::new(plan.seed ^ 0xd1ce),
            now: 0,
            dying: None,
            start_at: None,
            is_over: false,
            watched_at: 0,
            watches: true,
            found: (0, 0),
        }
    }

    fn run(&mut self, plan: &Plan) -> Result<(), Failure> {
        while !self.is_watching() {
            self.pass(1);
        }
        for step in &plan.steps {
            self.history.note(self.now, Fact::Step { step: format!("{step:?}") });
            let is_there = step.actor().is_none_or(|who| self.clients[who].is_connected());
            if is_there && self.broker.is_up() {
                for kind in step.kinds() {
                    *self.history.tally.entry(kind).or_default() += 1;
                }
            }
            self.act(step);
            self.pass(0);
            if self.is_over || !self.history.offences.is_empty() {
                return Ok(());
            }
        }
        self.history.note(self.now, Fact::Step { step: "everybody comes back".into() });
        self.finish()?;
        if !self.is_over && self.history.offences.is_empty() {
            self.audit()?;
            self.clear()?;
        }
        self.history.dropped += self.broker.stats().dropped_total();
        Ok(())
    }

    // === Steps ===

    fn act(&mut self, step: &Step) {
        match step {
            Step::Connect { who, clean, will_delay } => self.connect(*who, *clean, *will_delay),
            Step::Publish { who, topic, qos, bytes, expires } => {
                let topic = TOPICS[*topic];
                let expires = *expires && self.clients[*who].version == Version::V5;
                self.publish(*who, topic.into(), *qos, *bytes, (false, false, expires));
            }
            Step::Retain { who, clears } => {
                // One QoS for each topic: the order between two is nobody's promise.
                let qos = if who % 2 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
                self.publish(*who, format!("r/{who}"), qos, 0, (true, *clears, false));
            }
            Step::Subscribe { who, filter, qos, no_local } => {
                self.subscribe(*who, FILTERS[*filter], *qos, *no_local);
            }
            Step::SubscribeRetained { who } => self.subscribe(*who, "r/#", QoS::AtLeastOnce, false),
            Step::Unsubscribe { who, filter } => self.unsubscribe(*who, FILTERS[*filter]),
            Step::Leave { who, with_will } => self.leave(*who, *with_will),
            Step::Cut { who } => self.cut(*who, true),
            Step::Vanish { who } => self.cut(*who, false),
            Step::HalfClose { who } => {
                if let Some(link) = self.clients[*who].link {
                    self.broker.links[link].to_broker.end(self.now);
                }
            }
            Step::StopReading { who } => self.clients[*who].reads = false,
            Step::ReadAgain { who } => self.clients[*who].reads = true,
            Step::HoldAnswers { who } => self.clients[*who].holds_answers(),
            Step::GiveAnswers { who } => self.give_answers(*who),
            Step::Lag { who, millis } => self.set_lag(*who, *millis),
            Step::Offend { number } => self.offend(*number),
            Step::Reload { acl } if self.scene.has_acl => self.broker.reload(*acl),
            Step::Reload { .. } => {}
            Step::Disk { fault } => self.break_disk(*fault),
            Step::Heal => self.heal(),
            Step::Crash { how, away, jump, flips } => self.crash(*how, *away, *jump, *flips),
            Step::Pass { millis } => self.pass(*millis),
        }
    }

    pub(crate) fn connect(&mut self, who: usize, clean: bool, will_delay: u32) {
        self.connect_to(who, clean, will_delay, false);
    }

    pub(crate) fn connect_to(&mut self, who: usize, clean: bool, will_delay: u32, ends: bool) {
        // The connection of before goes on at the broker, until the new one takes its place.
        if let Some(old) = self.clients[who].link {
            self.broker.links[old].to_client.is_dead = true;
        }
        let link = self.open(who);
        let client = &mut self.clients[who];
        client.ends = ends;
        let bytes = client.connect(link, (clean, will_delay), self.now, &mut self.history);
        self.broker.links[link].to_broker.send(bytes, self.now);
    }

    /// Everybody who keeps to the rules from the beginning to the end.
    pub(crate) fn people(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.scene.actors).chain([WATCHER])
    }

    fn open(&mut self, who: usize) -> usize {
        let link = self.broker.open(who, self.clients[who].lag);
        self.broker.links[link].version = self.clients[who].version;
        if !self.broker.is_up() {
            self.broker.links[link].to_client.end(self.now);
        }
        self.history.connections.push(Connection {
            who,
            clean: true,
            will: None,
            delay_millis: 0,
            session_millis: 0,
            admitted_at: None,
            admitted: 0,
            ended: None,
        });
        link
    }

    pub(crate) fn publish(
        &mut self,
        who: usize,
        topic: String,
        qos: QoS,
        bytes: usize,
        (retain, clears, expires): (bool, bool, bool),
    ) {
        let Some(link) = self.clients[who].link else { return };
        if !self.clients[who].is_connected() {
            return;
        }
        let message = self.history.sent.len();
        self.history.sent.push(Sent {
            publisher: who,
            topic,
            qos,
            retain,
            bytes,
            expires,
            clears,
            first: usize::MAX,
            first_at: u64::MAX,
            attempts: Vec::new(),
            is_repeated: false,
            kept: None,
        });
        let link = &mut self.broker.links[link];
        self.clients[who].publishes(message, link, self.now, &mut self.history);
    }

    pub(crate) fn subscribe(&mut self, who: usize, filter: &'static str, qos: QoS, no_local: bool) {
        let Some(link) = self.clients[who].link else { return };
        if self.clients[who].is_connected() {
            let link = &mut self.broker.links[link];
            let what = (filter, qos, no_local);
            self.clients[who].subscribes(what, link, self.now, &mut self.history);
        }
    }

    pub(crate) fn unsubscribe(&mut self, who: usize, filter: &'static str) {
        let Some(link) = self.clients[who].link else { return };
        if self.clients[who].is_connected() {
            let link = &mut self.broker.links[link];
            self.clients[who].unsubscribes(filter, link, self.now, &mut self.history);
        }
    }

    pub(crate) fn leave(&mut self, who: usize, with_will: bool) {
        let Some(link) = self.clients[who].link else { return };
        self.clients[who].leaves(with_will, &mut self.broker.links[link], self.now);
    }

    /// The connection breaks; `is_told`: the broker learns of it at once.
    pub(crate) fn cut(&mut self, who: usize, is_told: bool) {
        let Some(link) = self.clients[who].link else { return };
        let link = &mut self.broker.links[link];
        link.to_broker.is_dead = true;
        link.to_client.is_dead = true;
        link.is_broken = is_told;
        self.clients[who].is_gone(self.now, &mut self.history);
    }

    pub(crate) fn set_lag(&mut self, who: usize, millis: u64) {
        self.clients[who].lag = millis;
        if let Some(link) = self.clients[who].link {
            self.broker.links[link].to_broker.lag = millis;
            self.broker.links[link].to_client.lag = millis;
        }
    }

    pub(crate) fn give_answers(&mut self, who: usize) {
        if let Some(link) = self.clients[who].link {
            let link = &mut self.broker.links[link];
            self.clients[who].gives_answers(link, self.now);
        }
    }

    fn break_disk(&mut self, fault: DiskFault) {
        self.history.had_disk_fault = true;
        for disk in &self.broker.disks {
            match fault {
                DiskFault::Full(more) => {
                    let used: usize =
                        disk.names().iter().map(|name| disk.content(name).len()).sum();
                    disk.set_capacity(Some(used as u64 + more));
                }
                DiskFault::ReadOnly => disk.set_read_only(true),
                DiskFault::SyncFails => disk.fail_syncs(true),
                DiskFault::Slow => {}
            }
        }
        self.broker.is_slow |= fault == DiskFault::Slow;
    }

    pub(crate) fn heal(&mut self) {
        for disk in &self.broker.disks {
            disk.set_capacity(None);
            disk.set_read_only(false);
            disk.fail_syncs(false);
        }
        self.broker.is_slow = false;
    }

    pub(crate) fn crash(&mut self, how: Crash, away: u64, jump: i64, flips: Option<u64>) {
        if !self.broker.is_up() {
            return;
        }
        self.dying = Some((how, away, jump, flips));
        match how {
            Crash::KilledAt(operations, torn) => {
                let count = self.broker.disks.len() as u64;
                let disk = &self.broker.disks[(operations % count) as usize];
                disk.stop_at(disk.operations() + operations, torn as usize);
            }
            Crash::KilledAfterCommit => self.broker.trap = Some(Trap::AfterCommit),
            Crash::KilledAfterLetters => self.broker.trap = Some(Trap::AfterLetters),
            Crash::Stopped => {
                for shard in 0..self.broker.mail.len() {
                    self.broker.mail[shard].push_back(Item::Shutdown);
                }
                self.pass(400);
                if self.broker.is_up() {
                    self.broker.close_logs();
                    self.broker.collect_lines(&mut self.history);
                    if self.broker.disks.iter().any(|disk| disk.is_stopped()) {
                        // A trap has closed in the last write.
                        self.dying = Some((Crash::Killed, away, jump, flips));
                    }
                    self.die();
                }
            }
            _ => self.die(),
        }
    }

    fn die(&mut self) {
        let (how, away, jump, flips) = self.dying.take().unwrap_or((Crash::Killed, 0, 0, None));
        self.broker.die(how, &mut self.history);
        if let Some(seed) = flips {
            self.broker.flip(seed, &mut self.history);
        }
        self.broker.wall = self.broker.wall.saturating_add_signed(jump * 1000);
        self.start_at = Some(self.now + away);
    }

    // === Time ===

    /// Lets so much time pass.
    pub(crate) fn pass(&mut self, millis: u64) {
        let end = self.now + millis;
        let mut rounds = 0;
        loop {
            let next = self.next_due().filter(|due| *due <= end);
            let Some(next) = next else { break };
            rounds = if next.max(self.now) > self.now { 0 } else { rounds + 1 };
            assert!(rounds < 5000, "the world stands still at {}", self.now);
            self.now = self.now.max(next);
            self.instant();
            if self.is_over {
                return;
            }
        }
        self.now = end;
        self.broker.now = end;
    }

    fn next_due(&self) -> Option<u64> {
        let clients = self.clients.iter().filter_map(|client| {
            let link = client.link?;
            let heard = self.broker.links[link].to_client.due().filter(|_| client.reads);
            [heard, client.due(self.now)].into_iter().flatten().min()
        });
        let rogue = self.rogue.filter(|_| self.rogue_reads);
        let rogue = rogue.and_then(|link| self.broker.links[link].to_client.due());
        let broker = self.broker.next_due();
        let watch = self.watch_due();
        clients.chain(rogue).chain(broker).chain(self.start_at).chain(watch).min()
    }

    /// Everything that is due now.
    fn instant(&mut self) {
        self.broker.now = self.now;
        self.broker.shared.now.set(self.now);
        if self.start_at.is_some_and(|at| at <= self.now) {
            self.start_at = None;
            if let Err(reason) = self.broker.start(&mut self.history) {
                // Only damage keeps a log from being opened.
                if !self.history.is_damaged {
                    self.history.offences.push(("lost", format!("no start: {reason}")));
                }
                self.is_over = true;
                return;
            }
            let stats = self.broker.stats();
            self.found = (stats.queued, stats.queued_bytes);
        }
        if self.broker.is_up() && !self.broker.serve(&mut self.history) {
            // A trap has closed, perhaps in the middle of a clean stop.
            let (_, away, jump, flips) = self.dying.unwrap_or((Crash::Killed, 0, 0, None));
            self.dying = Some((Crash::Killed, away, jump, flips));
            self.die();
        }
        for who in 0..self.clients.len() {
            self.let_hear(who);
        }
        self.let_rogue_hear();
        self.watch();
        self.check_bounds();
    }

    fn let_hear(&mut self, who: usize) {
        let Some(number) = self.clients[who].link else { return };
        let client = &mut self.clients[who];
        let link = &mut self.broker.links[number];
        if client.reads {
            let has_heard = client.hears(link, self.now, &mut self.history);
            let (is_behind, shard) = (link.is_behind, link.shard);
            if has_heard && is_behind {
                self.broker.wake(shard);
            }
        }
        let link = &mut self.broker.links[number];
        if !client.keep_alive(link, self.now) {
            self.cut(who, true);
        } else if link.to_client.has_ended(self.now) && client.reads {
            // The Client closes its side too.
            link.to_broker.end(self.now);
            client.is_gone(self.now, &mut self.history);
        }
    }

    fn check_bounds(&mut self) {
        let most = OUTPUT_BYTES_MAX.max(Broker::output_max()) + PACKET_BYTES_MAX;
        for link in self.broker.links.iter().filter(|link| link.state == State::Open) {
            if link.wire.len() > most {
                let words = format!("{} bytes wait for c{}", link.wire.len(), link.who);
                self.history.offences.push(("bounds", words));
            }
        }
        self.check_queues();
    }

    /// What waits, against the bounds of all sessions together.
    fn check_queues(&mut self) {
        let stats = self.broker.stats();
        let sessions = stats.sessions.max(1);
        let (messages, bytes) = self.found;
        // What was in flight waits in the queue after a start. It is acknowledged and may not be
        // dropped, but nothing joins a queue while it is too long by that.
        let window = u64::from(self.scene.inflight_max);
        let has_holes = self.history.has_holes();
        // Of a log with holes the deaths of messages may be lost, and they wait again.
        let over = |found: u64, window: u64| {
            if has_holes { found } else { found.min(window * sessions) }
        };
        let packet = PACKET_BYTES_MAX as u64;
        for (found, max, over) in [
            (stats.queued, self.scene.queue_max.map(u64::from), over(messages, window)),
            // `max_queued_bytes` lets one message in, whatever its size.
            (
                stats.queued_bytes,
                self.scene.queue_bytes.map(|max| max + packet),
                over(bytes, window * packet),
            ),
        ] {
            if max.is_some_and(|max| found > max * sessions + over) {
                let words = format!("{found} queued for {} sessions", stats.sessions);
                self.history.offences.push(("bounds", words));
            }
        }
    }

    // === The one that watches wills ===

    fn watch_due(&self) -> Option<u64> {
        let watcher = &self.clients[WATCHER];
        let wants = watcher.link.is_none() || (watcher.is_connected() && !self.is_watching());
        (wants && self.watches && self.broker.is_up()).then_some(self.watched_at.max(self.now))
    }

    fn is_watching(&self) -> bool {
        let era = self.clients[WATCHER].era;
        self.history
            .subscriptions
            .iter()
            .any(|s| s.who == WATCHER && s.era == era && s.until.is_none())
    }

    fn watch(&mut self) {
        if self.watch_due().is_none_or(|at| at > self.now) {
            return;
        }
        self.watched_at = self.now + 100;
        if self.clients[WATCHER].link.is_none() {
            self.connect(WATCHER, false, 0);
        } else if self.clients[WATCHER].is_connected() {
            self.subscribe(WATCHER, "w/#", QoS::AtLeastOnce, false);
        }
    }

    // === The one without rules ===

    fn offend(&mut self, number: u64) {
        let mut dice = Dice::new(number);
        let Some(link) = self.rogue.filter(|link| self.broker.links[*link].state != State::Gone)
        else {
            return self.rogue_connects(&mut dice);
        };
        let version = self.broker.links[link].version;
        match dice.roll(10) {
            0 => {
                self.broker.links[link].is_broken = true;
                self.rogue = None;
            }
            1 => self.rogue_reads = !self.rogue_reads,
            2 => self.rogue_connects(&mut dice),
            _ => {
                let bytes = offence(version, &mut dice);
                self.broker.links[link].to_broker.send(bytes, self.now);
            }
        }
    }

    fn rogue_connects(&mut self, dice: &mut Dice) {
        let link = self.open(ROGUE);
        let version = dice.pick(&[Version::V311, Version::V5]);
        self.broker.links[link].version = version;
        let hello = Hello {
            version,
            name: "eve".into(),
            clean: true,
            keep_alive: dice.pick(&[0, 1]),
            expiry_seconds: 0,
            receive_max: dice.once_in(2).then_some(1),
            packet_max: dice.once_in(3).then(|| 30 + dice.roll(30) as u32),
            alias_max: None,
            will: dice.once_in(3).then(|| ("a/b".into(), "xw".into(), 0)),
        };
        let mut bytes = hello.write(|_| ());
        if dice.once_in(4) {
            // In front of the flags, which might ask for a session that lasts.
            bytes[dice.roll(8) as usize] ^= 1 << dice.roll(8);
        }
        self.broker.links[link].to_broker.send(bytes, self.now);
        self.rogue = Some(link);
        self.rogue_unread.clear();
        self.rogue_reads = dice.once_in(2);
    }

    fn let_rogue_hear(&mut self) {
        let Some(number) = self.rogue.filter(|_| self.rogue_reads) else { return };
        let link = &mut self.broker.links[number];
        let bytes = link.to_client.take(self.now, usize::MAX);
        let (shard, is_behind, version) = (link.shard, link.is_behind, link.version);
        let ended = link.to_client.has_ended(self.now);
        let written_at = link.marks.back().map_or(0, |(_, at)| *at);
        self.rogue_unread.extend_from_slice(&bytes);
        if is_behind && !bytes.is_empty() {
            self.broker.wake(shard);
        }
        while let Ok(Some(frame)) = Frame::peek(&self.rogue_unread, usize::MAX) {
            if let Ok(Packet::Publish(publish)) = Packet::decode(version, frame, &self.rogue_unread)
            {
                self.history.copies.push(Copy {
                    who: ROGUE,
                    released_at: None,
                    era: 0,
                    message: None,
                    topic: publish.topic.into(),
                    payload: String::from_utf8_lossy(publish.payload).into_owned(),
                    qos: publish.qos,
                    retain: publish.retain,
                    is_new: true,
                    at: self.now,
                    written_at,
                    shard: shard as u8,
                });
            }
            self.rogue_unread.drain(..frame.len);
        }
        if ended {
            self.broker.links[number].to_broker.end(self.now);
            self.rogue = None;
        }
    }

    /// The one without rules leaves for good.
    pub(crate) fn dismiss_rogue(&mut self) {
        let links: BTreeSet<_> = (0..self.broker.links.len())
            .filter(|link| self.broker.links[*link].who == ROGUE)
            .collect();
        for link in links {
            self.broker.links[link].is_broken = true;
        }
        self.rogue = None;
    }
}

/// Bytes that a Client ought not to send, or only in another place.
fn offence(version: Version, dice: &mut Dice) -> Vec<u8> {
    let id = dice.roll(6) as u16 + 1;
    let topic = dice.pick(&["x/1", "x/2", "a/b", "d", "secret/x"]);
    let qos = dice.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
    let number = if qos == QoS::AtMostOnce { 0 } else { id };
    let how = (qos, false, qos > QoS::AtMostOnce && dice.once_in(4));
    let mut bytes = match dice.roll(8) {
        0 => (0..1 + dice.roll(40)).map(|_| dice.next() as u8).collect(),
        1 => packets::write(version, &Packet::Puback(packets::ack(id))),
        2 => packets::write(version, &Packet::Pubrec(packets::ack(id))),
        3 => packets::write(version, &Packet::Pubrel(packets::ack(id))),
        4 => packets::write(version, &Packet::Pubcomp(packets::ack(id))),
        5 => {
            let filter = dice.pick(&["#", "$share/g/a/#", "secret/#"]);
            packets::subscribe(id, filter, qos, false, |packet| packets::write(version, &packet))
        }
        _ => packets::publish((topic, b"x"), how, number, false, |packet| {
            packets::write(version, &packet)
        }),
    };
    let is_publish = bytes.first().is_some_and(|first| first >> 4 == PacketType::Publish as u8);
    match dice.roll(5) {
        // A flipped bit may not make a promise out of an offence: topics and payloads stay.
        0 if !is_publish => {
            let at = dice.roll(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.roll(8);
        }
        1 => bytes.truncate(dice.roll(bytes.len() as u64) as usize),
        _ => {}
    }
    bytes
}
