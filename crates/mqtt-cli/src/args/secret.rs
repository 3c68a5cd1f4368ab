//! User and password, and the ways to give a password without writing it on the command line.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs, io};

use bytes::Bytes;
use clap::Args;
use mqtt_client::{Options, ScramSha256};

use super::Persona;
use crate::exit::Failure;

/// The environment variable a password is taken from when none is given.
pub const PASSWORD_VARIABLE: &str = "MQTT_PASSWORD";

/// The systemd credential a password is taken from when none is given (`LoadCredential=`).
pub const CREDENTIAL: &str = "mqtt-password";

/// Who we are.
#[derive(Args, Debug)]
#[command(next_help_heading = "Login")]
pub struct SecretArgs {
    /// User name
    #[arg(short = 'u', long, value_name = "USERNAME")]
    pub username: Option<String>,
    /// Password; others on this machine can see it, prefer one of the ways below
    #[arg(short = 'P', long = "pw", visible_alias = "password", value_name = "PASSWORD")]
    pub pw: Option<String>,
    /// Read the password from the first line of FILE
    #[arg(long, value_name = "FILE", conflicts_with = "pw")]
    pub password_file: Option<PathBuf>,
    /// Ask for the password. Without any of these, $MQTT_PASSWORD or the systemd credential
    /// "mqtt-password" is used if a user is given
    #[arg(long, conflicts_with_all = ["pw", "password_file"])]
    pub ask_password: bool,
    /// Prove the password by SCRAM-SHA-256 instead of sending it; switches to MQTT 5.0
    #[arg(long, value_name = "METHOD", value_parser = ["SCRAM-SHA-256"])]
    pub auth_method: Option<String>,
}

impl SecretArgs {
    /// Puts user and password where the version and the method want them.
    ///
    /// # Errors
    /// Something is missing, or the password is not where it should be.
    pub fn log_in(&self, options: &mut Options, persona: &Persona) -> Result<(), Failure> {
        let failed = |text: String| Failure::new(format!("Error: {text}"));
        options.username = self.username.clone();
        options.password = self.password().map_err(failed)?;
        if self.auth_method.is_some() {
            // The name goes in the exchange, the password nowhere.
            let (Some(username), Some(password)) =
                (options.username.take(), options.password.take())
            else {
                let text = "--auth-method needs a user (-u) and a password.";
                return Err(Failure::usage(persona, text));
            };
            options.authentication = Some(Arc::new(ScramSha256::new(username, password)));
        }
        let is_lone = options.password.is_some() && options.username.is_none();
        if is_lone && options.version.password_needs_username() {
            return Err(failed("Problem setting username and/or password.".to_owned()));
        }
        Ok(())
    }

    /// The password, from where it is.
    ///
    /// # Errors
    /// A file can't be read, or there is nobody to ask.
    pub fn password(&self) -> Result<Option<Bytes>, String> {
        if let Some(password) = &self.pw {
            return Ok(Some(Bytes::from(password.clone())));
        }
        if let Some(path) = &self.password_file {
            return read_line_of(path).map(Some);
        }
        if self.ask_password {
            return ask().map(Some);
        }
        // A password without a user would break connections that need neither.
        if self.username.is_none() {
            return Ok(None);
        }
        if let Ok(password) = env::var(PASSWORD_VARIABLE) {
            return Ok(Some(Bytes::from(password)));
        }
        match env::var_os("CREDENTIALS_DIRECTORY") {
            Some(folder) => {
                let path = PathBuf::from(folder).join(CREDENTIAL);
                if path.exists() { read_line_of(&path).map(Some) } else { Ok(None) }
            }
            None => Ok(None),
        }
    }
}

fn read_line_of(path: &PathBuf) -> Result<Bytes, String> {
    let text = fs::read(path)
        .map_err(|error| format!("Unable to read the password file {}: {error}", path.display()))?;
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or(&[]);
    Ok(Bytes::copy_from_slice(line.strip_suffix(b"\r").unwrap_or(line)))
}

fn ask() -> Result<Bytes, String> {
    if !io::stderr().is_terminal() {
        return Err("--ask-password needs a terminal.".to_owned());
    }
    rpassword::prompt_password("Password: ")
        .map(Bytes::from)
        .map_err(|error| format!("Unable to read the password: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_gives_its_first_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (contents, expected) in
            [("secret\nmore\n", "secret"), ("a b \r\n", "a b "), ("bare", "bare"), ("", "")]
        {
            fs::write(file.path(), contents).unwrap();
            assert_eq!(read_line_of(&file.path().to_owned()).unwrap(), expected);
        }
        assert!(read_line_of(&PathBuf::from("/nonexistent")).unwrap_err().contains("/nonexistent"));
    }
}
