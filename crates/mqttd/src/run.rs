//! Start and stop, told from top to bottom.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use anyhow::Context;
use mqtt_proto::QoS;
use mqttd_conf::{Config, Disk, Durability as Level};
use mqttd_core::Shard;
use mqttd_core::begun::settle_exchanges;
use mqttd_core::ids::{ListenerId, ShardId};
use mqttd_core::restore::Restored;
use tokio::sync::{mpsc, oneshot};

use crate::alarm;
use crate::args::Args;
use crate::authenticate::{self, Requests};
use crate::clock::Clock;
use crate::control::{self, Dynsec};
use crate::daemon;
use crate::durability::{self, BACKGROUND_SYNC, BACKGROUND_WRITE, Levels, Progress, StoreFolder};
use crate::exit::{Ended, Ends, Exit};
use crate::guard::Guard;
use crate::http::Numbers;
use crate::inherited::Inherited;
use crate::live::{FileUnusable, Live};
use crate::lobby::Verifier;
use mqttd_conf::LogType;

use crate::logging::{Logger, Verbosity};
use crate::mailbox::{Item, Mailbox};
use crate::notify::Notify;
use crate::panics;
use crate::permit::Places;
use crate::placement::Placement;
use crate::ports::{Change, Ports};
use crate::privileges;
use crate::reload;
use crate::report::{publish_sys, report, watch_memory};
use crate::shard::ShardTask;
use crate::signals::{Request, Signals};
use crate::sys::SysTree;
use crate::waiting::{LOBBY_SEATS_MAX, Seats};
use crate::watch;
use crate::worker::{self, Workers};

/// How long a stop may take: connections that do not read are cut after it.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What all threads share.
pub(crate) struct Broker {
    pub(crate) logger: Logger,
    pub(crate) clock: Clock,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) verifier: Verifier,
    pub(crate) guard: Guard,
    /// The most bytes of heap that `$SYS` has seen.
    pub(crate) heap_maximum: AtomicU64,
    /// Connections of all listeners.
    pub(crate) places: Arc<Places>,
    /// Connections that wait for their CONNECT.
    pub(crate) seats: Seats,
    /// `$SYS` as it was published last.
    pub(crate) sys: Mutex<SysTree>,
    /// What HTTP clients are told.
    pub(crate) numbers: Numbers,
    /// Held by whoever makes a new configuration of the one in force.
    pub(crate) changes: tokio::sync::Mutex<()>,
    /// A configuration has been reloaded.
    pub(crate) reloaded: tokio::sync::Notify,
    live: RwLock<Arc<Live>>,
}

impl Broker {
    /// The configuration in force.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().expect("no holder of the lock can panic"))
    }

    pub(crate) fn set_live(&self, live: Live) {
        *self.live.write().expect("no holder of the lock can panic") = Arc::new(live);
        self.reloaded.notify_waiters();
    }

    /// Replaces what is in force by what `change` makes of it, if anything.
    pub(crate) fn update(&self, change: impl FnOnce(&Live) -> Option<Live>) {
        let mut live = self.live.write().expect("no holder of the lock can panic");
        if let Some(new) = change(&live) {
            *live = Arc::new(new);
        }
    }
}

/// Runs the broker until it is told to stop.
pub(crate) fn run(args: &Args) -> Result<(), Ended> {
    let (config, warnings) = load_config(args)?;
    if args.test_config {
        warnings.iter().for_each(|warning| eprintln!("{warning}"));
        return check_only(config, args);
    }
    if args.daemon && !args.in_background {
        if Inherited::is_announced() {
            let text =
                "-d and socket activation exclude each other: leave -d out, with Type=notify";
            return Err(anyhow::anyhow!(text)).ends(Exit::Configuration);
        }
        return daemon::start().ends(Exit::Failed);
    }
    if args.in_background {
        daemon::detach().ends(Exit::Failed)?;
    }
    let logger = Logger::new(&config.logging, args.verbosity()).ends(Exit::Configuration)?;
    panics::remember();
    let version = env!("CARGO_PKG_VERSION");
    logger.line(LogType::Information, format_args!("mqttd version {version} starting"));
    if let Some(path) = &args.config_file {
        logger.line(LogType::Information, format_args!("Config loaded from {}.", path.display()));
    }
    for warning in warnings {
        logger.line(LogType::Warning, format_args!("{warning}"));
    }
    if config.general.is_local_only {
        logger.line(
            LogType::Information,
            format_args!(
                "Starting in local only mode. Connections will only be possible from clients \
                 running on this machine."
            ),
        );
    }
    let result = start(args, config, &logger);
    if let Err(ended) = &result {
        logger.line(LogType::Error, format_args!("Error: {:#}", ended.error));
    }
    logger.line(LogType::Information, format_args!("mqttd version {version} terminating"));
    result
}

