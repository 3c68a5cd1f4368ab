//! The broker as a whole: shards with their bodies, mailboxes and disks; its deaths and starts.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use mqtt_auth::AclTable;
use mqtt_proto::Version;
use mqttd_conf::{Durability as ConfLevel, DurabilityRule, Persistence};
use mqttd_core::Shard;
use mqttd_core::begun::settle_exchanges;
use mqttd_core::ids::{Lsn, ShardId};
use mqttd_core::limits::OUTPUT_BACKLOG_MAX;
use mqttd_core::settings::{ListenerSettings, Settings};
use mqttd_core::stats::Stats;
use mqttd_core::time::Instant;
use mqttd_durability::{Durability, Levels, StoreState};
use mqttd_store::{DiskMem, PowerCut, SyncJob};

use crate::body::{Body, Item, Link, Out, Shared, State, Surroundings};
use crate::dice::Dice;
use crate::history::{Death, Fact, History};
use crate::network::Pipe;
use crate::plan::{ACLS, Crash, Level, Scene};
use crate::turn::{First, first_packet};

/// The wall clock when a run begins: late enough to jump back.
const WALL: u64 = 1_700_000_000_000;

/// Where in its next turn the broker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trap {
    AfterCommit,
    AfterLetters,
}

/// See the file's head.
pub(crate) struct Broker {
    pub(crate) scene: Scene,
    pub(crate) bodies: Vec<Option<Body>>,
    pub(crate) mail: Vec<VecDeque<Item>>,
    pub(crate) disks: Vec<DiskMem>,
    pub(crate) shared: Rc<Shared>,
    pub(crate) links: Vec<Link>,
    jobs: Vec<(u64, usize, SyncJob<DiskMem>)>,
    pub(crate) now: u64,
    /// What the shards' clock is ahead of `now`.
    pub(crate) wall: u64,
    pub(crate) settings: Arc<Settings>,
    pub(crate) acls: Vec<Arc<AclTable>>,
    pub(crate) acl: usize,
    pub(crate) trap: Option<Trap>,
    pub(crate) is_slow: bool,
    /// Since when syncs fail, in this life and those before it.
    pub(crate) sync_failed_at: Option<u64>,
    /// A disk has refused something in this life.
    pub(crate) had_trouble: bool,
    /// Since when some log refuses.
    refuses_since: Option<u64>,
    pub(crate) dice: Dice,
}

impl Broker {
    pub(crate) fn new(scene: Scene, seed: u64) -> Self {
        let acls: Vec<_> = ACLS
            .iter()
            .map(|text| Arc::new(AclTable::parse(text).expect("the lists of plan.rs are right")))
            .collect();
        let count = usize::from(scene.shards);
        let settings = Arc::new(settings(&scene, acls.first().filter(|_| scene.has_acl)));
        Self {
            bodies: (0..count).map(|_| None).collect(),
            mail: (0..count).map(|_| VecDeque::new()).collect(),
            disks: (0..count).map(|_| DiskMem::new()).collect(),
            shared: Shared::new(),
            links: Vec::new(),
            jobs: Vec::new(),
            now: 0,
            wall: WALL,
            settings,
            acls,
            acl: 0,
            trap: None,
            is_slow: false,
            sync_failed_at: None,
            had_trouble: false,
            refuses_since: None,
            dice: Dice::new(seed ^ 0xb0b),
            scene,
        }
    }

    /// Starts the broker.
    ///
    /// # Errors
    /// A log can't be opened, in its own words.
    pub(crate) fn start(&mut self, history: &mut History) -> Result<(), String> {
        history.note(self.now, Fact::Starts);
        let count = self.scene.shards;
        self.trap = None;
        self.had_trouble = false;
        self.refuses_since = None;
        let mut restores = Vec::new();
        for number in 0..usize::from(count) {
            history.acls[number].push((self.now, self.acl));
            let id = ShardId(number as u8);
            let seed = self.dice.next();
            let shard = Shard::new(id, count, Arc::clone(&self.settings), seed);
            let opened = self.open_log(number)?;
            let (durability, restore) = opened.unzip();
            let body = Body {
                out: Out {
                    links: Default::default(),
                    touched: Vec::new(),
                    closed: Vec::new(),
                    outbox: (0..count).map(|_| Default::default()).collect(),
                    durability,
                    disk: self.disks[number].clone(),
                    appended: Lsn::default(),
                    outcomes: Vec::new(),
                    now: self.now,
                    room: self.scene.socket_bytes,
                    notices: Vec::new(),
                    has_resumed: false,
                    all: Vec::new(),
                },
                shard,
                wake_at: Some(self.now),
                closing: VecDeque::new(),
            };
            restores.extend(restore);
            self.bodies[number] = Some(body);
        }
        settle_exchanges(&mut restores);
        let now = Instant(self.wall + self.now);
        for (body, restore) in self.bodies.iter_mut().flatten().zip(restores) {
            restore.finish(&mut body.shard, now, &mut body.out);
        }
        // What an earlier life could not bring to the device is there once a start has synced it.
        self.sync_failed_at = self.sync_failed_at.filter(|_| self.has_failed_store());
        self.collect_lines(history);
        // The shards have spoken before the first connection is accepted.
        for shard in 0..usize::from(count) {
            self.turn(shard, history);
        }
        Ok(())
    }

