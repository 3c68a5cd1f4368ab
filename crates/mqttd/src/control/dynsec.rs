//! Dynamic security with its file: read at the start, made when there is none, saved after each
//! change. What it means is in `mqtt-auth`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use mqtt_auth::{
    DYNSEC_SALT_BYTES, DynamicRights, DynamicSecurity, InitialPasswords, PBKDF2_ITERATIONS_DEFAULT,
    PasswordHash, Scheme,
};
use mqttd_conf::LogType;

use super::Request;
use crate::live::read_text;
use crate::logging::Logger;

/// The environment's password for a file that is made.
const PASSWORD_VARIABLE: &str = "MOSQUITTO_DYNSEC_PASSWORD";

/// Fewest characters of it, as in Mosquitto.
const PASSWORD_CHARS_MIN: usize = 12;

/// Signs of a made-up password: of 64 kinds, so 120 bits.
const MADE_UP_CHARS: usize = 20;
const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Rights of a file that holds hashes or passwords.
const PRIVATE: u32 = 0o600;

/// See the file's head.
pub(crate) struct Dynsec {
    security: DynamicSecurity,
    path: PathBuf,
}

impl Dynsec {
    /// Reads the file, or makes it. Not before the broker is the user it runs as: it writes the
    /// file later.
    pub(crate) fn open(
        conf: &mqttd_conf::DynamicSecurity,
        logger: &Logger,
    ) -> anyhow::Result<Self> {
        let path = conf.config_file.clone();
        let is_missing =
            std::fs::metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if is_missing {
            let security = first(conf, logger)?;
            let dynsec = Self { security, path };
            dynsec.write().with_context(|| format!("making {}", dynsec.path.display()))?;
            return Ok(dynsec);
        }
        Ok(Self { security: read(&path, logger)?, path })
    }

    /// Looks whether the file could be used; one that is missing would be made.
    pub(crate) fn check(conf: &mqttd_conf::DynamicSecurity, logger: &Logger) -> anyhow::Result<()> {
        match std::fs::metadata(&conf.config_file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            _ => read(&conf.config_file, logger).map(|_| ()),
        }
    }

    /// The rights as they are now.
    pub(crate) fn rights(&self) -> Arc<DynamicRights> {
        Arc::new(self.security.rights())
    }

    /// Carries out a request; true when it has changed something.
    pub(super) fn execute(&mut self, request: &Request, logger: &Logger) -> (String, bool) {
        let execution = self.security.execute(&request.payload, &mut salt);
        let user = request.username.as_deref().unwrap_or("-");
        for line in execution.log {
            let text = format!("dynsec: {}/{user} | {line}", request.client_id);
            logger.line(LogType::Information, format_args!("{text}"));
        }
        (execution.answer, execution.has_changed)
    }

    /// Saves. What cannot be saved is in force all the same, as in Mosquitto.
    pub(super) fn save(&self, logger: &Logger) {
        if let Err(error) = self.write() {
            let path = self.path.display();
            let text = format!(
                "Error: dynamic security can't be saved in {path}: {error}. What was changed is in \
                 force, but lost at a restart: make room or let the broker write there, then \
                 change anything."
            );
            logger.line(LogType::Error, format_args!("{text}"));
        }
    }

    /// Replaces the file as a whole, on the device before this returns.
    fn write(&self) -> std::io::Result<()> {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let mode = std::fs::metadata(&self.path).map_or(PRIVATE, |it| it.permissions().mode());
        let written = write_private(&new, self.security.to_json().as_bytes()).and_then(|file| {
            file.set_permissions(std::fs::Permissions::from_mode(mode & 0o777))?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)
        });
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        written?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Makes a file that only the broker can read, instead of one that may be there.
fn write_private(path: &Path, contents: &[u8]) -> std::io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)?;
    file.write_all(contents)?;
    Ok(file)
}

fn read(path: &Path, logger: &Logger) -> anyhow::Result<DynamicSecurity> {
    let text = read_text(path, "plugin_opt_config_file")?;
    let (security, warnings) = DynamicSecurity::parse(&text)
        .with_context(|| format!("plugin_opt_config_file {}", path.display()))?;
    for warning in warnings {
        let path = path.display();
        let text = format!("Warning: plugin_opt_config_file {path}: {warning}");
        logger.line(LogType::Warning, format_args!("{text}"));
    }
    Ok(security)
}