fn load_config(args: &Args) -> Result<(Config, Vec<mqttd_conf::Warning>), Ended> {
    let Some(path) = &args.config_file else {
        return Ok((Config::with_ports(&args.ports), Vec::new()));
    };
    match Config::load(&Disk, path) {
        Ok((mut config, warnings)) => {
            if !args.ports.is_empty() && !config.set_ports(&args.ports) {
                eprintln!("mqttd: -p has no effect: {} has listeners of its own", path.display());
            }
            Ok((config, warnings))
        }
        Err(errors) => {
            let (last, others) = errors.split_last().expect("a failed load has an error");
            others.iter().for_each(|error| eprintln!("mqttd: {error}"));
            Err(anyhow::anyhow!("{last}")).ends(Exit::Configuration)
        }
    }
}

fn check_only(config: Config, args: &Args) -> Result<(), Ended> {
    // To the terminal: a log file made by whoever checks would be in the service's way.
    let mut logging = config.logging.clone();
    logging.destinations = vec![mqttd_conf::LogDestination::Stderr];
    let logger = Logger::new(&logging, args.verbosity()).ends(Exit::Configuration)?;
    let live = load_files(config, args.verbosity(), &logger)?;
    match &live.config.security.dynamic {
        Some(conf) => Dynsec::check(conf, &logger).map_err(unusable),
        None => Ok(()),
    }
}

fn load_files(config: Config, verbosity: Verbosity, logger: &Logger) -> Result<Live, Ended> {
    Live::load(config, None, verbosity, logger).map_err(unusable)
}

/// A file that can't be opened has an exit code of its own.
fn unusable(error: anyhow::Error) -> Ended {
    let unusable = error.downcast_ref::<FileUnusable>().is_some();
    let exit = if unusable { Exit::File } else { Exit::Configuration };
    Ended { exit, error }
}

fn start(args: &Args, config: Config, logger: &Logger) -> Result<(), Ended> {
    raise_file_limit();
    let inherited = Inherited::from_environment().ends(Exit::Failed)?;
    let runtime = worker::runtime().ends(Exit::Failed)?;
    // Before the first port opens: who has seen it open may send a signal.
    let signals = {
        let _guard = runtime.enter();
        Signals::new().context("listening for signals").ends(Exit::Failed)?
    };
    let notify = Notify::from_environment().ends(Exit::Failed)?;
    let mut ports = Ports::new(inherited, logger.clone());
    // The numbers that `Live::load` gives them.
    let listeners = config.listeners.iter().enumerate().map(|(id, it)| (ListenerId(id as u16), it));
    let opened = runtime.block_on(ports.prepare(listeners, None)).ends(Exit::Failed)?;
    let mut live = load_files(config, args.verbosity(), logger)?;
    let general = live.config.general.clone();
    privileges::drop_root(general.user.as_deref(), logger).ends(Exit::Configuration)?;
    let dynsec = live.config.security.dynamic.as_ref().map(|conf| Dynsec::open(conf, logger));
    let dynsec = dynsec.transpose().map_err(unusable)?;
    if let Some(dynsec) = &dynsec {
        live = live.with_dynamic(&dynsec.rights());
    }
    let _pid_file = PidFile::write(general.pid_file.as_deref()).ends(Exit::Failed)?;
    let clock = Clock::start();
    let (requests, authenticating) = mpsc::unbounded_channel();
    let (control_requests, controlling) = mpsc::unbounded_channel();
    let (mailboxes, tasks) = {
        // Syncs of a restore that clears something up run on this runtime's pool.
        let _guard = runtime.enter();
        let requests = (requests, control_requests);
        make_shards(&live, clock, logger, &requests).ends(Exit::Failed)?
    };
    let broker = Arc::new(Broker {
        logger: logger.clone(),
        clock,
        mailboxes,
        verifier: Verifier::new(),
        guard: Guard::default(),
        heap_maximum: AtomicU64::new(0),
        places: Arc::new(Places::default()),
        seats: Seats::new(LOBBY_SEATS_MAX),
        sys: Mutex::default(),
        numbers: Numbers::default(),
        changes: tokio::sync::Mutex::default(),
        reloaded: tokio::sync::Notify::new(),
        live: RwLock::new(Arc::new(live)),
    });
    let authenticate = authenticate::serve(Arc::clone(&broker), authenticating);
    runtime.spawn(panics::vital(logger.clone(), "re-authentication", authenticate));
    let control = control::serve(Arc::clone(&broker), controlling, dynsec);
    runtime.spawn(panics::vital(logger.clone(), "the control of the broker", control));
    let serve = serve(args, &broker, (signals, notify), (ports, opened), tasks);
    let serve = panics::vital(logger.clone(), "the main task", serve);
    runtime.block_on(serve).ends(Exit::Failed)
}

