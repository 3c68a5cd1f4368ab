//! SIGHUP: read everything anew, check it, then swap it; or keep the old configuration whole and
//! say why.

use std::sync::Arc;

use mqttd_conf::{Config, Disk, diff};

use crate::args::Args;
use crate::live::Live;
use mqttd_conf::LogType;

use crate::mailbox::Item;
use crate::run::Broker;

/// Reloads the configuration. Clients stay connected.
pub(crate) fn reload(broker: &Broker, args: &Args) {
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
    let changes = diff(&old.config, &config);
    let mut config = config;
    if changes.listeners.iter().any(needs_restart) {
        logger.line(
            LogType::Warning,
            format_args!(
                "Warning: listeners were added, removed or bound elsewhere: restart the broker for \
                 that. All other changes are applied."
            ),
        );
        config.listeners.clone_from(&old.config.listeners);
    }
    for name in &changes.needs_restart {
        logger.line(LogType::Warning, format_args!("Warning: {name} takes effect at a restart."));
    }
    match Live::load(config, args.verbosity(), logger) {
        Ok(live) => {
            if let Err(error) = logger.reconfigure(&live.config.logging) {
                logger.line(LogType::Error, format_args!("Error: {error}"));
                return keep_old(broker);
            }
            let settings = Arc::clone(&live.settings);
            broker.set_live(live);
            for mailbox in &broker.mailboxes {
                mailbox.send(Item::Settings(Arc::clone(&settings)));
            }
            logger.line(LogType::Information, format_args!("Config reloaded."));
        }
        Err(error) => {
            logger.line(LogType::Error, format_args!("Error: {error:#}"));
            keep_old(broker);
        }
    }
}

fn needs_restart(change: &mqttd_conf::ListenerChange) -> bool {
    use mqttd_conf::ListenerChange;
    match change {
        ListenerChange::Added(_) | ListenerChange::Removed(_) => true,
        ListenerChange::Changed { is_rebound, .. } => *is_rebound,
    }
}

fn keep_old(broker: &Broker) {
    broker.logger.line(
        LogType::Error,
        format_args!("The old configuration stays in force, with its password and ACL files."),
    );
}
