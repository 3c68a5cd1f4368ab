//! What a panic leads to: never to a broker that is half alive.
//!
//! A runtime's task that panics just ends. For a shard that would be the worst outcome: its
//! Clients stay connected and nobody serves them. So everything that serves more than one
//! connection is [`fatal`]: the process says why and aborts; what was acknowledged is in the log
//! on disk and a restart brings it back. What serves a single connection that is in no shard yet
//! is [`contained`]: the connection ends.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};

use mqttd_conf::LogType;

use crate::logging::Logger;

thread_local! {
    /// What this thread's last panic said, and where.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Has every panic remembered for the log line of whoever catches it. Standard error gets the
/// usual message too.
pub(crate) fn remember() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            let text = text.unwrap_or("no message");
            let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
            let text = format!("{text}{}", place.unwrap_or_default());
            // A panic within this borrow is impossible; within a thread's last moments the
            // memory is gone and the usual message must do.
            let _ = LAST.try_with(|last| *last.borrow_mut() = text);
            usual(info);
        }));
    });
}

fn last() -> String {
    LAST.try_with(|last| last.borrow().clone()).unwrap_or_default()
}

/// Runs `work`; if it panics, says so in the log and ends the process at once.
pub(crate) fn fatal<T>(logger: &Logger, what: &str, work: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => value,
        Err(_) => die(logger, what),
    }
}

fn die(logger: &Logger, what: &str) -> ! {
    // The log itself may be what is broken: nothing may keep the process from ending.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let text = last();
        logger.line(
            LogType::Error,
            format_args!("Error: {what} has panicked, the broker ends: {text}. This is a bug."),
        );
    }));
    std::process::abort()
}

/// A task that the broker can't do without: its panic ends the process.
pub(crate) async fn vital<F: Future>(logger: Logger, what: &'static str, work: F) -> F::Output {
    let mut work = Box::pin(work);
    std::future::poll_fn(move |cx| fatal(&logger, what, || work.as_mut().poll(cx))).await
}

/// A task that serves one connection: its panic ends the task, with a log line.
pub(crate) struct Contained<F> {
    work: Option<Pin<Box<F>>>,
    logger: Logger,
}

/// See [`Contained`].
pub(crate) fn contained<F: Future<Output = ()>>(logger: Logger, work: F) -> Contained<F> {
    Contained { work: Some(Box::pin(work)), logger }
}

impl<F: Future<Output = ()>> Future for Contained<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else { return Poll::Ready(()) };
        if let Ok(poll) = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            return poll;
        }
        // Its socket is closed with it.
        self.work = None;
        let text = last();
        self.logger.line(
            LogType::Error,
            format_args!(
                "Error: a connection before its CONNECT is closed: {text}. This is a bug."
            ),
        );
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::logging::Verbosity;

    fn logger() -> Logger {
        let logging = mqttd_conf::Config::with_ports(&[1]).logging;
        Logger::new(&logging, Verbosity::Configured).unwrap()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    /// Set in the process that a test starts from itself to see it die.
    const ROLE: &str = "MQTTD_TEST_PANICS";

    /// Runs one test of this file in a process of its own, with [`ROLE`] set.
    fn in_own_process(test: &str) -> std::process::Output {
        Command::new(std::env::current_exe().unwrap())
            .args([&format!("panics::tests::{test}"), "--exact", "--nocapture"])
            .env(ROLE, "1")
            .output()
            .unwrap()
    }

    #[test]
    fn a_vital_task_that_panics_ends_the_process_after_a_log_line() {
        use std::os::unix::process::ExitStatusExt as _;
        if std::env::var_os(ROLE).is_some() {
            remember();
            let task = vital(logger(), "shard 3", async {
                tokio::task::yield_now().await;
                panic!("injected");
            });
            runtime().block_on(async { tokio::spawn(task).await }).unwrap();
            unreachable!("the process must have ended");
        }
        let done = in_own_process("a_vital_task_that_panics_ends_the_process_after_a_log_line");
        let text = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.signal(), Some(6), "SIGABRT: {done:?}");
        let line = "Error: shard 3 has panicked, the broker ends: injected at ";
        assert!(text.lines().any(|found| found.contains(line)), "{text}");
    }

    #[test]
    fn a_contained_task_that_panics_ends_alone() {
        struct Socket(std::sync::Arc<()>);
        let open = std::sync::Arc::new(());
        let socket = Socket(std::sync::Arc::clone(&open));
        remember();
        runtime().block_on(async {
            let task = contained(logger(), async move {
                tokio::task::yield_now().await;
                assert!(std::sync::Arc::strong_count(&socket.0) > 2, "injected");
            });
            tokio::spawn(task).await.expect("the panic does not reach the runtime");
            tokio::spawn(async {}).await.expect("others go on");
        });
        assert_eq!(std::sync::Arc::strong_count(&open), 1, "the socket is closed");
        assert!(last().starts_with("injected at "), "{}", last());
    }
}
