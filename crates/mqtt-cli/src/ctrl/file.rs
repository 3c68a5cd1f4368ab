//! `-f FILE dynsec setClientPassword USERNAME [PASSWORD] [-i ITERATIONS]`: a new password in the
//! file of dynamic security, without a broker. The file is replaced in one step, as a password
//! file is.

use std::path::PathBuf;

use mqtt_auth::PBKDF2_ITERATIONS_DEFAULT;
use serde_json::{Map, Value, json};

use super::init::{Hashed, hashed};
use super::prompt;
use crate::args::Persona;
use crate::exit::{Exit, Failure};
use crate::json;
use crate::passwd::file::Place;
use crate::print::tell;

/// Runs the command.
///
/// # Errors
/// The words are wrong, the file can't be read or written, or is none of dynamic security, or has
/// no such user.
pub(super) fn set_password(
    path: PathBuf,
    words: &[String],
    persona: &Persona,
) -> Result<Exit, Failure> {
    let Words { user, password, iterations } = Words::of(words)?;
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("Error: {error}"));
    let place = Place::new(path).map_err(|error| failed(&error))?;
    // Looked at before asking, so that nobody types a password for nothing.
    let contents = read(&place)?;
    if client(&mut parse(&contents, &place)?, user).is_none() {
        return unknown(user, persona);
    }
    let password = match password {
        Some(password) => Some(password.to_owned()),
        None => prompt::new_password(user)?,
    };
    let password = password.filter(|it| !it.is_empty());
    let password = password.ok_or_else(|| Failure::new("Error: Empty password."))?;
    let hash = hashed(&password, iterations)?;
    place.lock().map_err(|error| failed(&error))?;
    let old = place.read().map_err(|error| failed(&error))?;
    let mut tree = parse(old.as_ref().map_or("", |old| old.contents.as_str()), &place)?;
    let Some(client) = client(&mut tree, user) else { return unknown(user, persona) };
    put(client, hash, iterations);
    let mut new = Vec::new();
    json::pretty(&mut new, &tree);
    let new = String::from_utf8(new).expect("JSON is UTF-8");
    place.write(&new, old.as_ref()).map_err(|error| failed(&error))?;
    Ok(Exit::Success)
}

struct Words<'a> {
    user: &'a str,
    password: Option<&'a str>,
    iterations: u32,
}

impl<'a> Words<'a> {
    fn of(words: &'a [String]) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure {
            text: format!("Error: {what}\nError: Invalid function arguments provided."),
            exit: Exit::Arguments,
        };
        let mut iterations = PBKDF2_ITERATIONS_DEFAULT;
        let mut plain = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word != "-i" {
                plain.push(word.as_str());
                continue;
            }
            let number = words
                .next()
                .ok_or_else(|| wrong("-i argument given, but no iterations provided."))?;
            iterations =
                number.parse().ok().filter(|&number| number > 0).ok_or_else(|| {
                    wrong(&format!("-i wants a number above 0, not \"{number}\"."))
                })?;
        }
        match plain[..] {
            [user] => Ok(Self { user, password: None, iterations }),
            [user, password] => Ok(Self { user, password: Some(password), iterations }),
            [] => Err(wrong("setClientPassword: USERNAME is missing.")),
            [_, _, other, ..] => Err(wrong(&format!("Unknown argument: {other}"))),
        }
    }
}

fn read(place: &Place) -> Result<String, Failure> {
    let old = place.read().map_err(|error| Failure::new(format!("Error: {error}")))?;
    let missing = || Failure {
        text: format!("Error: Unable to open {}.", place.path().display()),
        exit: Exit::Arguments,
    };
    Ok(old.ok_or_else(missing)?.contents)
}

fn parse(contents: &str, place: &Place) -> Result<Value, Failure> {
    let path = place.path().display();
    let wrong = |text| Failure { text, exit: Exit::Arguments };
    if contents.is_empty() {
        return Err(wrong(format!("Error: {path} is empty.")));
    }
    let tree: Value = serde_json::from_str(contents)
        .map_err(|error| wrong(format!("Error: {path} is not valid JSON: {error}.")))?;
    match tree.get("clients").is_some_and(Value::is_array) {
        true => Ok(tree),
        false => Err(wrong(format!("Error: {path} is not a valid dynamic-security config file."))),
    }
}

fn client<'a>(tree: &'a mut Value, user: &str) -> Option<&'a mut Map<String, Value>> {
    let clients = tree.get_mut("clients")?.as_array_mut()?.iter_mut();
    clients
        .filter_map(Value::as_object_mut)
        .find(|client| client.get("username").and_then(Value::as_str) == Some(user))
}

fn unknown(user: &str, persona: &Persona) -> Result<Exit, Failure> {
    let text = format!("Error: Client {user} not found.");
    if persona.is_mosquitto {
        // Mosquitto's tool calls it a success.
        tell!("{text}");
        return Ok(Exit::Success);
    }
    Err(Failure::new(text))
}

/// In the form the file has: as a whole since 2.1, before that in parts, which every version reads.
fn put(client: &mut Map<String, Value>, hash: Hashed, iterations: u32) {
    if let Some(whole) = client.get_mut("encoded_password") {
        *whole = Value::String(hash.whole);
        for part in ["password", "salt", "iterations"] {
            client.shift_remove(part);
        }
        return;
    }
    client.insert("password".to_owned(), Value::String(hash.hash));
    client.insert("salt".to_owned(), Value::String(hash.salt));
    client.insert("iterations".to_owned(), json!(iterations));
}
