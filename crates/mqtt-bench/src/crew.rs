//! The threads of a run: each has its own runtime and its share of the clients, from CONNECT to
//! DISCONNECT.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use mqtt_proto::connection::ServerLimits;
use mqtt_proto::packet::subscribe::push_filter;
use mqtt_proto::packet::{Connect, Subscribe, SubscribeFilters, SubscriptionOptions};
use mqtt_proto::property::PropertyId;
use mqtt_proto::{Packet, PacketIdentifier, Properties, QoS};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use crate::board::{Board, Phase, add};
use crate::clock::{Clock, seconds};
use crate::link::{Link, LinkError, Role};
use crate::load::thread_demand_seconds;
use crate::publisher::{Load, Publisher};
use crate::subscriber::{Book, Subscriber};
use crate::tally::{SharedTally, Tally};
use crate::target::Target;

/// How long a connection may take until it is ready.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections of one thread that are being opened at once.
const CONNECTING_MAX: usize = 64;

/// What a client is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Publisher number so and so, to this topic.
    Publish(u32, String),
    /// Takes what matches this filter at this QoS.
    Subscribe(String, QoS),
    /// Subscribes, and then reads nothing until the run is over.
    Stall(String, QoS),
    /// Only stays.
    Stay,
}

/// What is the same for all clients.
pub(crate) struct Orders {
    pub(crate) target: Target,
    pub(crate) load: Arc<Load>,
    pub(crate) board: Arc<Board>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) publishers: u32,
    /// Connections a second, of all threads together.
    pub(crate) connect_rate: Option<f64>,
    /// Subscribers count only messages of this run.
    pub(crate) own_run_only: bool,
}

/// What a thread brings home.
#[derive(Default)]
pub(crate) struct Harvest {
    pub(crate) tally: Tally,
    /// By subscriber.
    pub(crate) books: Vec<Book>,
    /// Share of the measured time that the thread ran or would have, had it got a processor.
    pub(crate) busy: f64,
}

/// A thread at work.
pub(crate) type Worker = JoinHandle<anyhow::Result<Harvest>>;

/// Starts the threads; client i belongs to thread i modulo their number.
pub(crate) fn start(orders: &Arc<Orders>, threads: usize) -> anyhow::Result<Vec<Worker>> {
    let spawn = |number| {
        let orders = Arc::clone(orders);
        let builder = std::thread::Builder::new().name(format!("bench-{number}"));
        builder.spawn(move || work(orders, number, threads)).context("cannot start a thread")
    };
    (0..threads).map(spawn).collect()
}

fn work(orders: Arc<Orders>, number: usize, threads: usize) -> anyhow::Result<Harvest> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let harvest = Rc::new(RefCell::new(Harvest::default()));
    let tally = SharedTally::default();
    let connecting = Rc::new(Semaphore::new(CONNECTING_MAX));
    let start = orders.board.clock.now();
    let local = LocalSet::new();
    local.spawn_local(watch_cpu(Arc::clone(&orders.board), Rc::clone(&harvest)));
    for index in (number..orders.tasks.len()).step_by(threads) {
        let due = orders.connect_rate.map(|rate| start + (index as f64 / rate * 1e9) as u64);
        let client = Client { index, orders: Arc::clone(&orders), tally: Rc::clone(&tally) };
        let (connecting, harvest) = (Rc::clone(&connecting), Rc::clone(&harvest));
        local.spawn_local(client.live(due, connecting, harvest));
    }
    runtime.block_on(local);
    let mut harvest = harvest.take();
    harvest.tally = tally.take();
    Ok(harvest)
}

/// Measures this thread's need of a processor while the run is on.
async fn watch_cpu(board: Arc<Board>, harvest: Rc<RefCell<Harvest>>) {
    let mut phases = board.phases();
    let is_on = |phase: &Phase| *phase != Phase::Connecting;
    if phases.wait_for(is_on).await.is_err() {
        return;
    }
    let (start, cpu) = (board.clock.now(), thread_demand_seconds());
    if phases.wait_for(|phase| *phase == Phase::Closing).await.is_ok() {
        let elapsed = seconds(start, board.clock.now());
        harvest.borrow_mut().busy = (thread_demand_seconds() - cpu) / elapsed.max(1e-6);
    }
}

/// One client of the run.
struct Client {
    index: usize,
    orders: Arc<Orders>,
    tally: SharedTally,
}