/// The first contents, with passwords from where the configuration says.
fn first(conf: &mqttd_conf::DynamicSecurity, logger: &Logger) -> anyhow::Result<DynamicSecurity> {
    let file = conf.config_file.display();
    let say = |text: std::fmt::Arguments<'_>| logger.line(LogType::Information, text);
    say(format_args!("Dynamic security: {file} does not exist and is made."));
    let passwords = if let Some(path) = &conf.password_init_file {
        say(format_args!("The password of its user admin is the one in {}.", path.display()));
        InitialPasswords { admin: hash(&password_in(path)?)?, democlient: None }
    } else if let Some(password) = std::env::var_os(PASSWORD_VARIABLE) {
        say(format_args!("The password of its user admin is the one in {PASSWORD_VARIABLE}."));
        let password = password.into_string().unwrap_or_default();
        if password.chars().count() < PASSWORD_CHARS_MIN {
            bail!("{PASSWORD_VARIABLE} must have {PASSWORD_CHARS_MIN} characters or more");
        }
        InitialPasswords { admin: hash(&password)?, democlient: None }
    } else {
        let (admin, democlient) = (made_up()?, made_up()?);
        let mut path = conf.config_file.clone().into_os_string();
        path.push(".pw");
        let path = PathBuf::from(path);
        let contents = format!("admin {admin}\ndemoclient {democlient}\n");
        write_private(&path, contents.as_bytes())
            .and_then(|file| file.sync_all())
            .with_context(|| format!("writing {}", path.display()))?;
        say(format_args!(
            "The passwords of its users admin and democlient are in {}: remove it once you have \
             read it.",
            path.display()
        ));
        InitialPasswords { admin: hash(&admin)?, democlient: Some(hash(&democlient)?) }
    };
    Ok(DynamicSecurity::initial(passwords))
}

/// The first line of a file, without white space behind it.
fn password_in(path: &Path) -> anyhow::Result<String> {
    let text = read_text(path, "plugin_opt_password_init_file")?;
    let password = text.lines().next().unwrap_or_default().trim_end();
    if password.is_empty() {
        bail!("plugin_opt_password_init_file {}: its first line is empty", path.display());
    }
    Ok(password.to_owned())
}

fn hash(password: &str) -> anyhow::Result<PasswordHash> {
    let scheme = Scheme::Pbkdf2Sha512 { iterations: PBKDF2_ITERATIONS_DEFAULT };
    Ok(PasswordHash::create(scheme, password.as_bytes(), &salt())?)
}

fn salt() -> [u8; DYNSEC_SALT_BYTES] {
    let mut salt = [0; DYNSEC_SALT_BYTES];
    getrandom::fill(&mut salt).expect("the system has random bytes after start");
    salt
}

fn made_up() -> anyhow::Result<String> {
    let mut random = [0; MADE_UP_CHARS];
    getrandom::fill(&mut random)?;
    Ok(random.iter().map(|byte| char::from(SIGNS[usize::from(byte & 63)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(path: &Path) -> mqttd_conf::DynamicSecurity {
        mqttd_conf::DynamicSecurity { config_file: path.to_owned(), password_init_file: None }
    }

    fn logger() -> Logger {
        let logging = mqttd_conf::Logging { destinations: Vec::new(), ..Default::default() };
        Logger::new(&logging, crate::logging::Verbosity::Quiet).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ds.json");
        Dynsec::check(&conf(&path), &logger()).unwrap();
        assert!(!path.exists(), "a look makes nothing");
        let first = Dynsec::open(&conf(&path), &logger()).unwrap();
        let passwords = std::fs::read_to_string(folder.path().join("ds.json.pw")).unwrap();
        let users: Vec<(&str, &str)> =
            passwords.lines().map(|line| line.split_once(' ').unwrap()).collect();
        assert_eq!(users.len(), 2);
        assert_ne!(users[0].1, users[1].1);
        for (user, password) in users {
            assert_eq!(password.len(), MADE_UP_CHARS);
            assert!(first.rights().passwords().verify(user, password.as_bytes()).is_accepted());
        }
        assert_eq!((mode(&path), mode(&folder.path().join("ds.json.pw"))), (PRIVATE, PRIVATE));
        let text = std::fs::read_to_string(&path).unwrap();
        let again = Dynsec::open(&conf(&path), &logger()).unwrap();
        assert_eq!(again.security.to_json(), text);
        Dynsec::check(&conf(&path), &logger()).unwrap();
    }

    #[test]
    fn the_first_password_may_come_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, init) = (folder.path().join("ds.json"), folder.path().join("init"));
        let mut conf = conf(&path);
        conf.password_init_file = Some(init.clone());
        assert!(Dynsec::open(&conf, &logger()).is_err(), "there is no such file");
        std::fs::write(&init, "\nx").unwrap();
        assert!(Dynsec::open(&conf, &logger()).is_err(), "its first line is empty");
        std::fs::write(&init, "secret \t\nmore\n").unwrap();
        let dynsec = Dynsec::open(&conf, &logger()).unwrap();
        let rights = dynsec.rights();
        assert!(rights.passwords().verify("admin", b"secret").is_accepted());
        assert!(!rights.knows("democlient"));
        assert!(!folder.path().join("ds.json.pw").exists());
    }

    #[test]
    fn saving_keeps_the_mode_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ds.json");
        std::fs::write(&path, "{}").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        // Left over from a save that was interrupted.
        std::fs::write(folder.path().join("ds.json.new"), "half").unwrap();
        let dynsec = Dynsec::open(&conf(&path), &logger()).unwrap();
        dynsec.write().unwrap();
        assert_eq!(mode(&path), 0o640);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), dynsec.security.to_json());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let gone = Dynsec { path: folder.path().join("absent/ds.json"), ..dynsec };
        assert!(gone.write().is_err());
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ds.json");
        std::fs::write(&path, "{").unwrap();
        let error = Dynsec::open(&conf(&path), &logger()).err().unwrap();
        let text = format!("{error:#}");
        assert!(text.contains("ds.json: no valid JSON"), "{text}");
        assert!(Dynsec::check(&conf(&path), &logger()).is_err());
    }
}
