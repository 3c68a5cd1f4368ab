//! A shard's log: what the shard appends in a turn goes to the operating system in one write before
//! anything of that turn leaves on a socket; syncs run on the blocking pool.
//!
//! ```text
//!   put/kill … ─▶ none:    Durable at once; written within a second
//!             ─▶ commit ─▶ process: Durable at once, a sync follows within a second
//!                      └─▶ sync:    begin_sync ─▶ thread ─▶ Synced ─▶ Durable
//!                      └─▶ refused: kept in `Unkept`, staged again before anything newer
//! ```
//! A batch is as strong as the strongest of its records. One that waits for nothing still waits for
//! stronger ones before it, because [`Outcome::Durable`] speaks of everything up to its number.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant as Monotonic};

use mqttd_conf::{Durability as Level, LogType};
use mqttd_core::ids::{Lsn, RecordId};
use mqttd_core::restore::Restore;
use mqttd_store::{Change, Disk, Mode, Options, Store, StoreError, SyncDone, SyncJob};

use crate::class::{Classes, Levels};
use crate::unkept::Unkept;

/// Longest time that a committed record waits for its background sync (`durability process`): what
/// a power cut can take.
pub const BACKGROUND_SYNC: Duration = Duration::from_secs(1);

/// Longest time that a record waits to be written (`durability none`): what a crash can take.
pub const BACKGROUND_WRITE: Duration = Duration::from_secs(1);

/// Bytes after which records are written without waiting so long.
const STAGED_BYTES_MAX: usize = 256 << 10;

/// Bytes of one batch of changes that are staged again.
const RETRY_BATCH_BYTES: usize = 4 << 20;

/// Shortest and longest time between two attempts to write to a log that refuses.
const RETRY: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(2);

/// A start that takes longer than this says how far it is, this often.
const PROGRESS: Duration = Duration::from_secs(1);

/// Records after which a start looks at the clock.
const PROGRESS_RECORDS: u64 = 4096;

/// When a start, of however many logs, has last said how far it is.
#[derive(Debug)]
pub struct Progress(Cell<Monotonic>);

impl Progress {
    /// The start begins.
    pub fn new(now: Monotonic) -> Self {
        Self(Cell::new(now))
    }

    /// It is time for a line.
    fn is_due(&self, around: &impl Around) -> bool {
        let now = around.now();
        let is_due = now.saturating_duration_since(self.0.get()) >= PROGRESS;
        if is_due {
            self.0.set(now);
        }
        is_due
    }
}

/// What a log finds around it: the broker's body, or a simulated one.
pub trait Around {
    /// Where its bytes are.
    type Disk: Disk;
    /// The monotonic clock.
    fn now(&self) -> Monotonic;
    /// A line for people.
    fn say(&self, log_type: LogType, words: fmt::Arguments<'_>);
    /// Runs the job beside the shard; what comes of it goes to [`Durability::synced`].
    fn run(&self, job: SyncJob<Self::Disk>);
}

/// Why a log could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The store's own reason.
    Store(StoreError),
    /// Records that a newer version has written.
    Unreadable {
        /// How many.
        records: u64,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "{error}"),
            Self::Unreadable { records } => write!(
                f,
                "{records} records can't be read by this version; use the version that wrote them"
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Unreadable { .. } => None,
        }
    }
}

/// One shard's log.
pub struct Durability<A: Around> {
    store: Store<A::Disk>,
    classes: Classes,
    /// The strongest record appended since the last commit, and when the first came.
    staged: Option<(Level, Monotonic)>,
    /// The shard's number of the last record it was told something about.
    told: Lsn,
    /// Batches that wait for a sync.
    waiting: VecDeque<Waiting>,
    is_syncing: bool,
    /// When the oldest unsynced commit was made.
    unsynced_since: Option<Monotonic>,
    trouble: Option<Trouble>,
    unkept: Unkept,
    /// A message was given up since the log last worked.
    has_given_up: bool,
    around: A,
}

/// A batch that waits for a sync.
struct Waiting {
    /// The store's number; a refused batch has that of the batch before it.
    batch: u64,
    outcome: Outcome,
}

