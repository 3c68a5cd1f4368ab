//! The open ports: which socket serves which listener. Opened at the start; a reload rearranges
//! them in two steps, so that one port that can't be opened leaves all as it was:
//!
//! ```text
//!   prepare: open what is missing ──▶ commit: hand sockets to their listeners, close the rest
//!                    └─ failed ─────▶ what was opened is closed again
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::bail;
use mqttd_conf::{Listener, LogType};
use mqttd_core::ids::ListenerId;
use tokio::task::JoinHandle;

use crate::inherited::Inherited;
use crate::listen::{self, At, Socket};
use crate::logging::Logger;
use crate::panics;
use crate::run::Broker;

/// The worker that accepts.
const ACCEPTING_WORKER: usize = 0;

/// See the file's head.
pub(crate) struct Ports {
    open: Vec<Port>,
    /// What the service manager has opened, until a listener asks for it.
    inherited: Inherited,
    logger: Logger,
}

/// An open socket with the task that accepts on it.
struct Port {
    /// Every address it serves: an IPv6 socket may serve IPv4 too.
    at: Vec<At>,
    listener: Arc<AtomicU16>,
    /// The service manager's, whose files stay when it is closed here.
    is_inherited: bool,
    accepting: JoinHandle<anyhow::Result<()>>,
}

/// A socket that was opened and does not accept yet.
struct Opened {
    at: Vec<At>,
    listener: ListenerId,
    socket: Socket,
    is_inherited: bool,
}

/// A rearrangement that is ready to be made.
pub(crate) struct Change {
    opened: Vec<Opened>,
    kept: Vec<(At, ListenerId)>,
    /// Closed already, because a new socket needed their port.
    gone: Vec<(At, ListenerId)>,
}

impl Ports {
    pub(crate) fn new(inherited: Inherited, logger: Logger) -> Self {
        Self { open: Vec::new(), inherited, logger }
    }

    /// Opens what these listeners want and is not open yet. An error leaves everything as it was.
    pub(crate) async fn prepare<'l>(
        &mut self,
        listeners: impl Iterator<Item = (ListenerId, &'l Listener)> + Clone,
        broker: Option<&Arc<Broker>>,
    ) -> anyhow::Result<Change> {
        let mut change = Change { opened: Vec::new(), kept: Vec::new(), gone: Vec::new() };
        let mut wanted: Vec<(ListenerId, &Listener, At)> = Vec::new();
        for (id, listener) in listeners.clone() {
            for at in listen::wanted(listener).await? {
                if let Some((_, other, _)) = wanted.iter().find(|(.., taken)| *taken == at) {
                    let (one, other) = (&listener.address, &other.address);
                    bail!("the listeners on {other} and on {one} both want {at}");
                }
                wanted.push((id, listener, at));
            }
        }
        let is_open = |(.., at): &(ListenerId, &Listener, At)| self.find(at).is_some();
        let (kept, missing): (Vec<_>, Vec<_>) = wanted.into_iter().partition(is_open);
        change.kept.extend(kept.into_iter().map(|(id, _, at)| (at, id)));
        for (id, listener) in listeners {
            let here = missing.iter().filter(|(of, ..)| *of == id).map(|(.., at)| at);
            if let Err(error) = self.open_for(&mut change, (id, listener), here).await {
                self.abandon(change, broker).await;
                return Err(error);
            }
        }
        Ok(change)
    }

