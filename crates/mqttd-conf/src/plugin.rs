//! Lines about plugins. One of Mosquitto's plugins is built in, dynamic security; its lines are
//! read as they are. All others are refused by their line, with what to do instead.

use std::path::PathBuf;

use crate::config::DynamicSecurity;
use crate::directives::instead_of_plugin;
use crate::error::{ErrorKind, WarningKind};
use crate::line::Place;
use crate::load::Report;

/// The kinds of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginLine {
    /// `plugin PATH`: for the broker, or the listener above with `per_listener_settings true`.
    Here,
    /// `global_plugin PATH`: for every listener.
    Everywhere,
    /// `plugin_load NAME PATH`: for whom a `plugin_use NAME` stands.
    Named,
    /// `plugin_use NAME`
    Use,
    /// `plugin_opt_KEY VALUE`: for the plugin above.
    Option,
}

impl PluginLine {
    /// The form of the value in words.
    #[must_use]
    pub const fn form(self) -> &'static str {
        match self {
            Self::Here | Self::Everywhere => "a path",
            Self::Named => "NAME PATH",
            Self::Use => "a name",
            Self::Option => "anything",
        }
    }
}

/// Which listeners an option is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    All,
    /// Index of the `listener` line; `None`: the default listener.
    Listener(Option<usize>),
}

/// Everything the file says about plugins.
#[derive(Clone, Debug, Default)]
pub struct PluginsDraft {
    /// The line that loads dynamic security, first and further ones.
    loads: Vec<Load>,
    /// `plugin_use` lines.
    uses: Vec<(Place, String, Reach)>,
    /// Names of `plugin_load` lines, refused ones too.
    names: Vec<String>,
    /// The plugin above is in `loads`.
    takes_options: bool,
}

/// A line that loads dynamic security.
#[derive(Clone, Debug)]
struct Load {
    place: Place,
    name: Option<String>,
    reach: Option<Reach>,
    config_file: Option<PathBuf>,
    password_init_file: Option<PathBuf>,
}

/// A line with its value.
pub(crate) struct PluginValue<'a> {
    pub(crate) place: &'a Place,
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
    /// The listener the line belongs to.
    pub(crate) reach: Reach,
}

impl PluginsDraft {
    /// Takes a line.
    pub(crate) fn read(&mut self, kind: PluginLine, line: &PluginValue<'_>, report: &mut Report) {
        let (place, value) = (line.place, line.value);
        if kind == PluginLine::Option {
            return self.read_option(line, report);
        }
        if value.is_empty() {
            let name = line.name.to_owned();
            return report.error(place, ErrorKind::MissingValue { name }, None);
        }
        match kind {
            PluginLine::Here => self.load(line, None, Some(line.reach), value, report),
            PluginLine::Everywhere => self.load(line, None, Some(Reach::All), value, report),
            PluginLine::Named => match value.split_once(char::is_whitespace) {
                Some((name, path)) => {
                    self.names.push(name.to_owned());
                    self.load(line, Some(name), None, path.trim(), report);
                }
                None => {
                    let (name, expected) = (line.name.to_owned(), "NAME PATH".to_owned());
                    let found = value.to_owned();
                    report.error(place, ErrorKind::BadValue { name, expected, found }, None);
                }
            },
            PluginLine::Use => self.uses.push((place.clone(), value.to_owned(), line.reach)),
            PluginLine::Option => {}
        }
    }

    fn load(
        &mut self,
        line: &PluginValue<'_>,
        name: Option<&str>,
        reach: Option<Reach>,
        path: &str,
        report: &mut Report,
    ) {
        self.takes_options = is_dynamic_security(path);
        if !self.takes_options {
            let cure = instead_of_plugin(path);
            let kind = ErrorKind::Refused { name: line.name.to_owned() };
            return report.error(line.place, kind, Some(cure));
        }
        self.loads.push(Load {
            place: line.place.clone(),
            name: name.map(str::to_owned),
            reach,
            config_file: None,
            password_init_file: None,
        });
    }

    fn read_option(&mut self, line: &PluginValue<'_>, report: &mut Report) {
        let key = line.name.split_once("_opt_").map_or("", |(_, key)| key);
        let unused = |why| WarningKind::Unnecessary { name: line.name.to_owned(), why };
        let Some(load) = self.loads.last_mut().filter(|_| self.takes_options) else {
            return report.warn(line.place, unused("no plugin is loaded above it"));
        };
        let place = match key.to_ascii_lowercase().as_str() {
            "config_file" => &mut load.config_file,
            "password_init_file" => &mut load.password_init_file,
            _ => return report.warn(line.place, unused("dynamic security has no such option")),
        };
        if line.value.is_empty() {
            let name = line.name.to_owned();
            return report.error(line.place, ErrorKind::MissingValue { name }, None);
        }
        *place = Some(PathBuf::from(line.value));
    }