/// The log can't be written.
struct Trouble {
    text: String,
    state: StoreState,
    /// When to try again, and how long to wait after that; `None`: never in this run.
    retry: Option<(Monotonic, Duration)>,
}

/// What a commit led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that anybody waits for.
    Nothing,
    /// Everything up to here is kept.
    Durable(Lsn),
    /// Everything up to here that was not kept before is refused.
    Refused(Lsn),
    /// Everything up to here is kept, also what was refused before; unless `complete` is false:
    /// then some messages are not.
    Recovered {
        /// The shard's number of the last record.
        lsn: Lsn,
        /// No message was given up.
        complete: bool,
    },
}

/// Whether the log can be written; the worst of several shards' counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreState {
    /// It can.
    #[default]
    Ok,
    /// Refused for a reason that may pass.
    Refusing,
    /// The file system is read-only.
    ReadOnly,
    /// The disk is full.
    Full,
    /// A sync failed: what the device holds is unknown, and nothing is kept until a restart.
    Failed,
}

impl StoreState {
    /// For `$SYS/broker/store/state`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refusing => "error",
            Self::ReadOnly => "read-only",
            Self::Full => "full",
            Self::Failed => "failed",
        }
    }

    fn of(error: &StoreError) -> Self {
        match error {
            StoreError::DiskFull => Self::Full,
            StoreError::ReadOnly => Self::ReadOnly,
            error if error.is_passing() => Self::Refusing,
            StoreError::TooLarge { .. } => Self::Refusing,
            _ => Self::Failed,
        }
    }
}

/// What a shard's log tells of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreReport {
    /// The store's counters.
    pub stats: mqttd_store::Stats,
    /// Whether it can be written.
    pub state: StoreState,
}

impl<A: Around> Durability<A> {
    /// How the store works for these levels. `salt` is unpredictable to strangers, who choose what
    /// records hold.
    pub fn options(levels: &Levels, salt: u64) -> Options {
        // Used segments are taken again only where every batch is synced.
        let all_synced = levels.default() == Level::Sync && levels.is_uniform();
        Options::new(if all_synced { Mode::Sync } else { Mode::Process }, salt)
    }

    /// Opens a shard's log and reads its records; `place` is what lines for people call it.
    ///
    /// # Errors
    /// The store can't be opened, or holds what this version can't read.
    pub fn open(
        disk: A::Disk,
        options: Options,
        levels: Arc<Levels>,
        place: &str,
        around: A,
    ) -> Result<(Self, Restore), OpenError> {
        let progress = Progress::new(around.now());
        Self::open_with_progress(disk, options, levels, (place, &progress), around)
    }

    /// [`Durability::open`] for one of several logs that a start reads.
    ///
    /// # Errors
    /// As there.
    pub fn open_with_progress(
        disk: A::Disk,
        options: Options,
        levels: Arc<Levels>,
        (place, progress): (&str, &Progress),
        around: A,
    ) -> Result<(Self, Restore), OpenError> {
        let mut classes = Classes::new(levels);
        let mut restore = Restore::default();
        let mut unreadable = 0;
        let mut records = 0_u64;
        let (store, report) = Store::open_with_progress(
            disk,
            options,
            |id, body| {
                classes.of_put(RecordId(id.0), body);
                if restore.record(RecordId(id.0), body).is_err() {
                    unreadable += 1;
                }
                records += 1;
                if records % PROGRESS_RECORDS == 0 && progress.is_due(&around) {
                    around.say(
                        LogType::Notice,
                        format_args!("Reading the store {place}: {records} records."),
                    );
                }
            },
            |done, all| {
                if progress.is_due(&around) {
                    let (percent, all) = (done * 100 / all.max(1), all / 1_000_000);
                    around.say(
                        LogType::Notice,
                        format_args!("Reading the store {place}: {percent} % of {all} MB."),
                    );
                }
            },
        )
        .map_err(OpenError::Store)?;
        if let Some(torn) = &report.torn {
            around.say(LogType::Warning, format_args!("Warning: store {place}: {torn}"));
        }
        for hole in &report.holes {
            around.say(LogType::Error, format_args!("Error: store {place}: {hole}"));
        }
        if unreadable > 0 {
            return Err(OpenError::Unreadable { records: unreadable });
        }
        let mut durability = Self {
            store,
            classes,
            staged: None,
            told: Lsn::default(),
            waiting: VecDeque::new(),
            is_syncing: false,
            unsynced_since: None,
            trouble: None,
            unkept: Unkept::default(),
            has_given_up: false,
            around,
        };
        durability.settle();
        Ok((durability, restore))
    }

