//! `-d`: the broker starts itself again in the background and waits until that one accepts
//! connections, so that a script can go on at once.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// What the process in the background writes when it is ready.
const READY: &str = "ready";

/// Starts the broker in the background; returns when it is ready or has failed.
pub(crate) fn start() -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding the broker's own program file")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--in-background")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the broker in the background")?;
    let stdout = child.stdout.take().context("the pipe to the background")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).context("waiting for the background")?;
    if line.trim_end() == READY {
        return Ok(());
    }
    let status = child.wait().context("waiting for the background")?;
    bail!("the broker in the background ended at its start: {status}")
}

/// In the background: leave the terminal's session.
pub(crate) fn detach() -> anyhow::Result<()> {
    nix::unistd::setsid().context("leaving the terminal")?;
    Ok(())
}

/// In the background: tell the starter that connections are accepted. Later output has nowhere to
/// go.
pub(crate) fn tell_ready() {
    let mut stdout = std::io::stdout();
    // The starter may have been killed; the broker goes on.
    let _ = writeln!(stdout, "{READY}").and_then(|()| stdout.flush());
}