/// As many files as the system allows: each connection is one.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // The old limit stays when the system will not; accepting says so when it matters.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Makes the shards with what the store has kept of them.
fn make_shards(
    live: &Live,
    clock: Clock,
    logger: &Logger,
    requests: &(Requests, control::Requests),
) -> anyhow::Result<(Vec<Arc<Mailbox>>, Vec<ShardTask>)> {
    let config = &live.config;
    let max = usize::from(mqttd_core::SHARDS_MAX);
    let wanted = config.general.shards.map_or_else(cores, usize::from).clamp(1, max) as u8;
    let store = match config.persistence.enabled {
        true => Some(StoreFolder::look(&config.persistence.location)?),
        false => None,
    };
    let shards = store.as_ref().and_then(|store| store.shards).unwrap_or(wanted);
    if shards != wanted {
        logger.line(
            LogType::Information,
            format_args!("The store was made for {shards} shards; the broker runs with as many."),
        );
    }
    let workers =
        config.general.threads.map_or_else(cores, usize::from).clamp(1, usize::from(shards));
    let placement = Arc::new(Placement::new(workers));
    let mailboxes: Vec<_> = (0..shards).map(|_| Arc::new(Mailbox::default())).collect();
    let levels = Arc::new(Levels::new(&config.persistence));
    if let Some(store) = &store {
        store.settle(shards)?;
        say_what_is_kept(&levels, logger);
    }
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)?;
    let progress = Progress::new(std::time::Instant::now());
    let mut restores = Vec::new();
    let mut tasks = Vec::new();
    for id in (0..shards).map(ShardId) {
        let settings = Arc::clone(&live.settings);
        let shard = Shard::new(id, shards, Arc::clone(&settings), u64::from_le_bytes(seed));
        let mailbox = Arc::clone(&mailboxes[usize::from(id.0)]);
        let opened = match &store {
            Some(store) => {
                let (levels, logger) = (Arc::clone(&levels), logger.clone());
                Some(durability::open(store, id, levels, mailbox, logger, &progress)?)
            }
            None => None,
        };
        let (durability, restore) = opened.unzip();
        let mailboxes = mailboxes.clone();
        tasks.push(ShardTask::new(
            shard,
            id,
            mailboxes,
            durability,
            settings,
            (clock, logger.clone(), requests.clone()),
            Arc::clone(&placement),
        ));
        restores.extend(restore);
    }
    settle_exchanges(&mut restores);
    let mut found = Restored::default();
    for (task, restore) in tasks.iter_mut().zip(restores) {
        let (shard, body) = task.parts();
        let restored = restore.finish(shard, clock.now(), body);
        found.sessions += restored.sessions;
        found.subscriptions += restored.subscriptions;
        found.messages += restored.messages;
        found.queued += restored.queued;
        found.retained += restored.retained;
    }
    if store.is_some() {
        logger.line(
            LogType::Information,
            format_args!(
                "Restored {} clients, {} subscriptions, {} base messages, {} client messages, {} \
                 retained messages.",
                found.sessions, found.subscriptions, found.messages, found.queued, found.retained
            ),
        );
    }
    Ok((mailboxes, tasks))
}

/// What can be lost at most, in one line.
fn say_what_is_kept(levels: &Levels, logger: &Logger) {
    let [crash, power] = losses(levels.default());
    logger.line(
        LogType::Information,
        format_args!(
            "durability {levels}: a crash of the broker takes at most the last {crash} s of what \
             was acknowledged, a power cut {power} s."
        ),
    );
}

/// Seconds of acknowledged messages that a crash and a power cut can take.
pub(crate) fn losses(level: Level) -> [u64; 2] {
    let (write, sync) = (BACKGROUND_WRITE.as_secs(), BACKGROUND_SYNC.as_secs());
    match level {
        Level::None => [write, write + sync],
        Level::Process => [0, sync],
        Level::Sync => [0, 0],
    }
}