    /// What was found was handed to the system by a process that has died, and may not be on the
    /// device. From now on it counts as kept, so it is brought there first.
    fn settle(&mut self) {
        if self.store.needs_sync() {
            if let Err(error) = self.store.sync() {
                self.fail(&error);
            }
        }
    }

    /// Takes a record; it is written by the next [`Durability::commit`].
    pub fn put(&mut self, id: RecordId, body: &[u8]) {
        let level = self.classes.of_put(id, body);
        self.note(level);
        if let Err(error) = self.store.put(mqttd_store::RecordId(id.0), body) {
            // The turn is refused as a whole; see `commit`.
            self.fail(&error);
            let mut changes = self.store.unstage();
            changes.push((mqttd_store::RecordId(id.0), Some(body.to_vec())));
            self.hold_back(changes);
        }
    }

    /// Takes a death likewise.
    pub fn kill(&mut self, id: RecordId) {
        let level = self.classes.of_kill(id);
        self.note(level);
        let id = mqttd_store::RecordId(id.0);
        if !self.store.kill(id) && !self.unkept.is_empty() {
            self.hold_back(vec![(id, None)]);
        }
    }

    /// The log has refused the last change of the record and has not taken it since. After a failed
    /// sync nobody knows what it has: then all are.
    pub fn is_held_back(&self, id: RecordId) -> bool {
        let is_final = self.trouble.as_ref().is_some_and(|trouble| trouble.retry.is_none());
        is_final || self.unkept.contains(mqttd_store::RecordId(id.0))
    }

    /// A start could find the record, whether or not the device has it.
    pub fn is_in_log(&self, id: RecordId) -> bool {
        self.store.contains(mqttd_store::RecordId(id.0))
    }

    #[inline]
    fn note(&mut self, level: Level) {
        match &mut self.staged {
            Some((staged, _)) => *staged = level.max(*staged),
            None => self.staged = Some((level, self.around.now())),
        }
    }

    /// Writes what has been appended; `appended` is the shard's number of its last record.
    pub fn commit(&mut self, appended: Lsn) -> Outcome {
        if !self.unkept.is_empty() || self.trouble.is_some() {
            return self.commit_in_trouble(appended);
        }
        let Some((level, since)) = self.staged else { return Outcome::Nothing };
        if level == Level::None && self.waiting.is_empty() {
            let is_due = self.store.staged_bytes() > STAGED_BYTES_MAX
                || self.around.now() >= since + BACKGROUND_WRITE;
            if !is_due {
                return self.tell(appended);
            }
        }
        match self.store.commit() {
            Ok(committed) => self.committed(level, committed.lsn, appended),
            Err(error) => {
                self.fail(&error);
                let refused = self.store.take_refused();
                self.hold_back(refused);
                self.refused(level, appended)
            }
        }
    }

    fn note_unsynced(&mut self) {
        if self.unsynced_since.is_none() {
            self.unsynced_since = Some(self.around.now());
        }
    }

    /// What nobody has been told yet is kept.
    fn tell(&mut self, appended: Lsn) -> Outcome {
        if self.told >= appended {
            return Outcome::Nothing;
        }
        self.told = appended;
        Outcome::Durable(appended)
    }

    fn committed(&mut self, level: Level, batch: u64, appended: Lsn) -> Outcome {
        self.staged = None;
        self.note_unsynced();
        if level < Level::Sync && self.waiting.is_empty() {
            return self.tell(appended);
        }
        self.told = appended;
        self.after_sync(batch, Outcome::Durable(appended))
    }

