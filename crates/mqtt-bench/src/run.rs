//! A run from the first connection to the report: who takes part, when which phase begins.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use mqtt_proto::QoS;

use crate::args::{ConnectionArgs, LoadArgs};
use crate::board::{Board, Phase, value};
use crate::clock::seconds;
use crate::crew::{self, Harvest, Orders, Task, Worker};
use crate::load::{Usage, is_running, resident_bytes};
use crate::progress::Progress;
use crate::publisher::Load;
use crate::report::Report;
use crate::stamp::STAMP_BYTES;
use crate::target::Target;

/// How often the run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// At full speed, messages that have been missing for so many looks count as lost.
const FORGIVE_LOOKS: u32 = 50;

/// Seconds of publishing when neither a time nor a number is given.
const DURATION_DEFAULT: f64 = 10.0;

/// Files that each program needs beside its connections.
const FILES_SPARE: u64 = 64;

/// What is to happen.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) tasks: Vec<Task>,
    pub(crate) publishers: u32,
    /// Deliveries that one message should lead to; 0 when nobody here subscribes.
    pub(crate) copies: u64,
    /// The subscribers share the messages.
    pub(crate) is_shared: bool,
    pub(crate) qos: QoS,
    pub(crate) size: usize,
    /// Of all publishers.
    pub(crate) messages: Option<u64>,
    /// Of all publishers.
    pub(crate) rate: Option<f64>,
    pub(crate) window: u16,
    pub(crate) ahead: u64,
    /// Seconds; `None`: until all messages have come.
    pub(crate) duration: Option<f64>,
    /// Seconds.
    pub(crate) drain: f64,
    /// Without publishers: end after so many messages.
    pub(crate) receive: Option<u64>,
}

impl Plan {
    /// Nothing but connections.
    pub(crate) fn idle(name: &'static str, tasks: Vec<Task>) -> Self {
        Self {
            name,
            tasks,
            publishers: 0,
            copies: 0,
            is_shared: false,
            qos: QoS::AtMostOnce,
            size: 0,
            messages: None,
            rate: None,
            window: 1,
            ahead: 0,
            duration: None,
            drain: 0.0,
            receive: None,
        }
    }

    /// Publishers with this load.
    pub(crate) fn publishing(
        name: &'static str,
        tasks: Vec<Task>,
        load: &LoadArgs,
        copies: u64,
    ) -> anyhow::Result<Self> {
        let is_publisher = |task: &&Task| matches!(task, Task::Publish(..));
        let publishers = tasks.iter().filter(is_publisher).count() as u32;
        ensure!(publishers > 0, "there must be a publisher");
        let duration = match (load.duration, load.messages) {
            (None, None) => Some(DURATION_DEFAULT),
            (duration, _) => duration,
        };
        Ok(Self {
            publishers,
            copies,
            qos: load.qos,
            size: load.size as usize,
            messages: load.messages,
            rate: load.rate,
            window: load.window,
            ahead: load.ahead,
            duration,
            drain: load.drain,
            ..Self::idle(name, tasks)
        })
    }

    fn load(&self, run: u32) -> Load {
        // Only stamped messages tell whose they are, and a schedule is kept whatever happens.
        let counts = self.copies > 0 && self.size >= STAMP_BYTES && self.rate.is_none();
        let bound = self.qos == QoS::AtMostOnce && self.ahead > 0;
        Load {
            run,
            qos: self.qos,
            size: self.size,
            messages: self.messages,
            interval: self.rate.map(|rate| 1e9 * f64::from(self.publishers) / rate),
            window: self.window,
            ahead: (counts && bound).then_some(self.ahead),
            copies: self.copies,
        }
    }
}

/// Makes the run.
///
/// # Errors
/// Nothing could be measured: no connection, no thread.
pub(crate) fn make(plan: Plan, args: &ConnectionArgs) -> anyhow::Result<Report> {
    if let Some(pid) = args.broker_pid {
        ensure!(is_running(pid), "--broker-pid {pid}: there is no such process on this machine");
    }
    allow_files(plan.tasks.len() as u64 + u64::from(plan.publishers))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut target = Target::new(args)?;
        target.settle().await?;
        Course::begin(plan, target, args)?.take().await
    })
}

/// Raises the limit of open files as far as it may be.
fn allow_files(connections: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let needed = connections + FILES_SPARE;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < needed) {
        bail!("{connections} connections need {needed} open files, {maximum} allowed: ulimit -Hn");
    }
    limit.current = Some(needed);
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// A run under way.
struct Course {
    plan: Plan,
    orders: Arc<Orders>,
    board: Arc<Board>,
    workers: Vec<Worker>,
    progress: Progress,
    broker_pid: Option<u32>,
    resident_before: Option<u64>,
}

/// Whether somebody pressed Ctrl-C.
type Interrupted = bool;

