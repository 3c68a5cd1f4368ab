//! SIGHUP: read everything anew, check it, then swap it; or keep the old configuration whole and
//! say why.

use std::sync::Arc;

use mqttd_conf::{Config, Disk, diff};
use mqttd_core::ids::ListenerId;

use crate::args::Args;
use crate::live::Live;
use mqttd_conf::LogType;

use crate::mailbox::Item;
use crate::ports::Ports;
use crate::run::Broker;

/// Reloads the configuration. Clients stay connected, but those of a listener that is taken away.
pub(crate) async fn reload(broker: &Arc<Broker>, args: &Args, ports: &mut Ports) {
    let logger = &broker.logger;
    logger.line(LogType::Information, format_args!("Reloading config."));
    let old = broker.live();
    let config = match &args.config_file {
        None => old.config.clone(),
        Some(path) => match Config::load(&Disk, path) {
            Ok((mut config, warnings)) => {
                for warning in warnings {
                    logger.line(LogType::Warning, format_args!("{warning}"));
                }
                config.set_ports(&args.ports);
                config
            }
            Err(errors) => {
                for error in errors {
                    logger.line(LogType::Error, format_args!("Error: {error}"));
                }
                return keep_old(broker);
            }
        },
    };
    for name in &diff(&old.config, &config).needs_restart {
        logger.line(LogType::Warning, format_args!("Warning: {name} takes effect at a restart."));
    }
    match apply(broker, config, (args, ports)).await {
        Ok(()) => logger.line(LogType::Information, format_args!("Config reloaded.")),
        Err(error) => {
            logger.line(LogType::Error, format_args!("Error: {error:#}"));
            keep_old(broker);
        }
    }
}

/// Everything that can fail comes first, then nothing can any more.
async fn apply(
    broker: &Arc<Broker>,
    config: Config,
    (args, ports): (&Args, &mut Ports),
) -> anyhow::Result<()> {
    // Rights that change meanwhile would be undone by what is read here.
    let _changing = broker.changes.lock().await;
    let (logger, old) = (&broker.logger, broker.live());
    let live = Live::load(config, Some(&old), args.verbosity(), logger)?;
    let change = ports.prepare(live.listeners(), Some(broker)).await?;
    if let Err(error) = logger.reconfigure(&live.config.logging) {
        ports.abandon(change, Some(broker)).await;
        return Err(error.into());
    }
    let is_gone = |id: &ListenerId| live.door(*id).is_none();
    let gone: Vec<ListenerId> = old.listeners().map(|(id, _)| id).filter(is_gone).collect();
    let settings = Arc::clone(&live.settings);
    if let (Some(memory), Some(limit)) = (&settings.memory, live.config.limits.memory_limit) {
        memory.set_limit(limit);
    }
    broker.set_live(live);
    for id in &gone {
        if let Some(door) = old.door(*id) {
            door.places.close();
        }
    }
    for mailbox in &broker.mailboxes {
        gone.iter().for_each(|id| mailbox.send(Item::CloseListener(*id)));
        mailbox.send(Item::Settings(Arc::clone(&settings)));
    }
    ports.commit(change, broker).await;
    Ok(())
}

fn keep_old(broker: &Broker) {
    broker.logger.line(
        LogType::Error,
        format_args!("The old configuration stays in force, with its password and ACL files."),
    );
}