    /// Lets the outcome wait until the device has this batch; it may have it already, for one with
    /// nothing new in it is no batch of its own.
    fn after_sync(&mut self, batch: u64, outcome: Outcome) -> Outcome {
        if self.waiting.is_empty() && !self.is_syncing && !self.store.needs_sync() {
            return outcome;
        }
        self.waiting.push_back(Waiting { batch, outcome });
        self.start_sync();
        Outcome::Nothing
    }

    /// The turn's records are not in the log; they are in `unkept`.
    fn refused(&mut self, level: Level, appended: Lsn) -> Outcome {
        self.staged = None;
        if self.told >= appended {
            return Outcome::Nothing;
        }
        self.told = appended;
        let outcome = if level == Level::None {
            Outcome::Durable(appended)
        } else {
            Outcome::Refused(appended)
        };
        match self.waiting.back() {
            // Earlier batches have an answer of their own coming.
            Some(&Waiting { batch, .. }) => {
                self.waiting.push_back(Waiting { batch, outcome });
                Outcome::Nothing
            }
            None => outcome,
        }
    }

    /// A commit while the log refuses: what it has refused before goes first, now and then.
    fn commit_in_trouble(&mut self, appended: Lsn) -> Outcome {
        let level = self.staged.map_or(Level::None, |(level, _)| level);
        let staged = self.store.unstage();
        self.hold_back(staged);
        let retry = self.trouble.as_ref().map(|trouble| trouble.retry);
        match retry {
            Some(Some((at, _))) if at <= self.around.now() => {}
            // `put` could not stage it: tried at once.
            None => {}
            _ => return self.refused(level, appended),
        }
        match self.write_unkept() {
            Ok(()) => {
                self.trouble = None;
                self.around.say(LogType::Notice, format_args!("The store can be written again."));
                // How strong the strongest of them is nobody knows any more: on the device first.
                let complete = !std::mem::take(&mut self.has_given_up);
                self.staged = None;
                self.note_unsynced();
                self.told = appended;
                let outcome = Outcome::Recovered { lsn: appended, complete };
                self.after_sync(self.store.last_lsn(), outcome)
            }
            Err(error) => {
                self.fail(&error);
                self.refused(level, appended)
            }
        }
    }

    /// Stages everything again that was refused, deaths first where they may.
    fn write_unkept(&mut self) -> Result<(), StoreError> {
        let deaths = self.unkept.free_deaths();
        if !deaths.is_empty() {
            for id in &deaths {
                self.store.kill(*id);
            }
            let written = self.store.commit();
            // They are in `unkept` still.
            self.store.take_refused();
            written?;
            self.note_unsynced();
            self.unkept.kept(&deaths);
        }
        let mut changes = self.unkept.take().into_iter();
        let mut result = Ok(());
        while let Some((id, body)) = changes.next() {
            let staged = match &body {
                Some(body) => self.store.put(id, body),
                None => {
                    self.store.kill(id);
                    Ok(())
                }
            };
            let last = changes.as_slice().is_empty();
            result = match staged {
                Ok(()) if last || self.store.staged_bytes() > RETRY_BATCH_BYTES => {
                    self.store.commit().map(|_| ())
                }
                Err(error) => {
                    let mut refused = self.store.unstage();
                    refused.push((id, body));
                    self.hold_back(refused);
                    Err(error)
                }
                Ok(()) => continue,
            };
            if result.is_err() {
                break;
            }
        }
        if result.is_err() {
            let refused = self.store.take_refused();
            self.hold_back(refused);
            self.hold_back(changes.collect());
        }
        result
    }

    fn hold_back(&mut self, changes: Vec<Change>) {
        let is_final = self.trouble.as_ref().is_some_and(|trouble| trouble.retry.is_none());
        if changes.is_empty() || is_final {
            return; // what a failed store was to keep is of no use in this run
        }
        let store = &self.store;
        self.unkept.add(changes, |id| store.contains(id));
        let given_up = self.unkept.take_given_up();
        if given_up > 0 {
            self.has_given_up = true;
            self.around.say(LogType::Warning, format_args!(
                "Warning: {given_up} unacknowledged messages wait in memory only: the store has \
                 refused them for too long."
            ));
        }
    }

