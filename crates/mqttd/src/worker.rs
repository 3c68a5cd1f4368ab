//! Threads. A worker is one thread with one current-thread runtime; it runs any number of shards as
//! tasks. The first worker is the main thread; others begin when a shard is sent to them. See
//! `docs/decisions/002-threads-and-shards.md`.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::Context;
use mqttd_conf::LogType;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::logging::Logger;
use crate::panics;
use crate::shard::{Ended, Running, ShardTask};

/// Threads that wait for the disk or hash passwords, beside each worker.
const BLOCKING_THREADS_MAX: usize = 4;

/// How long a blocking thread waits for more work.
const BLOCKING_KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(2);

/// Turns after which sockets are looked at although tasks are still ready. One would cost a quiet
/// broker a second system call for each message; the default of 61 would let a flood on one
/// connection keep the others waiting for as many turns.
const TURNS_PER_LOOK: u32 = 8;

/// A worker's runtime.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(TURNS_PER_LOOK)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .build()
        .context("starting a runtime")
}

/// The way of a shard to a worker.
pub(crate) struct Workers {
    inboxes: Mutex<Vec<Inbox>>,
    logger: Logger,
}

struct Inbox {
    tasks: UnboundedSender<Box<ShardTask>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// The first worker is the caller's thread, whose shards come out of the receiver.
    pub(crate) fn new(logger: Logger) -> (Arc<Self>, UnboundedReceiver<Box<ShardTask>>) {
        let (tasks, received) = unbounded_channel();
        let inboxes = Mutex::new(vec![Inbox { tasks, thread: None }]);
        (Arc::new(Self { inboxes, logger }), received)
    }

    /// Sends a shard to a worker, which is started if there is none of that number.
    fn send(self: &Arc<Self>, worker: usize, task: Box<ShardTask>) {
        let mut inboxes = self.inboxes.lock().expect("no holder of the lock can panic");
        while inboxes.len() <= worker {
            match self.start(inboxes.len()) {
                Ok(inbox) => inboxes.push(inbox),
                Err(error) => {
                    self.logger.line(
                        LogType::Error,
                        format_args!("Error: {error:#}; its shards stay where they are."),
                    );
                    break;
                }
            }
        }
        let inbox = inboxes.get(worker).unwrap_or(&inboxes[0]);
        // A worker ends only after all shards have been stopped.
        let _ = inbox.tasks.send(task);
    }

    fn start(self: &Arc<Self>, number: usize) -> anyhow::Result<Inbox> {
        let runtime = runtime()?;
        let (tasks, received) = unbounded_channel();
        let workers = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || runtime.block_on(run(workers, number, received)))
            .context("starting a worker thread")?;
        Ok(Inbox { tasks, thread: Some(thread) })
    }

    /// After all shards have been stopped: waits for the threads.
    pub(crate) fn join(&self) {
        let inboxes = std::mem::take(&mut *self.inboxes.lock().expect("no holder can panic"));
        for Inbox { tasks, thread } in inboxes {
            drop(tasks);
            if let Some(thread) = thread {
                // One that panicked has said so already.
                let _ = thread.join();
            }
        }
    }
}

/// Runs the shards that are sent to a worker.
pub(crate) async fn run(
    workers: Arc<Workers>,
    number: usize,
    mut received: UnboundedReceiver<Box<ShardTask>>,
) {
    while let Some(task) = received.recv().await {
        let workers = Arc::clone(&workers);
        let logger = workers.logger.clone();
        let running = panics::fatal(&logger, "a shard", || Running::on(number, task));
        let shard = async move {
            // The task bounds its own turns; tokio's budget would cut them at 128 socket
            // operations.
            if let Ended::Moved(to, task) = tokio::task::unconstrained(running).await {
                workers.send(to, task);
            }
        };
        tokio::spawn(panics::vital(logger, "a shard", shard));
    }
}

/// Sends a shard to the first worker.
pub(crate) fn begin(workers: &Arc<Workers>, task: Box<ShardTask>) {
    workers.send(0, task);
}
