//! Without a module, `mqtt-ctrl` asks for commands one after the other, as `mosquitto_ctrl` 2.1
//! does: first where to connect, then which module, then its commands. From a pipe it reads them as
//! lines.
//!
//! [`input`] reads lines, with history and completion on a terminal; [`words`] makes requests of
//! them where they differ from those of the command line.

mod help;
mod input;
mod words;

use mqtt_client::url::{Url, percent_decode};
use serde_json::json;

use self::input::{Input, Known};
use super::args::CtrlCli;
use super::exchange::Session;
use super::{BROKER, DYNSEC, Endpoint, answer, prompt, warn_about_plain_text};
use crate::args::Persona;
use crate::exit::{Exit, Failure};
use crate::print::{say, tell};

/// What is asked for: a connection, a module, a module's command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    #[default]
    Outside,
    Connected,
    Dynsec,
    Broker,
}

impl Place {
    fn endpoint(self) -> Option<(Endpoint, &'static str)> {
        match self {
            Self::Dynsec => Some((DYNSEC, "dynsec")),
            Self::Broker => Some((BROKER, "broker")),
            Self::Outside | Self::Connected => None,
        }
    }
}

/// Runs until `exit`, the end of the input, or a connection that was asked for by flags and does
/// not come about.
///
/// # Errors
/// That connection, or there is nothing to read.
pub(super) async fn run(cli: CtrlCli, persona: Persona) -> Result<Exit, Failure> {
    let input = Input::new().map_err(|error| Failure::new(format!("Error: {error}")))?;
    let is_terminal = input.is_terminal;
    let mut shell = Shell { cli, persona, session: None, place: Place::Outside, input };
    if is_terminal {
        let version = env!("CARGO_PKG_VERSION");
        say!("{} shell v{version}, \"help\" says what to type", shell.persona.name);
    }
    if shell.is_addressed() {
        shell.connect().await?;
    }
    let mut has_read = false;
    loop {
        let Some(line) = shell.input.line(&shell.prompt()).await else { break };
        has_read = true;
        match shell.obey(line.trim()).await {
            Ok(Next::Line) => {}
            Ok(Next::End) => break,
            // In a script the first mistake is the end: the next lines rely on this one.
            Err(failure) if !is_terminal => {
                shell.close().await;
                return Err(failure);
            }
            Err(failure) => tell!("{}", failure.text),
        }
    }
    shell.close().await;
    if !is_terminal && !has_read {
        use clap::CommandFactory as _;
        say!("{}", CtrlCli::command().render_help());
        return Ok(Exit::Failure);
    }
    if is_terminal {
        say!("");
    }
    Ok(Exit::Success)
}

enum Next {
    Line,
    End,
}

struct Shell {
    cli: CtrlCli,
    persona: Persona,
    session: Option<Session>,
    place: Place,
    input: Input,
}

impl Shell {
    /// The flags say where to connect.
    fn is_addressed(&self) -> bool {
        let connection = &self.cli.connection;
        connection.host.is_some() || connection.port.is_some() || connection.unix.is_some()
    }

