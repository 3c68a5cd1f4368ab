//! Mosquitto's way to write a command line, brought into `--flag=value` form.
//!
//! There every option takes the word behind it, whatever it looks like (`-m -1`), `-D` takes three
//! or four words, and `-L` stands for host, port, login and topic at once, in its place among the
//! others.

use clap::{ArgAction, Command};
use mqtt_client::url::{Url, percent_decode};

use super::Persona;
use super::property::SEPARATOR;

/// Rewrites `words` (without the name of the program).
///
/// # Errors
/// An option lacks its value, or a URL is broken.
pub fn normalise(
    command: &Command,
    persona: &Persona,
    words: &[String],
) -> Result<Vec<String>, String> {
    let mut out = Vec::with_capacity(words.len());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            out.push(word.clone());
            out.extend(words.cloned());
            break;
        }
        let Some((name, placeholder)) = takes_value(command, word) else {
            out.push(word.clone());
            continue;
        };
        let missing = || match name.as_str() {
            "property" => TOO_FEW.to_owned(),
            "protocol-version" => {
                "--protocol-version argument given but no version specified.\n".to_owned()
            }
            _ => {
                format!("{word} argument given but {} specified.\n", lacking(&name, &placeholder))
            }
        };
        let first = words.next().ok_or_else(missing)?;
        match name.as_str() {
            "property" => {
                let few = || TOO_FEW.to_owned();
                let property = words.next().ok_or_else(few)?;
                let mut parts = vec![first.as_str(), property, words.next().ok_or_else(few)?];
                if property == "user-property" {
                    parts.push(words.next().ok_or_else(few)?);
                }
                out.push(format!("--property={}", parts.join(SEPARATOR)));
            }
            "url" => expand_url(first, command, persona, &mut out)?,
            _ => out.push(format!("--{name}={first}")),
        }
    }
    Ok(out)
}

/// Where in `words` the first stands that is neither an option nor the value of one.
pub fn operands_at(command: &Command, words: &[String]) -> usize {
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
        let values = match takes_value(command, word) {
            Some((name, _)) if name == "property" => {
                3 + usize::from(words.get(at + 2).is_some_and(|name| name == "user-property"))
            }
            Some(_) => 1,
            None => 0,
        };
        at += 1 + values;
    }
    at.min(words.len())
}

const TOO_FEW: &str = "--property argument given but not enough arguments specified.\n";

/// Mosquitto's words for a value that is not there.
fn lacking(name: &str, placeholder: &str) -> String {
    let what = match name {
        "max-inflight" => return "max_inflight not".to_owned(),
        "qos" => "QoS",
        "id-prefix" => "id prefix",
        "session-expiry-interval" => "session expiry interval",
        "url" => "URL",
        "capath" => "directory",
        "will-topic" => "will topic",
        "will-payload" => "will payload",
        "will-qos" => "will QoS",
        "repeat" => "count",
        "repeat-delay" => "time",
        "unix" => "socket path",
        "proxy" => "proxy url",
        "filter-out" => "topic filter",
        "unsubscribe" => "unsubscribe topic",
        "options-file" => "options file",
        "random-filter" => "chance",
        "retain-handling" => "option",
        "response-topic" => "response topic",
        "tls-engine" => "engine_id",
        "tls-engine-kpass-sha1" => "kpass sha1",
        _ => return format!("no {}", placeholder.to_lowercase()),
    };
    format!("no {what}")
}

/// The value `flag` has in the end in a line that [`normalise`] has made.
pub fn last_value(words: &[String], flag: &str) -> Option<String> {
    values(words, flag).last().map(str::to_owned)
}

/// Does `flag` stand more than once in a line that [`normalise`] has made?
pub fn is_repeated(words: &[String], flag: &str) -> bool {
    values(words, flag).count() > 1
}

fn values<'w>(words: &'w [String], flag: &str) -> impl Iterator<Item = &'w str> {
    let options = words.iter().take_while(|word| *word != "--");
    options.filter_map(move |word| word.strip_prefix(flag)?.strip_prefix('='))
}

/// The long name and the placeholder of the option `word` names, if it takes the next word.
fn takes_value(command: &Command, word: &str) -> Option<(String, String)> {
    let dashed = word.strip_prefix('-')?;
    let arg = command.get_arguments().find(|arg| match dashed.strip_prefix('-') {
        Some(long) => {
            arg.get_long() == Some(long)
                || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
        }
        None => {
            let mut letters = dashed.chars();
            arg.get_short().is_some()
                && arg.get_short() == letters.next()
                && letters.next().is_none()
        }
    })?;
    if !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
        return None;
    }
    let placeholder = arg.get_value_names().and_then(|names| names.first());
    Some((arg.get_long()?.to_owned(), placeholder.map(ToString::to_string).unwrap_or_default()))
}