impl Client {
    async fn live(
        self,
        due: Option<u64>,
        connecting: Rc<Semaphore>,
        harvest: Rc<RefCell<Harvest>>,
    ) {
        let board = Arc::clone(&self.orders.board);
        if let Some(due) = due {
            let wait = Duration::from_nanos(due.saturating_sub(board.clock.now()));
            tokio::time::sleep(wait).await;
        }
        let permit = connecting.acquire().await;
        let due = due.unwrap_or_else(|| board.clock.now());
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, self.open()).await;
        drop(permit);
        let opened = opened.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in 30 s")));
        let (link, role) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                board.complain(crate::spoken(&error));
                add(&board.failed, 1);
                // Nobody waits for what it would have published.
                let is_publisher = matches!(self.orders.tasks[self.index], Task::Publish(..));
                add(&board.publishers_done, u64::from(is_publisher));
                return;
            }
        };
        let now = board.clock.now();
        self.tally.borrow_mut().connects.record(now.saturating_sub(due));
        add(&board.ready, 1);
        match role {
            Occupation::Publisher(publisher) => {
                drive(link, *publisher, &board).await;
            }
            Occupation::Stalled => {
                // Ends, too, when the board is gone: then nobody is left to be told.
                let _ = board.phases().wait_for(|phase| *phase == Phase::Closing).await;
            }
            Occupation::Subscriber(subscriber) => {
                let subscriber = drive(link, *subscriber, &board).await;
                harvest.borrow_mut().books.push(subscriber.into_book());
            }
        }
    }

    /// Connects, and subscribes if that is the task.
    async fn open(&self) -> anyhow::Result<(Link, Occupation)> {
        let orders = &self.orders;
        let target = &orders.target;
        let version = target.version;
        let mut link = Link::new(target.open(self.index).await?, version);
        let run = orders.own_run_only.then_some(orders.load.run);
        let (board, tally) = (Arc::clone(&orders.board), Rc::clone(&self.tally));
        let mut subscriber = Subscriber::new(version, run, board, tally);
        let client_id =
            format!("{}-{:x}-{}", target.client_prefix, orders.load.run & 0xFFFF, self.index);
        link.send(&Packet::Connect(Connect {
            version,
            is_bridge: false,
            clean_start: true,
            keep_alive_seconds: target.keep_alive_seconds,
            client_id: &client_id,
            will: None,
            username: target.username.as_deref(),
            password: target.password.as_deref().map(str::as_bytes),
            properties: Properties::EMPTY,
        }))?;
        let clock = &orders.board.clock;
        let greeting = exchange(&mut link, &mut subscriber, clock).await?;
        let keep_alive = greeting.keep_alive.unwrap_or(target.keep_alive_seconds);
        if keep_alive > 0 {
            // Early enough for any broker's patience.
            link.ping_every(Duration::from_secs_f64(f64::from(keep_alive) * 0.7));
        }
        let occupation = match &orders.tasks[self.index] {
            Task::Publish(number, topic) => {
                let window = orders.load.window.min(greeting.receive_maximum);
                Occupation::Publisher(Box::new(Publisher::new(
                    (*number, orders.publishers),
                    topic,
                    version,
                    window,
                    Arc::clone(&orders.load),
                    Arc::clone(&orders.board),
                    Rc::clone(&self.tally),
                )?))
            }
            Task::Subscribe(filter, qos) | Task::Stall(filter, qos) => {
                let mut filters = Vec::new();
                push_filter(&mut filters, filter, SubscriptionOptions::with_qos(*qos))?;
                link.send(&Packet::Subscribe(Subscribe {
                    packet_id: PacketIdentifier::new(1).context("1 is an identifier")?,
                    properties: Properties::EMPTY,
                    filters: SubscribeFilters::from_pushed(&filters),
                }))?;
                exchange(&mut link, &mut subscriber, clock).await?;
                match orders.tasks[self.index] {
                    Task::Stall(..) => Occupation::Stalled,
                    _ => Occupation::Subscriber(Box::new(subscriber)),
                }
            }
            Task::Stay => Occupation::Subscriber(Box::new(subscriber)),
        };
        Ok((link, occupation))
    }
}

enum Occupation {
    Publisher(Box<Publisher>),
    Subscriber(Box<Subscriber>),
    Stalled,
}

/// What a CONNACK says; a SUBACK says nothing.
struct Greeting {
    receive_maximum: u16,
    keep_alive: Option<u16>,
}

/// Writes what waits and reads up to CONNACK or SUBACK; messages on the way go to the subscriber.
async fn exchange(
    link: &mut Link,
    subscriber: &mut Subscriber,
    clock: &Clock,
) -> Result<Greeting, LinkError> {
    poll_fn(|cx| link.poll_write(cx)).await?;
    let mut answer = None;
    while answer.is_none() {
        poll_fn(|cx| {
            link.poll_read(cx, |packet, out| match packet {
                Packet::Connack(connack) if !connack.is_accepted() => {
                    Err(LinkError::Refused("CONNACK", connack.code))
                }
                Packet::Connack(connack) => {
                    let receive_maximum = ServerLimits::of(connack.properties).receive_maximum;
                    let keep_alive = connack.properties.u16(PropertyId::ServerKeepAlive);
                    answer = Some(Greeting { receive_maximum, keep_alive });
                    Ok(())
                }
                Packet::Suback(suback) => {
                    // From 0x80 on a code refuses the filter, in all versions.
                    if let Some(code) = suback.reason_codes.iter().find(|code| **code >= 0x80) {
                        return Err(LinkError::Refused("SUBACK", *code));
                    }
                    answer = Some(Greeting { receive_maximum: u16::MAX, keep_alive: None });
                    Ok(())
                }
                other => subscriber.receive(&other, clock.now(), out),
            })
        })
        .await?;
    }
    answer.ok_or(LinkError::Closed)
}

/// Lets the role act until the run is over or the connection breaks.
async fn drive<R: Role + Flowing>(mut link: Link, mut role: R, board: &Board) -> R {
    let mut phases = board.phases();
    let broke = loop {
        if *phases.borrow_and_update() == Phase::Closing {
            break None;
        }
        let wake = role.publisher().and_then(|number| board.flows.get(number as usize));
        let woken = async {
            match wake {
                Some(flow) => flow.wake.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            result = poll_fn(|cx| link.poll_turn(&mut role, &board.clock, cx)) => {
                break result.err();
            }
            _ = phases.changed() => {}
            () = woken => {}
        }
    };
    match broke {
        Some(error) => {
            board.complain(error.to_string());
            add(&board.broken, 1);
        }
        None => link.close().await,
    }
    role
}

/// Which publisher's arrivals wake a role.
trait Flowing {
    fn publisher(&self) -> Option<u32>;
}

impl Flowing for Publisher {
    fn publisher(&self) -> Option<u32> {
        Some(self.number())
    }
}

impl Flowing for Subscriber {
    fn publisher(&self) -> Option<u32> {
        None
    }
}
