//! What a row is: a name, where it may stand, how its value is read and where it goes, what a
//! reload does with it, whether it works, and its help. The rows themselves are in `directives/`.

use std::path::PathBuf;

use crate::config::Bridge;
use crate::plugin::PluginLine;
use crate::raw::{AuthDraft, Draft, ListenerDraft};

/// One directive. Parser, checks and manual read nothing else.
#[derive(Debug)]
pub struct Directive {
    /// Its name; a name that ends in `_KEY` stands for every name with that beginning.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// Where it may stand, how its value is read, where it goes.
    pub meaning: Meaning,
    /// The default, for the manual.
    pub default: &'static str,
    /// Whether its value is a password or key, never to be shown.
    pub is_secret: bool,
    /// Whether it may be given more than once in its section.
    pub repeats: bool,
    /// What SIGHUP does with a changed value.
    pub reload: Reload,
    /// Whether it works. The one field to change when a feature arrives.
    pub status: Status,
    /// A line of a file, valid in its section.
    pub example: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// Whether a directive works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does what the help says.
    Works,
    /// Checked, warned about at start: no effect yet.
    Planned,
    /// Accepted with a warning; the text says why nothing has to be done.
    Unnecessary(&'static str),
    /// An error; the text says what to do instead.
    Refused(&'static str),
}

/// What SIGHUP does with a changed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It takes effect.
    Live,
    /// It takes effect at the next start; the reload says so.
    Restart,
}

/// The section a directive belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The broker; may stand anywhere.
    Global,
    /// The listener above it, or the default listener.
    Listener,
    /// The broker, or with `per_listener_settings true` the listener above it.
    Either,
    /// The bridge above it.
    Bridge,
}

/// Where a directive may stand, with its value.
#[derive(Debug)]
pub enum Meaning {
    /// The broker.
    Global(Value<Draft>),
    /// The listener above.
    Listener(Value<ListenerDraft>),
    /// The default listener, wherever the line stands.
    DefaultListener(Value<ListenerDraft>),
    /// Broker or listener, see [`Scope::Either`].
    Auth(Value<AuthDraft>),
    /// The bridge above.
    Bridge(Value<Bridge>),
    /// About a plugin: broker or listener, see [`Scope::Either`], but for lines that say which.
    Plugin(PluginLine),
    /// Begins a section or reads more files; the text is the form of the value.
    Section(Section, &'static str),
}

/// Directives that change where the following lines belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `listener`
    Listener,
    /// `connection`
    Bridge,
    /// `include_dir`
    Include,
}

/// How a value is read, and the place in a `T` where it goes.
#[derive(Debug)]
pub enum Value<T: 'static> {
    /// true, false, 1 or 0.
    Flag(fn(&mut T, bool)),
    /// A whole number within bounds; `0x` and `0` prefixes as in C.
    Integer(i64, i64, fn(&mut T, i64)),
    /// The rest of the line.
    Text(fn(&mut T, String)),
    /// The rest of the line, a file or folder.
    Path(fn(&mut T, PathBuf)),
    /// A form of its own. The function says what the value must be when it is not.
    Parsed(&'static str, Tail, fn(&mut T, &str) -> Result<(), String>),
    /// Not looked at; may be empty.
    Ignored,
}

/// What white space followed by `#` means in a [`Value::Parsed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// A comment.
    Comment,
    /// A comment, unless the text behind the first word names a file that exists.
    Path,
    /// A comment when it is outside double quotes and more than a `#` alone.
    Quoted,
}

impl Directive {
    /// A row with these columns that works, reloads, and stands once.
    pub(crate) const fn new(
        name: &'static str,
        meaning: Meaning,
        default: &'static str,
        example: &'static str,
        help: &'static str,
    ) -> Directive {
        Directive {
            name,
            aliases: &[],
            meaning,
            default,
            is_secret: false,
            repeats: false,
            reload: Reload::Live,
            status: Status::Works,
            example,
            help,
        }
    }

    pub(crate) const fn status(self, status: Status) -> Directive {
        Directive { status, ..self }
    }

    pub(crate) const fn aliases(self, aliases: &'static [&'static str]) -> Directive {
        Directive { aliases, ..self }
    }

    /// Takes effect at the next start only.
    pub(crate) const fn at_start(self) -> Directive {
        Directive { reload: Reload::Restart, ..self }
    }

    /// Its value is never shown.
    pub(crate) const fn secret(self) -> Directive {
        Directive { is_secret: true, ..self }
    }

    /// May be given more than once.
    pub(crate) const fn repeats(self) -> Directive {
        Directive { repeats: true, ..self }
    }

    /// Where it may stand.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self.meaning {
            Meaning::Global(_) | Meaning::DefaultListener(_) | Meaning::Section(..) => {
                Scope::Global
            }
            Meaning::Listener(_) => Scope::Listener,
            Meaning::Auth(_) | Meaning::Plugin(PluginLine::Here | PluginLine::Use) => Scope::Either,
            Meaning::Plugin(_) => Scope::Global,
            Meaning::Bridge(_) => Scope::Bridge,
        }
    }

    /// The form of the value in words.
    #[must_use]
    pub fn form(&self) -> String {
        match &self.meaning {
            Meaning::Global(value) => value.form(),
            Meaning::Listener(value) | Meaning::DefaultListener(value) => value.form(),
            Meaning::Auth(value) => value.form(),
            Meaning::Bridge(value) => value.form(),
            Meaning::Plugin(line) => line.form().to_owned(),
            Meaning::Section(_, form) => (*form).to_owned(),
        }
    }

    /// The beginning that names of this row share, when it stands for many.
    #[must_use]
    pub fn prefix(&self) -> Option<&'static str> {
        self.name.strip_suffix("KEY")
    }

    /// Whether `name` means this row.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let matches = |known: &str| match known.strip_suffix("KEY") {
            Some(prefix) => name.starts_with(prefix) && name.len() > prefix.len(),
            None => known == name,
        };
        matches(self.name) || self.aliases.iter().any(|alias| matches(alias))
    }
}

impl<T> Value<T> {
    /// The form of the value in words.
    #[must_use]
    pub fn form(&self) -> String {
        match self {
            Value::Flag(_) => "true or false".to_owned(),
            Value::Integer(min, i64::MAX, _) => format!("a whole number from {min}"),
            Value::Integer(min, max, _) if max - min == 2 => {
                format!("{min}, {} or {max}", min + 1)
            }
            Value::Integer(min, max, _) if max - min == 1 => format!("{min} or {max}"),
            Value::Integer(min, max, _) => format!("a whole number from {min} to {max}"),
            Value::Text(_) => "text".to_owned(),
            Value::Path(_) => "a path".to_owned(),
            Value::Parsed(form, ..) => (*form).to_owned(),
            Value::Ignored => "anything".to_owned(),
        }
    }
}
