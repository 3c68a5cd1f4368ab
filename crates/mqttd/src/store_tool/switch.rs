//! From Mosquitto to us and back: where the database and the store are, named on the command line
//! or by a `mosquitto.conf`. With a `mosquitto.conf` both commands suit a package's scripts: what
//! is not there is no failure.

use std::path::Path;
use std::{fs, io};

use anyhow::{Context, bail};
use mqttd_conf::{Address, Config, Disk};

use super::mosquitto::{self, Ports, Wanted};
use super::{Verdict, mosquitto_export};
use crate::durability::FOLDER;

/// Mosquitto's name for its database where nothing else is said.
const DATABASE: &str = "mosquitto.db";

/// `mqttd store import-mosquitto`.
pub(super) fn import(
    file: Option<&Path>,
    dir: Option<&Path>,
    shards: Option<u8>,
    config_file: Option<&Path>,
) -> anyhow::Result<Verdict> {
    let Some(path) = config_file else {
        let file = file.context("which file?")?;
        return mosquitto::import(file, dir, &Wanted { shards, ports: Ports::default() });
    };
    let Some(config) = load(path)? else { return Ok(Verdict::Good) };
    let dir = &config.persistence.location;
    let file = dir.join(&config.persistence.mosquitto_file);
    let store = dir.join(FOLDER);
    if store.try_exists().with_context(|| store.display().to_string())? {
        eprintln!("There is {} already: it is used as it is.", store.display());
        return Ok(Verdict::Good);
    }
    if !file.try_exists().with_context(|| file.display().to_string())? {
        eprintln!("There is no {}: nothing to take over.", file.display());
        return Ok(Verdict::Good);
    }
    let configured = config.general.shards.and_then(|shards| u8::try_from(shards).ok());
    let shards = shards.or(configured);
    mosquitto::import(&file, Some(dir), &Wanted { shards, ports: ports(&config) })
}

/// `mqttd store export-mosquitto`.
pub(super) fn export(
    dir: Option<&Path>,
    file: Option<&Path>,
    config_file: Option<&Path>,
) -> anyhow::Result<Verdict> {
    let Some(path) = config_file else {
        let dir = dir.context("which store?")?;
        let beside = dir.join(DATABASE);
        return mosquitto_export::export(dir, file.unwrap_or(&beside), &Ports::default());
    };
    let Some(config) = load(path)? else { return Ok(Verdict::Good) };
    let dir = &config.persistence.location;
    let store = dir.join(FOLDER);
    if !store.try_exists().with_context(|| store.display().to_string())? {
        eprintln!("There is no {}: nothing to give back.", store.display());
        return Ok(Verdict::Good);
    }
    let file = dir.join(&config.persistence.mosquitto_file);
    let verdict = mosquitto_export::export(dir, &file, &ports(&config))?;
    put_aside(&store).with_context(|| format!("putting {} aside", store.display()))?;
    Ok(verdict)
}

/// Mosquitto goes on from its file: what changes there is not in this store, which must not be
/// started on again by mistake.
fn put_aside(store: &Path) -> io::Result<()> {
    let aside = store.with_extension("store.exported");
    if aside.try_exists()? {
        // Of a switch before; what was in it went to Mosquitto and came back since.
        fs::remove_dir_all(&aside)?;
    }
    fs::rename(store, &aside)?;
    eprintln!("The store is {} now.", aside.display());
    Ok(())
}

/// `None`: by this configuration nothing is kept.
fn load(path: &Path) -> anyhow::Result<Option<Config>> {
    let config = match Config::load(&Disk, path) {
        Ok((config, _)) => config,
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            bail!("{} has mistakes: mqttd -c FILE --test-config", path.display())
        }
    };
    if !config.persistence.enabled {
        eprintln!("{} has no `persistence true`: nothing is kept.", path.display());
        return Ok(None);
    }
    Ok(Some(config))
}

fn ports(config: &Config) -> Ports {
    let port = |address: &Address| match address {
        Address::Tcp { port, .. } => *port,
        Address::Unix { .. } => 0,
    };
    Ports(config.listeners.iter().map(|listener| port(&listener.address)).collect())
}
