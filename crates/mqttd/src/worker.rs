//! Threads. A worker is one thread with one current-thread runtime; it runs any number of shards as
//! tasks. See `docs/decisions/002-threads-and-shards.md`.

use std::thread::JoinHandle;

use anyhow::Context;

use crate::shard::ShardTask;

/// Threads that wait for the disk or hash passwords, beside each worker.
const BLOCKING_THREADS_MAX: usize = 4;

/// How long a blocking thread waits for more work.
const BLOCKING_KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(2);

/// A worker's runtime. Sockets are looked at after every turn of a shard, not only when all tasks
/// sleep.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(1)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .build()
        .context("starting a runtime")
}

/// Starts a shard on the current worker.
pub(crate) fn spawn_shard(task: ShardTask) {
    // The task bounds its own turns; tokio's budget would cut them at 128 socket operations.
    tokio::spawn(tokio::task::unconstrained(task));
}

/// Starts a worker thread with its shards. It ends when they do.
pub(crate) fn spawn(number: usize, tasks: Vec<ShardTask>) -> anyhow::Result<JoinHandle<()>> {
    let runtime = runtime()?;
    std::thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || {
            runtime.block_on(async move {
                let shards: Vec<_> = tasks
                    .into_iter()
                    .map(|task| tokio::spawn(tokio::task::unconstrained(task)))
                    .collect();
                for shard in shards {
                    // A shard that panicked has said so; the others go on.
                    let _ = shard.await;
                }
            });
        })
        .context("starting a worker thread")
}
