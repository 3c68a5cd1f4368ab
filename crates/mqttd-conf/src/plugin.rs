//! Lines about plugins. What three of Mosquitto's plugins do is built in (dynamic security, the
//! password file, the ACL file); their lines are read as they are. All others are refused by their
//! line, with what to do instead.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{Auth, DynamicSecurity};
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

/// Mosquitto's plugins whose work is done here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BuiltIn {
    DynamicSecurity,
    PasswordFile,
    AclFile,
}

impl BuiltIn {
    /// The plugin of this library, wherever that lies.
    fn of(path: &str) -> Option<Self> {
        let file = path.rsplit('/').next().unwrap_or(path).replace('-', "_");
        let all = [Self::DynamicSecurity, Self::PasswordFile, Self::AclFile];
        all.into_iter().find(|plugin| file.contains(plugin.library()))
    }

    /// What the name of its library holds.
    const fn library(self) -> &'static str {
        match self {
            Self::DynamicSecurity => "dynamic_security",
            Self::PasswordFile => "password_file",
            Self::AclFile => "acl_file",
        }
    }

    /// In messages.
    const fn title(self) -> &'static str {
        match self {
            Self::DynamicSecurity => "dynamic security",
            Self::PasswordFile => "the password file plugin",
            Self::AclFile => "the ACL file plugin",
        }
    }

    /// Its options, each a path; it cannot be without the first.
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::DynamicSecurity => &["config_file", "password_init_file"],
            Self::PasswordFile => &["password_file"],
            Self::AclFile => &["acl_file"],
        }
    }

    /// Why an option of another name does nothing.
    const fn no_option(self) -> &'static str {
        match self {
            Self::DynamicSecurity => "dynamic security has no such option",
            Self::PasswordFile | Self::AclFile => "the plugin has no such option",
        }
    }

    /// What to do when the first option is missing.
    const fn cure(self) -> &'static str {
        match self {
            Self::DynamicSecurity => {
                "add plugin_opt_config_file PATH below the line; the file is made if there is none"
            }
            Self::PasswordFile => "add plugin_opt_password_file PATH below the line",
            Self::AclFile => "add plugin_opt_acl_file PATH below the line",
        }
    }
}

/// Everything the file says about plugins.
#[derive(Clone, Debug, Default)]
pub struct PluginsDraft {
    /// The lines that load what is built in.
    loads: Vec<Load>,
    /// `plugin_use` lines.
    uses: Vec<(Place, String, Reach)>,
    /// Names of `plugin_load` lines, refused ones too.
    names: Vec<String>,
    /// The plugin above is in `loads`.
    takes_options: bool,
}

/// A line that loads what is built in.
#[derive(Clone, Debug)]
struct Load {
    plugin: BuiltIn,
    place: Place,
    name: Option<String>,
    reach: Option<Reach>,
    options: BTreeMap<&'static str, PathBuf>,
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
        let plugin = BuiltIn::of(path);
        self.takes_options = plugin.is_some();
        let Some(plugin) = plugin else {
            let cure = instead_of_plugin(path);
            let kind = ErrorKind::Refused { name: line.name.to_owned() };
            return report.error(line.place, kind, Some(cure));
        };
        let (place, name) = (line.place.clone(), name.map(str::to_owned));
        self.loads.push(Load { plugin, place, name, reach, options: BTreeMap::new() });
    }

    fn read_option(&mut self, line: &PluginValue<'_>, report: &mut Report) {
        let key = line.name.split_once("_opt_").map_or("", |(_, key)| key);
        let unused = |why| WarningKind::Unnecessary { name: line.name.to_owned(), why };
        let Some(load) = self.loads.last_mut().filter(|_| self.takes_options) else {
            return report.warn(line.place, unused("no plugin is loaded above it"));
        };
        let plugin = load.plugin;
        let known = plugin.options().iter().find(|option| option.eq_ignore_ascii_case(key));
        let Some(option) = known else {
            return report.warn(line.place, unused(plugin.no_option()));
        };
        if line.value.is_empty() {
            let name = line.name.to_owned();
            report.error(line.place, ErrorKind::MissingValue { name }, None);
        }
        load.options.insert(option, PathBuf::from(line.value));
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
        for load in loads {
            let reach = load.reached(&uses);
            if let (true, Some(name)) = (reach.is_empty(), &load.name) {
                let text = format!("the plugin has no effect: there is no plugin_use {name}");
                report.note(&load.place, text);
                continue;
            }
            settled.take(load, reach, report);
        }
        settled
    }
}

impl Load {
    /// Where it is in force.
    fn reached(&self, uses: &[(Place, String, Reach)]) -> Vec<Reach> {
        let is_own = |used: &String| self.name.as_ref() == Some(used);
        let used = uses.iter().filter(|(_, used, _)| is_own(used)).map(|(.., reach)| *reach);
        self.reach.into_iter().chain(used).collect()
    }
}

/// What is built in, and where.
#[derive(Default)]
pub(crate) struct PluginsSettled {
    pub(crate) security: Option<DynamicSecurity>,
    reach: Vec<Reach>,
    files: Vec<PluginFile>,
}

