//! Looks after the certificates while the broker runs: new files are taken without SIGHUP, and one
//! that is about to end is said again each day. Sleeps for good while no listener has any.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqttd_conf::LogType;
use mqttd_core::ids::ListenerId;

use crate::alarm;
use crate::certificates::{Certificates, DAYS_TO_WARN, Stamp};
use crate::live::Door;
use crate::run::Broker;

/// Between two looks at the files: a few `stat` calls. Looking works where being told does not:
/// over NFS, and when a folder with the files is replaced by a link.
const PAUSE: Duration = Duration::from_secs(5);

/// A certificate and its key are two files: both must have rested so long before they are read.
const REST: Duration = Duration::from_secs(1);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs until the broker ends.
pub(crate) async fn watch(broker: Arc<Broker>) {
    // What can't be used is said once, not at every look.
    let mut refused: HashMap<ListenerId, Stamp> = HashMap::new();
    let mut said = Instant::now();
    loop {
        let reloaded = broker.reloaded.notified();
        let doors = doors_with_tls(&broker);
        if doors.is_empty() {
            reloaded.await;
            continue;
        }
        alarm::sleep(PAUSE).await;
        for (id, door) in doors {
            look(&broker, (id, &door), &mut refused).await;
        }
        if said.elapsed() >= DAY {
            said = Instant::now();
            remind(&broker);
        }
    }
}

fn doors_with_tls(broker: &Broker) -> Vec<(ListenerId, Arc<Door>)> {
    let live = broker.live();
    let doors = live.listeners().filter_map(|(id, _)| Some((id, Arc::clone(live.door(id)?))));
    doors.filter(|(_, door)| door.tls.is_some()).collect()
}

async fn look(
    broker: &Broker,
    (id, door): (ListenerId, &Arc<Door>),
    refused: &mut HashMap<ListenerId, Stamp>,
) {
    let (Some(conf), Some(old)) = (&door.conf.tls, &door.tls) else { return };
    let mut stamp = Stamp::of(conf);
    if stamp == old.stamp || refused.get(&id) == Some(&stamp) {
        return;
    }
    loop {
        tokio::time::sleep(REST).await;
        let now = Stamp::of(conf);
        if now == stamp {
            break;
        }
        stamp = now;
    }
    let logger = &broker.logger;
    match Certificates::load(&door.conf, logger) {
        Ok(Some(tls)) => {
            refused.remove(&id);
            broker.update(|live| live.with_certificates(door, tls));
        }
        Ok(None) => {}
        Err(error) => {
            let address = &door.conf.address;
            logger.line(LogType::Error, format_args!(
                "Error: new certificates of the listener on {address} are not used, the old ones \
                 stay: {error:#}."
            ));
            refused.insert(id, stamp);
        }
    }
}

fn remind(broker: &Broker) {
    for (_, door) in doors_with_tls(broker) {
        if let Some(tls) = door.tls.as_ref().filter(|tls| tls.days_left() < DAYS_TO_WARN) {
            tls.say(&door.conf, &broker.logger);
        }
    }
}