    fn prompt(&self) -> String {
        if self.place == Place::Outside {
            return "> ".to_owned();
        }
        let (connection, tls) = (&self.cli.connection, &self.cli.tls);
        let port = connection.port.filter(|&port| port != 0);
        let has_tls = tls.is_wanted(port);
        let port = port.unwrap_or(if has_tls { 8883 } else { 1883 });
        let scheme = match (connection.ws, has_tls) {
            (false, false) => "mqtt",
            (false, true) => "mqtts",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        let module = self.place.endpoint().map(|(_, name)| format!("|{name}")).unwrap_or_default();
        match &connection.unix {
            Some(path) => format!("unix://{path}{module}> "),
            None => format!("{scheme}://{}:{port}{module}> ", connection.host()),
        }
    }

    /// Does what a line says.
    async fn obey(&mut self, line: &str) -> Result<Next, Failure> {
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match (command.to_ascii_lowercase().as_str(), self.place) {
            (word, _) if word.is_empty() || word.starts_with('#') => {}
            ("exit", _) => return Ok(Next::End),
            ("help", place) => say!("{}", help::text(place, rest)),
            ("auth", Place::Outside) => self.log_in(rest)?,
            ("connect", Place::Outside) => {
                self.point_at(rest)?;
                self.connect().await?;
            }
            ("disconnect", Place::Connected | Place::Dynsec | Place::Broker) => self.close().await,
            ("return", Place::Dynsec | Place::Broker) => self.enter(Place::Connected),
            ("dynsec", Place::Connected) => {
                self.enter(Place::Dynsec);
                if let Err(failure) = self.learn(&["listClients", "listGroups", "listRoles"]).await
                {
                    self.enter(Place::Connected);
                    return Err(failure);
                }
            }
            ("broker", Place::Connected) => self.enter(Place::Broker),
            (_, place) => match place.endpoint() {
                Some((endpoint, _)) => self.command(endpoint, command, rest).await?,
                None => return Err(unknown(command)),
            },
        }
        Ok(Next::Line)
    }

    fn enter(&mut self, place: Place) {
        self.place = place;
        self.input.known().place = place;
    }

    fn log_in(&mut self, user: &str) -> Result<(), Failure> {
        let user = match user {
            "" => prompt::user()?,
            user => user.to_owned(),
        };
        self.cli.secret.pw = Some(prompt::password(&user)?);
        self.cli.secret.username = Some(user);
        Ok(())
    }

    /// Takes a URL, or a host, over into the flags.
    fn point_at(&mut self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        let with_scheme = match text.contains("://") {
            true => text.to_owned(),
            false => format!("mqtt://{text}"),
        };
        let wrong = |error: &dyn std::fmt::Display| Failure::new(format!("Error: {error}."));
        let url = Url::parse(&with_scheme).map_err(|error| wrong(&error))?;
        let decode = |part: &str| percent_decode(part).map_err(|error| wrong(&error));
        if let Some(user) = url.username {
            self.cli.secret.username = Some(decode(user)?);
            self.cli.secret.pw = url.password.map(decode).transpose()?;
        }
        let connection = &mut self.cli.connection;
        if url.scheme == mqtt_client::url::Scheme::Unix {
            connection.unix = Some(url.path.to_owned());
            return Ok(());
        }
        connection.unix = None;
        connection.host = Some(url.host.to_owned());
        connection.port = Some(url.port_or_default());
        connection.ws = url.scheme.has_websocket();
        self.cli.tls.tls = url.scheme.has_tls();
        self.cli.tls.no_tls = !url.scheme.has_tls();
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        warn_about_plain_text(&self.cli, &self.persona);
        self.session = Some(Session::open(&self.cli, &self.persona, true).await?);
        self.enter(Place::Connected);
        Ok(())
    }

    async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
        self.enter(Place::Outside);
    }

    /// A command of a module, and what the broker says to it.
    async fn command(
        &mut self,
        endpoint: Endpoint,
        command: &str,
        rest: &str,
    ) -> Result<(), Failure> {
        let request = match self.place {
            Place::Broker => words::broker(command),
            _ => words::dynsec(command, rest)?,
        };
        let request = request.ok_or_else(|| unknown(command))?;
        let Some(session) = &mut self.session else { return Ok(()) };
        let text = answer::shown(&session.ask(endpoint, &request).await?)?;
        say!("{}", if text.is_empty() { "OK" } else { text.trim_end() });
        let command = command.to_ascii_lowercase();
        let makes_or_ends = ["create", "delete"].into_iter().find_map(|verb| {
            let kind = command.strip_prefix(verb)?;
            ["listClients", "listGroups", "listRoles"]
                .into_iter()
                .find(|list| list.to_ascii_lowercase().contains(kind))
        });
        match makes_or_ends {
            Some(list) => self.learn(&[list]).await,
            None => Ok(()),
        }
    }

    /// Asks for the names that can be completed.
    async fn learn(&mut self, lists: &[&str]) -> Result<(), Failure> {
        let Some(session) = &mut self.session else { return Ok(()) };
        for list in lists {
            let answer = session.ask(DYNSEC, &json!({ "command": list })).await?;
            // Somebody who may not list can work all the same; the command will say what is wrong.
            let names = answer::listed(&answer);
            let mut known = self.input.known();
            let Known { clients, groups, roles, .. } = &mut *known;
            *match *list {
                "listClients" => clients,
                "listGroups" => groups,
                _ => roles,
            } = names;
        }
        Ok(())
    }
}

fn unknown(command: &str) -> Failure {
    let text = format!("Unknown command '{command}', \"help\" lists those there are here");
    Failure { text, exit: Exit::NoCommand }
}