    /// Opens the missing addresses of one listener.
    async fn open_for<'a>(
        &mut self,
        change: &mut Change,
        (id, listener): (ListenerId, &Listener),
        missing: impl Iterator<Item = &'a At>,
    ) -> anyhow::Result<()> {
        let mut failure = None;
        for at in missing {
            if let Some(opened) = change.opened.iter().find(|opened| opened.at.contains(at)) {
                if opened.listener != id {
                    bail!("the service manager's socket for {at} serves another listener too");
                }
                continue; // an IPv6 socket of the service manager serves IPv4 too
            }
            let (addresses, socket, is_inherited) = match self.inherited.take(at) {
                Some((addresses, socket)) => {
                    self.logger.line(
                        LogType::Information,
                        format_args!("Using the service manager's socket for {at}."),
                    );
                    (addresses, socket, true)
                }
                None => match self.open(at, listener, change).await {
                    Ok(socket) => (vec![at.clone()], socket, false),
                    Err(error) => {
                        self.logger.line(LogType::Debug, format_args!("{at}: {error}"));
                        failure = Some((at, error));
                        continue;
                    }
                },
            };
            change.opened.push(Opened { at: addresses, listener: id, socket, is_inherited });
        }
        let has_any = change.kept.iter().any(|(_, of)| *of == id)
            || change.opened.iter().any(|opened| opened.listener == id);
        // One family may be missing on this machine; none may be missing for a port that is in use.
        match failure {
            Some((at, error)) if !has_any || error.kind() == std::io::ErrorKind::AddrInUse => {
                let error = listen::failure(at, error);
                Err(match self.inherited.in_the_way(at) {
                    Some(other) => error.context(format!(
                        "the service manager passes a socket for {other} where the configuration \
                         has {at}: make the .socket unit and the listener lines agree"
                    )),
                    None => error,
                })
            }
            _ => Ok(()),
        }
    }

    /// Opens one socket. An old one that is in its way and leaves anyhow is closed first.
    async fn open(
        &mut self,
        at: &At,
        listener: &Listener,
        change: &mut Change,
    ) -> std::io::Result<Socket> {
        let text = listen::opening_text(at, listener.protocol);
        self.logger.line(LogType::Information, format_args!("{text}"));
        match listen::open(at, listener) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                let is_in_the_way = |port: &Port| {
                    let leaves = !change.kept.iter().any(|(kept, _)| port.at.contains(kept));
                    leaves && port.at.iter().any(|old| old.has_port_of(at))
                };
                let (leaving, staying) =
                    std::mem::take(&mut self.open).into_iter().partition(is_in_the_way);
                self.open = staying;
                let leaving: Vec<Port> = leaving;
                if leaving.is_empty() {
                    return Err(error);
                }
                for port in leaving {
                    let id = ListenerId(port.listener.load(Ordering::Relaxed));
                    change.gone.extend(port.at.iter().map(|at| (at.clone(), id)));
                    self.close(port).await;
                }
                listen::open(at, listener)
            }
            result => result,
        }
    }

    /// Makes a prepared change.
    pub(crate) async fn commit(&mut self, change: Change, broker: &Arc<Broker>) {
        for (at, id) in &change.kept {
            if let Some(port) = self.find(at) {
                port.listener.store(id.0, Ordering::Relaxed);
            }
            let live = broker.live();
            let mode = live.door(*id).and_then(|door| door.conf.socket_mode);
            if let (At::Unix(path), Some(mode)) = (at, mode) {
                if let Err(error) = mqtt_net::unix::set_mode(path, mode) {
                    self.logger.line(
                        LogType::Error,
                        format_args!("Error: mode of {}: {error}", path.display()),
                    );
                }
            }
        }
        let is_kept = |port: &Port| change.kept.iter().any(|(kept, _)| port.at.contains(kept));
        let (staying, leaving): (Vec<Port>, Vec<Port>) =
            std::mem::take(&mut self.open).into_iter().partition(is_kept);
        self.open = staying;
        for port in leaving {
            self.close(port).await;
        }
        for opened in change.opened {
            self.serve(opened, broker);
        }
        for at in self.inherited.drain() {
            let text = "no listener of the configuration has this address; it is closed. Make the \
                        .socket unit and the listener lines agree";
            self.logger.line(
                LogType::Warning,
                format_args!("Warning: the service manager's socket for {at}: {text}."),
            );
        }
    }

    /// Forgets a prepared change; what it has closed is opened again.
    pub(crate) async fn abandon(&mut self, change: Change, broker: Option<&Arc<Broker>>) {
        for opened in change.opened {
            if !opened.is_inherited {
                opened.at.iter().for_each(remove_path);
            }
        }
        let Some(broker) = broker else { return };
        let live = broker.live();
        for (at, id) in change.gone {
            let Some(door) = live.door(id) else { continue };
            match listen::open(&at, &door.conf) {
                Ok(socket) => {
                    let opened = Opened { at: vec![at], listener: id, socket, is_inherited: false };
                    self.serve(opened, broker);
                }
                Err(error) => {
                    let error = listen::failure(&at, error);
                    self.logger.line(
                        LogType::Error,
                        format_args!("Error: {error:#}. The listener is closed now."),
                    );
                }
            }
        }
    }

    /// Closes all.
    pub(crate) async fn close_all(&mut self) {
        for port in std::mem::take(&mut self.open) {
            port.close().await;
        }
    }

    fn serve(&mut self, opened: Opened, broker: &Arc<Broker>) {
        let listener = Arc::new(AtomicU16::new(opened.listener.0));
        let logger = broker.logger.clone();
        let (broker, of) = (Arc::clone(broker), Arc::clone(&listener));
        let accept = listen::accept(broker, ACCEPTING_WORKER, opened.socket, of);
        let accepting = tokio::spawn(panics::vital(logger, "a listener", accept));
        let Opened { at, is_inherited, .. } = opened;
        self.open.push(Port { at, listener, is_inherited, accepting });
    }

    async fn close(&self, port: Port) {
        for at in &port.at {
            let text = match at {
                At::Tcp(_) => format!("Closing listen socket on {at}."),
                At::Unix(_) => format!("Closing unix listen socket on {at}."),
            };
            self.logger.line(LogType::Information, format_args!("{text}"));
        }
        port.close().await;
    }

    fn find(&self, at: &At) -> Option<&Port> {
        self.open.iter().find(|port| port.at.contains(at))
    }
}

impl Port {
    async fn close(self) {
        self.accepting.abort();
        // The socket is closed when the task is gone, not when it is told to go.
        let _ = self.accepting.await;
        if !self.is_inherited {
            self.at.iter().for_each(remove_path);
        }
    }
}

/// A closed Unix socket leaves its file behind.
fn remove_path(at: &At) {
    let remove = |path: &Path| {
        // Whoever dropped root since may not be allowed to; the next start removes it then.
        let _ = std::fs::remove_file(path);
    };
    if let At::Unix(path) = at {
        remove(path);
    }
}