/// A password file or an ACL file that a plugin's line names.
struct PluginFile {
    plugin: BuiltIn,
    place: Place,
    path: PathBuf,
    reach: Vec<Reach>,
}

impl PluginsSettled {
    fn take(&mut self, load: Load, reach: Vec<Reach>, report: &mut Report) {
        let Load { plugin, place, mut options, .. } = load;
        let mut paths = plugin.options().iter().map(|option| options.remove(option));
        let Some(path) = paths.next().flatten() else {
            return report.conflict(
                &place,
                format!("{} has no file", plugin.title()),
                plugin.cure(),
            );
        };
        if plugin != BuiltIn::DynamicSecurity {
            return self.files.push(PluginFile { plugin, place, path, reach });
        }
        if self.security.is_some() {
            let what = "dynamic security is loaded already";
            return report.conflict(&place, what, "remove one of the two lines");
        }
        let password_init_file = paths.next().flatten();
        self.security = Some(DynamicSecurity { config_file: path, password_init_file });
        self.reach = reach;
    }

    /// Whether every listener has dynamic security.
    pub(crate) fn reaches_all(&self) -> bool {
        self.security.is_some() && self.reach.contains(&Reach::All)
    }

    /// Whether the listener has dynamic security.
    pub(crate) fn reaches(&self, listener: Option<usize>) -> bool {
        self.security.is_some() && is_meant(&self.reach, Some(listener))
    }

    /// Puts the files of plugins where those of `password_file` and `acl_file` stand: for a
    /// listener, or for what is the same for all.
    pub(crate) fn give_files(
        &self,
        listener: Option<Option<usize>>,
        auth: &mut Auth,
        report: &mut Report,
    ) {
        for file in self.files.iter().filter(|file| is_meant(&file.reach, listener)) {
            let place = match file.plugin {
                BuiltIn::PasswordFile => &mut auth.password_file,
                BuiltIn::AclFile => &mut auth.acl_file,
                BuiltIn::DynamicSecurity => continue,
            };
            if place.is_some() {
                let what = format!("there is another {} already", file.plugin.library());
                report.conflict(&file.place, what, "remove one of the two lines");
            }
            *place = Some(file.path.clone());
        }
    }
}

/// Whether one of the places is this listener; `None`: only what is for all.
fn is_meant(places: &[Reach], listener: Option<Option<usize>>) -> bool {
    let is_this = |it: &Reach| match it {
        Reach::All => true,
        Reach::Listener(index) => listener == Some(*index),
    };
    places.iter().any(is_this)
}

#[cfg(test)]
mod tests {
    use crate::Memory;
    use crate::config::{Config, Listener};
    use std::path::{Path, PathBuf};

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
            (
                "plugin_load a /lib/acl-file.so\nplugin_use a\n",
                "/m:1: the ACL file plugin has no file; add plugin_opt_acl_file PATH below",
            ),
            (
                "plugin /mosquitto_password_file.so\nplugin_opt_password_file\n",
                "/m:2: plugin_opt_password_file",
            ),
            (
                "password_file /a\nplugin /mosquitto_password_file.so\n\
                 plugin_opt_password_file /b\n",
                "/m:2: there is another password_file already; remove one of the two lines",
            ),
            (
                "plugin /acl_file.so\nplugin_opt_acl_file /a\nlistener 1\n\
                 plugin /acl_file.so\nplugin_opt_acl_file /b\n",
                "/m:4: there is another acl_file already",
            ),
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
    /// Password and ACL file of each listener.
    fn files(text: &str) -> Vec<(Option<String>, Option<String>)> {
        let (config, _) = load(text).unwrap();
        let text = |path: &Option<PathBuf>| path.as_ref().map(|it| it.display().to_string());
        let of_listener = |it: &Listener| (text(&it.auth.password_file), text(&it.auth.acl_file));
        config.listeners.iter().map(of_listener).collect()
    }

    #[test]
    fn the_plugins_of_two_files_are_directives() {
        let password = "plugin /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file /p\n";
        let acl = "global_plugin /usr/lib/mosquitto_acl_file.so\nplugin_opt_ACL_file /a\n";
        let (p, a) = (Some("/p".to_owned()), Some("/a".to_owned()));
        let per = "per_listener_settings true\n";
        for (text, expected) in [
            (format!("{password}{acl}listener 1\nlistener 2\n"), vec![(p.clone(), a.clone()); 2]),
            (
                format!("{per}{acl}listener 1\n{password}listener 2\n"),
                vec![(p.clone(), a.clone()), (None, a.clone())],
            ),
            (
                format!(
                    "{per}plugin_load x /acl-file.so\nplugin_opt_acl_file /a\n\
                     listener 1\nlistener 2\nplugin_use x\n"
                ),
                vec![(None, None), (None, a.clone())],
            ),
            (
                format!("plugin SO\n{OPTION}listener 1\n{password}acl_file /x\n"),
                vec![(p.clone(), Some("/x".to_owned()))],
            ),
        ] {
            assert_eq!(files(&text), expected, "{text}");
        }
    }
}