fn expand_url(
    text: &str,
    command: &Command,
    persona: &Persona,
    out: &mut Vec<String>,
) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| match error {
        mqtt_client::url::UrlError::UnknownScheme => "unsupported URL scheme.\n".to_owned(),
        other => format!("{other}."),
    })?;
    // Mosquitto takes user and password as they stand.
    let decode = |part: &str| match persona.is_mosquitto {
        true => Ok(part.to_owned()),
        false => percent_decode(part).map_err(|error| format!("{error}.")),
    };
    if url.scheme == mqtt_client::url::Scheme::Unix {
        out.push(format!("--unix={}", url.path));
        return Ok(());
    }
    out.push(format!("--host={}", url.host));
    let port = match (url.port, url.scheme.has_websocket()) {
        (None, true) => Some(url.port_or_default()),
        (port, _) => port,
    };
    out.extend(port.map(|port| format!("--port={port}")));
    if let Some(username) = url.username {
        out.push(format!("--username={}", decode(username)?));
    }
    if let Some(password) = url.password {
        out.push(format!("--pw={}", decode(password)?));
    }
    if url.scheme.has_tls() {
        out.push("--tls".to_owned());
    }
    if url.scheme.has_websocket() {
        out.push("--ws".to_owned());
    }
    // mqtt-ctrl has no topic of its own and passes over the one of a URL.
    let has_topic = command.get_arguments().any(|arg| arg.get_long() == Some("topic"));
    if has_topic && !url.path.is_empty() {
        out.push(format!("--topic={}", url.path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::PubCli;

    fn normalised(line: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<String> = line.iter().map(ToString::to_string).collect();
        normalise(&PubCli::command(), &Persona::of("mqtt-pub"), &words)
    }

    #[test]
    fn every_option_takes_the_word_behind_it() {
        let line = normalised(&["-m", "-1", "-t", "-t", "-r", "--host", "h"]).unwrap();
        assert_eq!(line, ["--message=-1", "--topic=-t", "-r", "--host=h"]);
    }

    #[test]
    fn properties_take_three_words_and_user_properties_four() {
        let line = normalised(&["-D", "publish", "content-type", "-x", "-r"]).unwrap();
        assert_eq!(line[0], format!("--property=publish{SEPARATOR}content-type{SEPARATOR}-x"));
        assert_eq!(line[1], "-r");
        let line = normalised(&["-D", "publish", "user-property", "a", "b", "-r"]).unwrap();
        assert_eq!(line.len(), 2);
        assert!(normalised(&["-D", "publish", "user-property", "a"]).is_err());
    }

    #[test]
    fn a_url_becomes_options_in_its_place() {
        let line = normalised(&["-L", "mqtts://a:b%40@h:1/x/y", "-p", "2"]).unwrap();
        assert_eq!(
            line,
            ["--host=h", "--port=1", "--username=a", "--pw=b@", "--tls", "--topic=x/y", "--port=2"]
        );
        assert_eq!(normalised(&["-L", "ws://h"]).unwrap(), ["--host=h", "--port=80", "--ws"]);
        assert_eq!(normalised(&["-L", "unix:///s"]).unwrap(), ["--unix=/s"]);
        assert!(normalised(&["-L", "foo://h"]).is_err());
    }

    #[test]
    fn mosquittos_names_do_not_decode() {
        let words = ["-L", "mqtt://a%41:b@h"].map(str::to_owned);
        let line =
            normalise(&PubCli::command(), &Persona::of("/usr/bin/mosquitto_pub"), &words).unwrap();
        assert_eq!(line[1], "--username=a%41");
    }

    #[test]
    fn a_missing_value_is_named() {
        let error = normalised(&["-t"]).unwrap_err();
        assert_eq!(error, "-t argument given but no topic specified.\n");
    }

    #[test]
    fn the_last_value_wins() {
        let line =
            normalised(&["-o", "a", "-m", "x", "-o", "b", "--", "--options-file=c"]).unwrap();
        assert_eq!(last_value(&line, "--options-file").as_deref(), Some("b"));
        assert!(is_repeated(&line, "--options-file") && !is_repeated(&line, "--message"));
    }
}
