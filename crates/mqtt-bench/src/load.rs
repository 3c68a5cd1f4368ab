//! Who used the processors: this program's threads, the broker, the machine. From /proc where there
//! is one; what can't be read is left out of the report, not guessed.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// Seconds this thread has run.
pub(crate) fn thread_cpu_seconds() -> f64 {
    seconds_of(ClockId::ThreadCPUTime)
}

/// Seconds this thread would have run, had nobody else used its processor: running and waiting in
/// the run queue. A generator that shares its processor is the bottleneck long before it runs all
/// the time. Where the system does not tell the waiting, only running counts.
pub(crate) fn thread_demand_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = text.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    thread_cpu_seconds() + waited as f64 / 1e9
}

/// Seconds all threads of this program have run.
pub(crate) fn process_cpu_seconds() -> f64 {
    seconds_of(ClockId::ProcessCPUTime)
}

fn seconds_of(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What had been used by one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    own: f64,
    broker: Option<f64>,
    /// Ticks of all processors: those spent idle, and all.
    host: Option<(u64, u64)>,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Processor seconds of this program.
    pub(crate) own: f64,
    /// Processor seconds of the broker.
    pub(crate) broker: Option<f64>,
    /// Share of all processors that stood idle, 0 to 1.
    pub(crate) host_idle: Option<f64>,
}

impl Usage {
    /// Now.
    pub(crate) fn now(broker_pid: Option<u32>) -> Self {
        Self {
            own: process_cpu_seconds(),
            broker: broker_pid.and_then(broker_cpu_seconds),
            host: fs::read_to_string("/proc/stat").ok().and_then(|text| host_ticks(&text)),
        }
    }

    /// Since an earlier moment.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        let broker = self.broker.zip(earlier.broker).map(|(now, then)| now - then);
        let host_idle = self.host.zip(earlier.host).and_then(|(now, then)| {
            let all = now.1.saturating_sub(then.1);
            (all > 0).then(|| now.0.saturating_sub(then.0) as f64 / all as f64)
        });
        Used { own: self.own - earlier.own, broker, host_idle }
    }
}

/// The broker's threads, to the nanosecond.
fn broker_cpu_seconds(pid: u32) -> Option<f64> {
    let mut nanos = 0u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread may end while we look.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        nanos += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanos as f64 / 1e9)
}

/// Idle ticks and all ticks of the first line of /proc/stat.
fn host_ticks(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|it| it.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest times stand in user already.
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((idle, ticks.iter().take(8).sum()))
}

/// The resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Whether a process with this number is there.
pub(crate) fn is_running(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows() {
        let before = Usage::now(Some(std::process::id()));
        let mut sum = 0u64;
        while thread_cpu_seconds() < 0.05 {
            sum = std::hint::black_box(sum + 1);
        }
        let used = Usage::now(Some(std::process::id())).since(&before);
        assert!(used.own > 0.0);
        if let Some(broker) = used.broker {
            assert!(broker > 0.0, "the same process seen from outside");
        }
        assert!(used.host_idle.is_none_or(|it| (0.0..=1.0).contains(&it)));
    }

    #[test]
    fn the_hosts_line() {
        let text = "cpu  10 1 5 100 4 0 2 1 7 7\ncpu0 1 2 3\n";
        assert_eq!(host_ticks(text), Some((104, 123)));
        assert_eq!(host_ticks("intr 1"), None);
        assert_eq!(host_ticks(""), None);
    }
}