    /// What the lines mean together.
    pub(crate) fn settle(self, report: &mut Report) -> PluginsSettled {
        let Self { loads, uses, names, .. } = self;
        let mut settled = PluginsSettled::default();
        for (place, name, _) in &uses {
            if !names.contains(name) {
                let what = format!("plugin_use {name}: there is no such plugin");
                report.conflict(place, what, "name it by a plugin_load line above");
            }
        }
        let mut loads = loads.into_iter();
        let Some(load) = loads.next() else { return settled };
        for again in loads {
            let what = "dynamic security is loaded already";
            report.conflict(&again.place, what, "remove one of the two lines");
        }
        settled.reach.extend(load.reach);
        if let Some(name) = &load.name {
            let own = uses.iter().filter(|(_, used, _)| used == name);
            settled.reach.extend(own.map(|(.., reach)| *reach));
            if settled.reach.is_empty() {
                let text = format!("the plugin has no effect: there is no plugin_use {name}");
                report.note(&load.place, text);
                return settled;
            }
        }
        match load.config_file {
            Some(config_file) => {
                let password_init_file = load.password_init_file;
                settled.security = Some(DynamicSecurity { config_file, password_init_file });
            }
            None => report.conflict(
                &load.place,
                "dynamic security has no file",
                "add plugin_opt_config_file PATH below the line; the file is made if there is none",
            ),
        }
        settled
    }
}

/// Dynamic security, and where.
#[derive(Default)]
pub(crate) struct PluginsSettled {
    pub(crate) security: Option<DynamicSecurity>,
    reach: Vec<Reach>,
}

impl PluginsSettled {
    /// Whether every listener has it.
    pub(crate) fn reaches_all(&self) -> bool {
        self.security.is_some() && self.reach.contains(&Reach::All)
    }

    /// Whether the listener has it.
    pub(crate) fn reaches(&self, listener: Option<usize>) -> bool {
        let is_meant =
            |reach: &Reach| matches!(reach, Reach::All) || *reach == Reach::Listener(listener);
        self.security.is_some() && self.reach.iter().any(is_meant)
    }
}

/// Whether this is Mosquitto's plugin, wherever its library lies.
fn is_dynamic_security(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.replace('-', "_").contains("dynamic_security")
}

#[cfg(test)]
mod tests {
    use crate::Memory;
    use crate::config::Config;
    use std::path::Path;

    const SO: &str = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so";

    fn load(text: &str) -> Result<(Config, String), String> {
        let text = text.replace("SO", SO);
        let source = Memory::default().with("/m", text.as_str());
        match Config::load(&source, Path::new("/m")) {
            Ok((config, warnings)) => {
                let texts: Vec<_> = warnings.iter().map(ToString::to_string).collect();
                Ok((config, texts.join("\n")))
            }
            Err(errors) => {
                Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            }
        }
    }

    /// Which listeners have it.
    fn reach(text: &str) -> Vec<bool> {
        let (config, _) = load(text).unwrap();
        assert!(config.security.dynamic.is_some(), "{text}");
        config.listeners.iter().map(|listener| listener.auth.dynamic).collect()
    }

    const OPTION: &str = "plugin_opt_config_file /d.json\n";

    #[test]
    fn every_way_to_load_it() {
        let per = "per_listener_settings true\n";
        for (text, listeners) in [
            (format!("plugin SO\n{OPTION}listener 1\nlistener 2\n"), vec![true, true]),
            (
                "listener 1\nlistener 2\nauth_plugin SO\nauth_opt_config_file /x\n".to_owned(),
                vec![true; 2],
            ),
            (format!("{per}listener 1\nplugin SO\n{OPTION}listener 2\n"), vec![true, false]),
            (format!("{per}listener 1\nglobal_plugin SO\n{OPTION}listener 2\n"), vec![true, true]),
            (
                format!("{per}plugin_load ds SO\n{OPTION}listener 1\nlistener 2\nplugin_use ds\n"),
                vec![false, true],
            ),
            (format!("plugin_load ds SO\n{OPTION}plugin_use ds\nlistener 1\n"), vec![true]),
            (format!("plugin SO\n{OPTION}"), vec![true, true]),
        ] {
            assert_eq!(reach(&text), listeners, "{text}");
        }
        let (config, warnings) = load(&format!(
            "listener 1\nplugin SO\n{OPTION}plugin_opt_password_init_file /p\nplugin_opt_x 1\n"
        ))
        .unwrap();
        let dynamic = config.security.dynamic.unwrap();
        assert_eq!(dynamic.config_file, Path::new("/d.json"));
        assert_eq!(dynamic.password_init_file.as_deref(), Some(Path::new("/p")));
        assert!(
            warnings.contains("/m:5: plugin_opt_x has no effect: dynamic security"),
            "{warnings}"
        );
    }

    #[test]
    fn mistakes_say_what_to_do() {
        for (text, error) in [
            ("plugin SO\n", "/m:1: dynamic security has no file; add plugin_opt_config_file"),
            ("plugin\n", "/m:1: plugin"),
            ("plugin_load x\n", "/m:1: plugin_load"),
            ("plugin_use ds\n", "/m:1: plugin_use ds: there is no such plugin"),
            (
                "plugin SO\nplugin_opt_config_file /a\nglobal_plugin SO\nauth_opt_config_file /b\n",
                "/m:3: dynamic security is loaded already",
            ),
            ("plugin /usr/lib/other.so\n", "/m:1: plugin is not supported; C plugins"),
            ("global_plugin /lib/mosquitto_persist_sqlite.so\n", "persistence true keeps"),
            ("plugin_load a /lib/acl-file.so\nplugin_use a\n", "write acl_file PATH"),
        ] {
            let found = load(text).unwrap_err();
            assert!(found.contains(error) && !found.contains('\n'), "{text}: {found}");
        }
        let (config, warnings) = load(&format!("plugin_load ds SO\n{OPTION}")).unwrap();
        assert!(config.security.dynamic.is_none());
        assert!(warnings.contains("there is no plugin_use ds"), "{warnings}");
        let (_, warnings) = load("plugin_opt_x 1\n").unwrap();
        assert!(warnings.contains("no plugin is loaded above it"), "{warnings}");
    }
}