/// The main worker: its shards, the listeners, `$SYS` and the signals.
async fn serve(
    args: &Args,
    broker: &Arc<Broker>,
    (mut signals, notify): (Signals, Notify),
    (mut ports, opened): (Ports, Change),
    tasks: Vec<ShardTask>,
) -> anyhow::Result<()> {
    let (workers, own_shards) = Workers::new(broker.logger.clone());
    for task in tasks {
        worker::begin(&workers, Box::new(task));
    }
    tokio::spawn(worker::run(Arc::clone(&workers), 0, own_shards));
    let to_shard = Arc::clone(&broker.mailboxes[0]);
    broker.logger.publish_with(move |topic, text| {
        let (topic, payload) = (topic.to_owned(), text.as_bytes().to_vec());
        let qos = QoS::ExactlyOnce;
        to_shard.send(Item::Publish { topic, payload, qos, retain: false });
    });
    ports.commit(opened, broker).await;
    let watch = watch::watch(Arc::clone(broker));
    tokio::spawn(panics::vital(broker.logger.clone(), "the watch over certificates", watch));
    let sys = publish_sys(Arc::clone(broker));
    let sys = tokio::spawn(panics::vital(broker.logger.clone(), "the $SYS tree", sys));
    let memory = watch_memory(Arc::clone(broker));
    let memory =
        tokio::spawn(panics::vital(broker.logger.clone(), "the account of memory", memory));
    broker.logger.line(
        LogType::Information,
        format_args!("mqttd version {} running", env!("CARGO_PKG_VERSION")),
    );
    if args.in_background {
        daemon::tell_ready();
    }
    notify.ready();
    let notify = Arc::new(notify);
    let watchdog = tokio::spawn(feed_watchdog(Arc::clone(broker), Arc::clone(&notify)));
    loop {
        match signals.next().await {
            Request::Stop => break,
            Request::Reload => {
                notify.reloading();
                reload::reload(broker, args, &mut ports).await;
                notify.ready();
            }
            Request::ReopenLog => {
                if let Err(error) = broker.logger.reopen() {
                    broker.logger.line(LogType::Error, format_args!("Error: {error}"));
                }
            }
            Request::Save => broker.mailboxes.iter().for_each(|m| m.send(Item::SyncNow)),
            Request::PrintTree => print_subscriptions(broker).await,
        }
    }
    notify.stopping();
    watchdog.abort();
    ports.close_all().await;
    sys.abort();
    memory.abort();
    stop(broker).await;
    workers.join();
    Ok(())
}

/// Writes each subscription to the standard output: filter, QoS and Client Identifier, sorted.
async fn print_subscriptions(broker: &Broker) {
    let mut lines = Vec::new();
    for mailbox in &broker.mailboxes {
        let (done, answer) = oneshot::channel();
        mailbox.send(Item::Subscriptions(done));
        lines.extend(answer.await.unwrap_or_default());
    }
    lines.sort_unstable();
    // Who reads the standard output may be slow, or gone.
    tokio::task::spawn_blocking(move || {
        let mut out = std::io::stdout().lock();
        let _ = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
        let _ = out.flush();
    });
}

/// Closes every connection, then every log.
async fn stop(broker: &Broker) {
    let ask = |make: fn(oneshot::Sender<()>) -> Item| {
        let answers: Vec<_> = broker
            .mailboxes
            .iter()
            .map(|mailbox| {
                let (done, answer) = oneshot::channel();
                mailbox.send(make(done));
                answer
            })
            .collect();
        async {
            for answer in answers {
                let _ = answer.await;
            }
        }
    };
    for step in [Item::Shutdown as fn(_) -> _, Item::Stop] {
        if tokio::time::timeout(STOP_TIMEOUT, ask(step)).await.is_err() {
            broker.logger.line(
                LogType::Warning,
                format_args!("Warning: the stop took longer than {} s.", STOP_TIMEOUT.as_secs()),
            );
        }
    }
}

/// Tells the service manager that the broker works, each time after every shard has answered.
async fn feed_watchdog(broker: Arc<Broker>, notify: Arc<Notify>) {
    let Some(interval) = notify.alive_interval() else { return };
    loop {
        report(&broker).await;
        notify.alive();
        alarm::sleep(interval).await;
    }
}

/// The PID file, removed at the end.
struct PidFile<'p>(Option<&'p Path>);

impl<'p> PidFile<'p> {
    fn write(path: Option<&'p Path>) -> anyhow::Result<Self> {
        if let Some(path) = path {
            std::fs::write(path, format!("{}\n", std::process::id()))
                .with_context(|| format!("writing pid_file {}", path.display()))?;
        }
        Ok(Self(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