impl Course {
    fn begin(plan: Plan, target: Target, args: &ConnectionArgs) -> anyhow::Result<Self> {
        let board = Arc::new(Board::new(plan.publishers));
        // Unlike that of any run that may still be on its way.
        let run = (board.clock.now() / 1000) as u32;
        let resident_before = args.broker_pid.and_then(resident_bytes);
        let orders = Arc::new(Orders {
            target,
            load: Arc::new(plan.load(run)),
            board: Arc::clone(&board),
            tasks: plan.tasks.clone(),
            publishers: plan.publishers,
            connect_rate: args.connect_rate,
            own_run_only: plan.copies > 0,
        });
        let workers = crew::start(&orders, usize::from(args.threads))?;
        let progress = Progress::new(!args.quiet && !args.json);
        let broker_pid = args.broker_pid;
        Ok(Self { plan, orders, board, workers, progress, broker_pid, resident_before })
    }

    async fn take(mut self) -> anyhow::Result<Report> {
        let connect_start = self.board.clock.now();
        let connect_usage = Usage::now(self.broker_pid);
        let mut interrupted = self.connect().await;
        let connect_seconds = seconds(connect_start, self.board.clock.now());
        let connect_used = Usage::now(self.broker_pid).since(&connect_usage);
        if value(&self.board.ready) == 0 {
            self.board.enter(Phase::Closing);
            let why = self.board.errors().join("; ");
            bail!("no connection with {}: {why}", self.orders.target.name());
        }
        let usage = Usage::now(self.broker_pid);
        let start = self.board.clock.now();
        self.board.enter(Phase::Running(start));
        if !interrupted {
            interrupted = self.run(start).await;
        }
        let resident = self.broker_pid.and_then(resident_bytes);
        let used = Usage::now(self.broker_pid).since(&usage);
        let end = self.board.clock.now();
        self.board.enter(Phase::Closing);
        self.progress.end();
        let mut harvest = Vec::new();
        for worker in self.workers.drain(..) {
            match worker.join() {
                Ok(result) => harvest.push(result?),
                Err(_) => bail!("a thread of mqtt-bench panicked"),
            }
        }
        let mut report = Report::new(&self.plan, &self.board, self.orders.target.name());
        report.take_times(start, end, connect_seconds);
        report.take_usage(used, connect_used, resident, self.resident_before);
        report.is_interrupted = interrupted;
        let harvest: Vec<Harvest> = harvest;
        report.take_harvest(harvest);
        Ok(report)
    }

    async fn connect(&mut self) -> Interrupted {
        let all = self.plan.tasks.len() as u64;
        self.progress.begin("connecting", Some(all));
        loop {
            let done = value(&self.board.ready) + value(&self.board.failed);
            self.progress.set(done);
            if done >= all {
                return false;
            }
            if self.look().await {
                return true;
            }
        }
    }

    /// Waits for the next look.
    async fn look(&self) -> Interrupted {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            _ = tokio::signal::ctrl_c() => true,
        }
    }

    async fn run(&mut self, start: u64) -> Interrupted {
        let plan = &self.plan;
        let goal = if plan.publishers > 0 { plan.messages } else { plan.receive };
        self.progress.begin(plan.name, goal);
        let mut interrupted = false;
        let mut quiet = Quiet::default();
        loop {
            let sent = value(&self.board.sent);
            let received = value(&self.board.received);
            self.progress.set(if self.plan.publishers > 0 { sent } else { received });
            let elapsed = seconds(start, self.board.clock.now());
            let is_time_up = self.plan.duration.is_some_and(|duration| elapsed >= duration);
            let is_done = match self.plan.publishers {
                0 => self.plan.receive.is_some_and(|goal| received >= goal),
                all => value(&self.board.publishers_done) >= u64::from(all),
            };
            let live = value(&self.board.ready) - value(&self.board.broken);
            if is_time_up || is_done || interrupted || live == 0 {
                break;
            }
            if quiet.looks(received) >= FORGIVE_LOOKS {
                self.board.forgive(self.plan.ahead * self.plan.copies);
                quiet = Quiet::default();
            }
            interrupted = self.look().await;
        }
        if self.plan.publishers > 0 {
            self.board.enter(Phase::Stopping);
            interrupted |= self.wait_for_the_rest().await;
        }
        interrupted
    }

    /// Until everything has arrived, or nothing has for long.
    async fn wait_for_the_rest(&mut self) -> Interrupted {
        let publishers = u64::from(self.plan.publishers);
        let patience = self.plan.drain / LOOK_EVERY.as_secs_f64();
        let mut quiet = Quiet::default();
        self.progress.begin("waiting for what is under way", None);
        loop {
            let is_done = value(&self.board.publishers_done) >= publishers;
            let sent = value(&self.board.sent);
            let received = value(&self.board.received);
            if is_done && received >= sent * self.plan.copies {
                return false;
            }
            let progress = received + value(&self.board.acknowledged);
            if f64::from(quiet.looks(progress)) > patience {
                return false;
            }
            if self.look().await {
                return true;
            }
        }
    }
}

/// Counts looks without progress.
#[derive(Default)]
struct Quiet {
    last: u64,
    looks: u32,
}

impl Quiet {
    fn looks(&mut self, now: u64) -> u32 {
        self.looks = if now == self.last { self.looks + 1 } else { 0 };
        self.last = now;
        self.looks
    }
}