    #[allow(clippy::type_complexity, reason = "what `Durability::open` returns, if it is asked")]
    fn open_log(
        &mut self,
        number: usize,
    ) -> Result<Option<(Durability<Surroundings>, mqttd_core::restore::Restore)>, String> {
        let level = match self.scene.level {
            Level::Off => return Ok(None),
            Level::None => ConfLevel::None,
            Level::Process => ConfLevel::Process,
            Level::Sync => ConfLevel::Sync,
        };
        let durability = vec![DurabilityRule { level, filter: None }];
        let levels =
            Levels::new(&Persistence { enabled: true, durability, ..Persistence::default() });
        let mut options = Durability::<Surroundings>::options(&levels, self.dice.next());
        options.segment_bytes = self.scene.segment_bytes;
        options.rewrite_bytes = self.scene.segment_bytes;
        options.reserve_bytes = 4096;
        let around = Surroundings { shard: number, shared: Rc::clone(&self.shared) };
        let disk = self.disks[number].clone();
        Durability::open(disk, options, Arc::new(levels), &format!("shard-{number}"), around)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    // === Death ===

    /// The broker dies. What the promises are after it goes to the history.
    pub(crate) fn die(&mut self, how: Crash, history: &mut History) {
        let is_power_cut =
            matches!(how, Crash::PowerForgets | Crash::PowerTears(_) | Crash::PowerScatters(_));
        self.note_refusal(history);
        let safe_until = self.safe_until(how, is_power_cut);
        let noted_until = self.noted_until(safe_until, is_power_cut);
        history.dropped += self.stats().dropped_total();
        history.note(self.now, Fact::Crashes { how: format!("{how:?}") });
        let is_scattered = matches!(how, Crash::PowerScatters(_));
        let at = self.now;
        history.deaths.push(Death { at, is_power_cut, is_scattered, safe_until, noted_until });
        self.bodies.iter_mut().for_each(|body| *body = None);
        self.mail.iter_mut().for_each(VecDeque::clear);
        self.jobs.clear();
        self.shared.jobs.borrow_mut().clear();
        for link in &mut self.links {
            if link.state != State::Gone {
                link.state = State::Gone;
                link.to_broker.is_dead = true;
                link.to_client.end(self.now);
                link.is_broken = true;
            }
        }
        for disk in &self.disks {
            match how {
                Crash::PowerForgets => disk.restart_machine(PowerCut::Forget),
                Crash::PowerTears(seed) => disk.restart_machine(PowerCut::Prefix { seed }),
                Crash::PowerScatters(seed) => disk.restart_machine(PowerCut::Scatter { seed }),
                _ => disk.restart_process(),
            }
        }
    }

    fn note_refusal(&mut self, history: &mut History) {
        let mut logs = self.bodies.iter().flatten().filter_map(|body| body.out.durability.as_ref());
        let is_refusing = logs.any(|durability| durability.report().state != StoreState::Ok);
        let since = self.refuses_since.unwrap_or(self.now);
        let was_refusing = self.refuses_since.is_some();
        self.refuses_since = is_refusing.then_some(since);
        match history.refusals.last_mut().filter(|_| was_refusing) {
            Some((_, to)) => *to = self.now,
            None if is_refusing => history.refusals.push((self.now, self.now)),
            None => {}
        }
    }

    fn noted_until(&self, safe_until: u64, is_power: bool) -> u64 {
        // A record waits for the sync that is under way, and then for its own.
        let syncs = 2 * (self.scene.sync_millis + 600 + 10 * self.scene.jitter);
        let on_device = self.now.saturating_sub(if is_power { syncs } else { 0 });
        let taken = self.refuses_since.map_or(u64::MAX, |since| since.saturating_sub(1));
        safe_until.min(on_device).min(taken)
    }

    fn safe_until(&self, how: Crash, is_power: bool) -> u64 {
        // The longest sync, and the turns in between.
        let slack = self.scene.sync_millis + 600 + 10 * self.scene.jitter;
        let failed = self.sync_failed_at.unwrap_or(self.now);
        match (self.scene.level, is_power) {
            (Level::Off, _) => 0,
            (Level::None, _) if how == Crash::Stopped && !self.had_trouble => self.now,
            (Level::None, _) if self.had_trouble => 0,
            (Level::None, false) => self.now.saturating_sub(1000 + slack),
            (Level::None, true) => self.now.min(failed).saturating_sub(2000 + slack),
            (Level::Process, true) => self.now.min(failed).saturating_sub(1000 + slack),
            (Level::Process, false) | (Level::Sync, _) => self.now,
        }
    }

    /// Flips a bit somewhere in the log.
    pub(crate) fn flip(&mut self, seed: u64, history: &mut History) {
        let mut dice = Dice::new(seed);
        let disk = &self.disks[dice.roll(self.disks.len() as u64) as usize];
        let names: Vec<_> = disk.names().into_iter().filter(|name| name != "lock").collect();
        if names.is_empty() {
            return;
        }
        let name = &names[dice.roll(names.len() as u64) as usize];
        let mut bytes = disk.content(name);
        if !bytes.is_empty() {
            let at = dice.roll(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.roll(8);
            disk.set_content(name, bytes);
            history.is_damaged = true;
        }
    }

    /// What a clean stop does after the connections are closed.
    pub(crate) fn close_logs(&mut self) {
        for body in self.bodies.iter_mut().flatten() {
            if let Some(durability) = &mut body.out.durability {
                durability.close();
            }
        }
    }

    // === The world's questions ===

    pub(crate) fn stats(&self) -> Stats {
        let mut all = Stats::default();
        self.bodies.iter().flatten().for_each(|body| all.add(&body.shard.stats()));
        all
    }

    /// Records that the logs hold.
    pub(crate) fn live_records(&self) -> u64 {
        let logs = self.bodies.iter().flatten().filter_map(|body| body.out.durability.as_ref());
        logs.map(|durability| durability.report().stats.live_records).sum()
    }

    pub(crate) fn has_failed_store(&self) -> bool {
        let mut logs = self.bodies.iter().flatten().filter_map(|body| body.out.durability.as_ref());
        logs.any(|durability| durability.report().state == StoreState::Failed)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.bodies.iter().all(Option::is_some)
    }

    /// Jobs that the logs have begun are done later.
    pub(crate) fn collect_jobs(&mut self) {
        for (shard, job) in self.shared.jobs.borrow_mut().drain(..) {
            let slow = if self.is_slow { 500 } else { 0 };
            let takes = 1 + slow + self.dice.roll(self.scene.sync_millis);
            self.jobs.push((self.now + takes, shard, job));
        }
    }

    pub(crate) fn collect_lines(&mut self, history: &mut History) {
        for line in self.shared.lines.borrow_mut().drain(..) {
            self.had_trouble |= line.contains("can't keep");
            history.note(self.now, Fact::Says { line });
        }
    }

    /// When something happens in the broker by itself.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let jobs = self.jobs.iter().map(|(due, ..)| *due);
        let bodies = self.bodies.iter().flatten().filter_map(|body| {
            let shard = body.shard.deadline().map(|at| at.0.saturating_sub(self.wall));
            let log = body.out.durability.as_ref().and_then(Durability::sync_due);
            let log = log.map(|at| self.shared.millis(at));
            let closing = body.closing.front().map(|(at, _)| *at);
            [body.wake_at, shard, log, closing].into_iter().flatten().min()
        });
        let links = self.links.iter().filter(|link| link.state != State::Gone).filter_map(|link| {
            let due = link.to_broker.due().filter(|_| !link.listed);
            due.or(link.is_broken.then_some(self.now)).filter(|_| !link.listed)
        });
        jobs.chain(bodies).chain(links).min().map(|due| due.max(self.now))
    }

    /// Does what is due now. False: the broker has died.
    pub(crate) fn serve(&mut self, history: &mut History) -> bool {
        self.shared.now.set(self.now);
        while let Some(at) = self.jobs.iter().position(|(due, ..)| *due <= self.now) {
            let (_, shard, job) = self.jobs.swap_remove(at);
            let done = job.run();
            if self.disks[shard].is_stopped() {
                return false;
            }
            self.mail[shard].push_back(Item::Synced(done));
        }
        self.open_lobby();
        for number in 0..self.links.len() {
            let link = &self.links[number];
            let ready = link.is_broken || link.to_broker.due().is_some_and(|due| due <= self.now);
            let is_here = matches!(link.state, State::Open | State::Draining);
            if is_here && ready && !link.listed {
                self.links[number].listed = true;
                let shard = self.links[number].shard;
                self.wake(shard);
            }
        }
        let count = self.bodies.len();
        for shard in 0..count {
            if !self.mail[shard].is_empty() {
                self.wake(shard);
            }
        }
        let first = self.dice.roll(count as u64) as usize;
        for step in 0..count {
            let shard = (first + step) % count;
            if self.is_due(shard) && !self.turn(shard, history) {
                self.collect_lines(history);
                return false;
            }
        }
        self.collect_lines(history);
        self.note_refusal(history);
        if self.sync_failed_at.is_none() && self.has_failed_store() {
            self.sync_failed_at = Some(self.now);
        }
        true
    }

    fn is_due(&self, shard: usize) -> bool {
        let Some(body) = &self.bodies[shard] else { return false };
        let timer = body.shard.deadline().is_some_and(|at| at.0 <= self.wall + self.now);
        let log = body.out.durability.as_ref().and_then(Durability::sync_due);
        body.wake_at.is_some_and(|at| at <= self.now)
            || timer
            || log.is_some_and(|at| self.shared.millis(at) <= self.now)
            || body.closing.front().is_some_and(|(at, _)| *at <= self.now)
    }

    /// The shard takes a turn soon.
    pub(crate) fn wake(&mut self, shard: usize) {
        let at = self.now + self.dice.roll(self.scene.jitter + 1);
        if let Some(body) = &mut self.bodies[shard] {
            body.wake_at = Some(body.wake_at.map_or(at, |before| before.min(at)));
        }
    }

    // === Connections ===

    /// A Client opens a connection.
    pub(crate) fn open(&mut self, who: usize, lag: u64) -> usize {
        self.links.push(Link {
            who,
            version: Version::V311,
            to_broker: Pipe::with_lag(lag),
            to_client: Pipe::with_lag(lag),
            state: if self.is_up() { State::Lobby } else { State::Gone },
            shard: 0,
            key: 0,
            unread: Vec::new(),
            connect: Vec::new(),
            wire: Default::default(),
            is_touched: false,
            is_behind: false,
            is_broken: false,
            left: false,
            bytes_out: 0,
            marks: VecDeque::new(),
            listed: false,
            is_paused: false,
        });
        self.links.len() - 1
    }

    /// Reads CONNECTs and hands connections to their shards.
    fn open_lobby(&mut self) {
        for number in 0..self.links.len() {
            let link = &mut self.links[number];
            if link.state != State::Lobby {
                continue;
            }
            let bytes = link.to_broker.take(self.now, usize::MAX);
            link.unread.extend_from_slice(&bytes);
            match first_packet(&link.unread) {
                First::NotYet if link.is_broken || link.to_broker.has_ended(self.now) => {
                    link.state = State::Gone;
                    link.to_client.end(self.now);
                }
                First::NotYet => {}
                First::Wrong => {
                    link.state = State::Gone;
                    link.to_client.end(self.now);
                }
                First::Connect { bytes, rest, version, client_id } => {
                    link.state = State::Waiting;
                    link.version = version;
                    link.connect = bytes;
                    link.unread = rest;
                    let shard = Shard::of_client(&client_id, self.scene.shards).0.into();
                    link.shard = shard;
                    self.mail[shard].push_back(Item::Admit(number));
                }
            }
        }
    }

    /// Other access rights are put in force.
    pub(crate) fn reload(&mut self, acl: usize) {
        self.acl = acl;
        let generation = self.settings.generation + 1;
        let settings = settings(&self.scene, self.acls.get(acl));
        self.settings = Arc::new(Settings { generation, ..settings });
        for shard in 0..self.mail.len() {
            self.mail[shard].push_back(Item::Settings(Arc::clone(&self.settings), acl));
            self.wake(shard);
        }
    }

    /// The largest output that may wait for one connection.
    pub(crate) fn output_max() -> usize {
        OUTPUT_BACKLOG_MAX
    }
}

fn settings(scene: &Scene, acl: Option<&Arc<AclTable>>) -> Settings {
    Settings {
        persistence: scene.level != Level::Off,
        inflight_messages_max: scene.inflight_max,
        inflight_bytes_max: scene.inflight_bytes,
        queued_messages_max: scene.queue_max,
        queued_bytes_max: scene.queue_bytes,
        queue_qos0: scene.queue_qos0,
        upgrade_outgoing_qos: scene.upgrade,
        duplicate_overlaps: scene.overlaps,
        listeners: vec![ListenerSettings { acl: acl.cloned(), ..ListenerSettings::default() }],
        ..Settings::default()
    }
}
