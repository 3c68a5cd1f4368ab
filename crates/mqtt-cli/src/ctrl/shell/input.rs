//! Lines of commands. On a terminal an editor with history and completion reads them, on a thread
//! of its own, so that the connection lives on while somebody thinks. The history stays in memory:
//! there may be passwords in it.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as blocking};
use std::thread;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use tokio::sync::mpsc;

use super::{Place, help};
use crate::ctrl::dynsec::Choice;
use crate::print::tell;

/// The reading end.
pub(super) struct Input {
    pub(super) is_terminal: bool,
    known: Arc<Mutex<Known>>,
    prompts: blocking::Sender<String>,
    lines: mpsc::Receiver<Option<String>>,
}

/// What completion knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) place: Place,
    pub(super) clients: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) roles: Vec<String>,
}

impl Input {
    pub(super) fn new() -> io::Result<Self> {
        let is_terminal = io::stdin().is_terminal();
        let known = Arc::new(Mutex::new(Known::default()));
        let (prompts, wanted) = blocking::channel::<String>();
        let (sender, lines) = mpsc::channel(1);
        let names = Names(known.clone());
        thread::Builder::new().name("lines".to_owned()).spawn(move || {
            let mut read: Read = match is_terminal {
                true => edited(names),
                false => Box::new(|_: &str| piped()),
            };
            for prompt in wanted {
                if sender.blocking_send(read(&prompt)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { is_terminal, known, prompts, lines })
    }

    /// The next line; `None` at the end.
    pub(super) async fn line(&mut self, prompt: &str) -> Option<String> {
        // The thread reads only when asked, so that a prompt for a password has the terminal alone.
        self.prompts.send(prompt.to_owned()).ok()?;
        self.lines.recv().await.flatten()
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn piped() -> Option<String> {
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) => None,
        Ok(_) => Some(line),
        Err(error) => {
            tell!("Error: Unable to read the input: {error}");
            None
        }
    }
}

type Read = Box<dyn FnMut(&str) -> Option<String>>;

fn edited(names: Names) -> Read {
    let config =
        Config::builder().auto_add_history(true).completion_type(CompletionType::List).build();
    let mut editor = match Editor::<Names, DefaultHistory>::with_config(config) {
        Ok(editor) => editor,
        Err(error) => {
            tell!("Error: {error}");
            return Box::new(|_| None);
        }
    };
    editor.set_helper(Some(names));
    Box::new(move |prompt| {
        loop {
            match editor.readline(prompt) {
                Ok(line) => return Some(line),
                // Ctrl-C gives up a line, as in a shell; Ctrl-D is the end.
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return None,
                Err(error) => {
                    tell!("Error: {error}");
                    return None;
                }
            }
        }
    })
}

struct Names(Arc<Mutex<Known>>);

impl Completer for Names {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(candidates(&known, &line[..pos]))
    }
}

impl Hinter for Names {
    type Hint = String;
}
impl Highlighter for Names {}
impl Validator for Names {}
impl Helper for Names {}

/// Where the last word of `line` begins, and what it may become.
fn candidates(known: &Known, line: &str) -> (usize, Vec<String>) {
    let mut spaces = line.char_indices().filter(|(_, char)| char.is_whitespace());
    let start = spaces.next_back().map_or(0, |(at, char)| at + char.len_utf8());
    let (before, begun) = (&line[..start], &line[start..]);
    let mut words = before.split_whitespace();
    let first = words.next();
    let choices: Vec<String> = match first {
        None => help::commands(known.place),
        Some(first) if first.eq_ignore_ascii_case("help") => help::commands(known.place),
        Some(command) if known.place == Place::Dynsec => {
            let index = words.count();
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            match super::words::choices(command).get(index) {
                Some(Choice::Clients) => known.clients.clone(),
                Some(Choice::Groups) => known.groups.clone(),
                Some(Choice::Roles) => known.roles.clone(),
                Some(Choice::Of(names)) => owned(names),
                Some(Choice::Anything) | None => Vec::new(),
            }
        }
        Some(_) => Vec::new(),
    };
    let begun = begun.to_lowercase();
    let fits = |choice: &String| choice.to_lowercase().starts_with(&begun);
    (start, choices.into_iter().filter(fits).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed_by_their_place() {
        let mut known = Known { clients: vec!["ann".into(), "bob".into()], ..Known::default() };
        known.roles = vec!["reader".into()];
        let of = |known: &Known, line: &str| candidates(known, line).1.join(" ");
        assert_eq!(of(&known, ""), "auth connect exit help");
        known.place = Place::Connected;
        assert_eq!(of(&known, "d"), "disconnect dynsec");
        known.place = Place::Dynsec;
        assert_eq!(of(&known, "addclientr"), "addClientRole");
        assert_eq!(candidates(&known, "addClientRole "), (14, vec!["ann".into(), "bob".into()]));
        assert_eq!(of(&known, "addClientRole bob r"), "reader");
        assert_eq!(of(&known, "addRoleACL reader sub"), "subscribeLiteral subscribePattern");
        assert_eq!(of(&known, "addRoleACL reader subscribeLiteral "), "allow deny");
        assert_eq!(of(&known, "modifyRole reader t"), "textName textDescription");
        assert_eq!(of(&known, "createClient "), "");
        assert_eq!(of(&known, "help getdet"), "getDetails");
        // A space of more than one byte.
        assert_eq!(candidates(&known, "getClient\u{3000}a"), (12, vec!["ann".to_owned()]));
    }
}
