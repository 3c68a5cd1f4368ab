//! `dynsec init FILE ADMIN [PASSWORD]`: the first file of dynamic security, with a user that may
//! administer it and nothing else.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use mqtt_auth::{PBKDF2_ITERATIONS_DEFAULT, PasswordHash, Scheme};
use serde_json::{Value, json};

use super::prompt;
use crate::args::Persona;
use crate::exit::{Exit, Failure};
use crate::json;
use crate::print::{say, tell};

/// Bytes of salt that each version of the plugin takes.
const SALT_BYTES: usize = 12;

/// Runs the command.
///
/// # Errors
/// Words are missing, the file exists or can't be written.
pub fn run(words: &[String], persona: &Persona) -> Result<Exit, Failure> {
    let arguments = |what: &str| Failure {
        text: format!("dynsec init: {what}\nError: Invalid function arguments provided."),
        exit: Exit::Arguments,
    };
    let (path, admin, password) = match words {
        [path, admin] => (path, admin, None),
        [path, admin, password] => (path, admin, Some(password.clone())),
        [] | [_] => {
            return Err(arguments("Not enough arguments - filename, or admin-user missing."));
        }
        _ => return Err(arguments("Too many arguments.")),
    };
    let written = write(path, admin, password);
    match written {
        // As with other commands, Mosquitto's tool calls it a success.
        Err(failure) if persona.is_mosquitto => tell!("{}", failure.text),
        Err(failure) => return Err(failure),
        Ok(()) => tell_how_to_go_on(path, admin, &persona.name),
    }
    Ok(Exit::Success)
}

fn write(path: &str, admin: &str, password: Option<String>) -> Result<(), Failure> {
    let exists = || {
        let text = "already exists. Remove the file or use a different location..";
        Failure::new(format!("dynsec init: '{path}' {text}"))
    };
    // Looked at before asking, so that nobody types a password for nothing.
    if std::path::Path::new(path).exists() {
        return Err(exists());
    }
    let password = match password {
        Some(password) => Some(password),
        None => prompt::new_password(admin)?,
    };
    let password = password.filter(|it| !it.is_empty());
    let password = password.ok_or_else(|| Failure::new("Error: Empty password."))?;
    let mut contents = Vec::new();
    json::pretty(&mut contents, &first_contents(admin, &password)?);
    // Hashes of passwords are nobody else's business.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(),
        _ => Failure::new(format!("dynsec init: Unable to open '{path}' for writing.")),
    })?;
    let written = file.write_all(&contents).and_then(|()| file.sync_all());
    written.map_err(|error| Failure::new(format!("dynsec init: '{path}': {error}")))
}

fn tell_how_to_go_on(path: &str, admin: &str, tool: &str) {
    say!(
        "The client '{admin}' has been created in the file '{path}'.\n\
         This client is configured to allow you to administer the dynamic security plugin only.\n\
         It does not have access to publish messages to normal topics.\n\
         You should create your application clients to do that, for example:\n   \
         {tool} <connect options> dynsec createClient <username>\n   \
         {tool} <connect options> dynsec createRole <rolename>\n   \
         {tool} <connect options> dynsec addRoleACL <rolename> publishClientSend my/topic \
         [priority]\n   \
         {tool} <connect options> dynsec addClientRole <username> <rolename> [priority]\n\
         See https://mosquitto.org/documentation/dynamic-security/ for details of all commands."
    );
}

/// A hash as the file of dynamic security keeps it: in parts, or as a whole since 2.1.
pub(super) struct Hashed {
    pub(super) salt: String,
    pub(super) hash: String,
    /// `$7$ITERATIONS$SALT$HASH`
    pub(super) whole: String,
}

pub(super) fn hashed(password: &str, iterations: u32) -> Result<Hashed, Failure> {
    let mut salt = [0; SALT_BYTES];
    let failed = |what: String| Failure::new(format!("Error: {what}"));
    getrandom::fill(&mut salt).map_err(|error| failed(error.to_string()))?;
    let scheme = Scheme::Pbkdf2Sha512 { iterations };
    let hash = PasswordHash::create(scheme, password.as_bytes(), &salt);
    let whole = hash.map_err(|error| failed(error.to_string()))?.to_string();
    let mut parts = whole.split('$').skip(3).map(str::to_owned);
    let (salt, hash) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Ok(Hashed { salt, hash, whole })
}

fn first_contents(admin: &str, password: &str) -> Result<Value, Failure> {
    let Hashed { salt, hash, .. } = hashed(password, PBKDF2_ITERATIONS_DEFAULT)?;
    let acl = |kind: &str, topic: &str| json!({ "acltype": kind, "topic": topic, "allow": true });
    Ok(json!({
        "clients": [{
            "username": admin,
            "textName": "Dynsec admin user",
            "password": hash,
            "salt": salt,
            "iterations": PBKDF2_ITERATIONS_DEFAULT,
            "roles": [{ "rolename": "admin" }],
        }],
        "roles": [{
            "rolename": "admin",
            "acls": [
                acl("publishClientSend", "$CONTROL/dynamic-security/#"),
                acl("publishClientReceive", "$CONTROL/dynamic-security/#"),
                acl("subscribePattern", "$CONTROL/dynamic-security/#"),
                acl("publishClientReceive", "$SYS/#"),
                acl("subscribePattern", "$SYS/#"),
                acl("publishClientReceive", "#"),
                acl("subscribePattern", "#"),
                acl("unsubscribePattern", "#"),
            ],
        }],
        "defaultACLAccess": {
            "publishClientSend": false,
            "publishClientReceive": true,
            "subscribe": false,
            "unsubscribe": true,
        },
    }))
}
