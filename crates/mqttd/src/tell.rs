//! `mqttd reload`: checks the configuration, then tells the running broker to take it. It is found
//! by its number, or by the `pid_file` of the configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mqttd_conf::{Config, Disk};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exit::{Ended, Ends, Exit};

/// Names under which the broker may run.
const NAMES: [&str; 2] = ["mqttd", "mosquitto"];

/// Sends SIGHUP; returns whom to. A configuration with mistakes is not sent around.
pub(crate) fn reload(config_file: Option<&Path>, pid: Option<i32>) -> Result<i32, Ended> {
    let config = config_file.map(load).transpose().ends(Exit::Configuration)?;
    let pid_file = config.and_then(|config| config.general.pid_file);
    let pid = match pid {
        Some(pid) => pid,
        None => read_pid(pid_file).ends(Exit::Failed)?,
    };
    check_process(pid).ends(Exit::Failed)?;
    match kill(Pid::from_raw(pid), Signal::SIGHUP) {
        Ok(()) => Ok(pid),
        Err(Errno::EPERM) => {
            Err(anyhow::anyhow!("process {pid} belongs to another user: try it with sudo"))
                .ends(Exit::Failed)
        }
        Err(error) => Err(error).context(format!("telling process {pid}")).ends(Exit::Failed),
    }
}

fn load(path: &Path) -> anyhow::Result<Config> {
    match Config::load(&Disk, path) {
        Ok((config, warnings)) => {
            warnings.iter().for_each(|warning| eprintln!("{warning}"));
            Ok(config)
        }
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            bail!("the running broker has not been told: correct the configuration first")
        }
    }
}

fn read_pid(pid_file: Option<PathBuf>) -> anyhow::Result<i32> {
    let Some(path) = pid_file else {
        bail!(
            "which broker? Give its number, --pid N, or a configuration with a pid_file line, \
             -c FILE"
        );
    };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("pid_file {}: does the broker run?", path.display()))?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 1);
    pid.with_context(|| format!("pid_file {} holds no process number", path.display()))
}

/// A number that was left behind may belong to somebody else by now, whom SIGHUP would end.
fn check_process(pid: i32) -> anyhow::Result<()> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .with_context(|| format!("there is no process {pid}: does the broker run?"))?;
    let name = name.trim();
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    if !NAMES.contains(&name) && own != Some(name) {
        bail!("process {pid} is {name}, not mqttd");
    }
    Ok(())
}