    /// A sync that [`Durability::start_sync`] began has ended. Returns what it decides.
    pub fn synced(&mut self, done: SyncDone) -> Vec<Outcome> {
        self.is_syncing = false;
        let mut outcomes = Vec::new();
        match self.store.finish_sync(done) {
            Ok(lsn) => {
                let synced = self.waiting.iter().take_while(|next| next.batch <= lsn).count();
                outcomes.extend(self.waiting.drain(..synced).map(|next| next.outcome));
                self.unsynced_since = self.store.needs_sync().then(|| self.around.now());
                if !self.waiting.is_empty() {
                    self.start_sync();
                }
            }
            Err(error) => {
                self.fail(&error);
                let refused = self.waiting.drain(..).map(|next| match next.outcome {
                    Outcome::Durable(lsn) | Outcome::Recovered { lsn, .. } => Outcome::Refused(lsn),
                    other => other,
                });
                outcomes.extend(refused);
            }
        }
        outcomes
    }

    /// Bytes of records that the next commit writes.
    pub fn staged_bytes(&self) -> usize {
        self.store.staged_bytes()
    }

    /// When the log wants a turn: for a background write or sync, or to try again.
    pub fn sync_due(&self) -> Option<Monotonic> {
        let sync = self.unsynced_since.filter(|_| !self.is_syncing);
        let write = self.staged.map(|(_, since)| since + BACKGROUND_WRITE);
        let retry = self.trouble.as_ref().and_then(|trouble| trouble.retry).map(|(at, _)| at);
        [sync.map(|since| since + BACKGROUND_SYNC), write, retry].into_iter().flatten().min()
    }

    /// Begins a sync on the blocking pool, unless one runs.
    pub fn start_sync(&mut self) {
        if self.is_syncing || !self.store.needs_sync() {
            self.unsynced_since = if self.is_syncing { self.unsynced_since } else { None };
            return;
        }
        match self.store.begin_sync() {
            Ok(job) => {
                self.is_syncing = true;
                self.around.run(job);
            }
            Err(error) => {
                self.unsynced_since = None;
                self.fail(&error);
            }
        }
    }

    /// At a clean stop: everything on the device, while the caller waits.
    pub fn close(&mut self) {
        let result = if self.unkept.is_empty() {
            self.store.commit().map(|_| ())
        } else {
            let staged = self.store.unstage();
            self.hold_back(staged);
            self.write_unkept()
        };
        if self.is_syncing {
            // The running sync covers all but the last turn, which the system holds.
            return result.unwrap_or_else(|error| self.fail(&error));
        }
        if let Err(error) = result.and_then(|()| self.store.sync().map(|_| ())) {
            self.fail(&error);
        }
    }

    /// A sync is under way.
    pub fn is_syncing(&self) -> bool {
        self.is_syncing
    }

    /// For `$SYS`.
    pub fn report(&self) -> StoreReport {
        let state = self.trouble.as_ref().map_or(StoreState::Ok, |trouble| trouble.state);
        StoreReport { stats: self.store.stats(), state }
    }

    /// Notes that the log refuses, and says so once for each reason.
    fn fail(&mut self, error: &StoreError) {
        let text = error.to_string();
        let state = StoreState::of(error);
        let pause = match &self.trouble {
            Some(Trouble { retry: None, .. }) => return,
            Some(Trouble { retry: Some((_, pause)), .. }) => *pause,
            None => *RETRY.start(),
        };
        let retry = (state != StoreState::Failed)
            .then(|| (self.around.now() + pause, (pause * 2).min(*RETRY.end())));
        let is_new = self.trouble.as_ref().is_none_or(|trouble| trouble.text != text);
        if is_new {
            let until = if retry.is_some() { "until it can" } else { "until mqttd is restarted" };
            self.around.say(
                LogType::Error,
                format_args!(
                    "Error: the store can't keep messages: {text}. QoS 1 and 2 messages for \
                     persistent sessions and retained messages are refused {until}."
                ),
            );
        }
        self.trouble = Some(Trouble { text, state, retry });
        if retry.is_none() {
            self.unkept = Unkept::default();
        }
    }
}
