//! The command line of `mqtt-passwd`: `mosquitto_passwd`'s flags, with long names beside them, and
//! the one job that they ask for. As there, flags stand before FILE, so a password given with `-b`
//! may begin with a dash.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};
use mqtt_auth::{
    PBKDF2_ITERATIONS_DEFAULT, PBKDF2_ITERATIONS_MAX, SCRAM_ITERATIONS_DEFAULT,
    SCRAM_ITERATIONS_MIN, Scheme, check_username,
};

use super::failure::Failure;
use super::mosquitto;
use crate::args::Persona;
use crate::generate::Generate;

const EXAMPLES: &str = "\
Examples:
  mqtt-passwd -c pwfile alice          make pwfile with the user alice; asks for the password
  mqtt-passwd pwfile bob               add bob, or change bob's password
  mqtt-passwd -b pwfile bob s3cret     the same without asking; others can see the command line
  mqtt-passwd pwfile bob < secret.txt  the same from a file that holds the password on two lines
  mqtt-passwd -D pwfile bob            delete bob
  mqtt-passwd -U pwfile                hash the plain passwords of a user:password file
  mqtt-passwd -c - alice               print the entry, write no file

The file is replaced in one step and keeps its mode and owner; a new one is readable by its owner
only. The broker takes changes over when it is told to reload (SIGHUP).

Exit codes: 0 done, 1 error, 2 the passwords differ, 10 the hash could not be computed.
";

/// Keep the password file of an MQTT broker (mqttd or Mosquitto).
#[derive(Debug, Parser)]
#[command(name = "mqtt-passwd", version, after_help = EXAMPLES)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[command(override_usage = "mqtt-passwd [-c] [-H HASH] [-I N] FILE USER\n       \
    mqtt-passwd -b [-c] [-H HASH] [-I N] FILE USER PASSWORD\n       \
    mqtt-passwd -D FILE USER\n       \
    mqtt-passwd -U [-H HASH] [-I N] FILE")]
pub(super) struct Args {
    /// Take the password from the command line instead of asking for it
    #[arg(short, long)]
    pub(super) batch: bool,

    /// Make a new file. One that exists is overwritten; if it had users, it is kept as FILE.backup
    #[arg(short, long)]
    pub(super) create: bool,

    /// Delete the user
    #[arg(short = 'D', long, conflicts_with_all = ["batch", "create"])]
    pub(super) delete: bool,

    /// Hash the plain passwords of a file. Entries that are hashed already are left alone
    #[arg(short = 'U', long, conflicts_with_all = ["batch", "create", "delete"])]
    pub(super) upgrade: bool,

    /// How to hash. sha512-pbkdf2 is understood by Mosquitto 2.0 and later, argon2id by 2.1 when
    /// built with it, sha512 by Mosquitto 1.x; scram-sha-256 by mqttd only, for logins with a
    /// password and for those by SCRAM (--auth-method of mqtt-pub and mqtt-sub)
    #[arg(short = 'H', long, value_enum, default_value_t = Hash::Sha512Pbkdf2)]
    hash: Hash,

    /// Rounds of sha512-pbkdf2 or scram-sha-256 (at least 4096); more make guessing, and each
    /// login, slower [default: 20000]
    #[arg(short = 'I', long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(PBKDF2_ITERATIONS_MAX)))]
    iterations: Option<u32>,

    /// Print this help
    #[arg(short = 'h', long, action = clap::ArgAction::HelpShort)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,

    /// Write a man page or completions and exit
    #[arg(long, value_name = "WHAT", hide = true, value_enum)]
    generate: Option<Generate>,

    /// FILE, USER and, with -b, PASSWORD; FILE may be - with -c
    #[arg(trailing_var_arg = true, hide = true)]
    pub(super) operands: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hash {
    Sha512Pbkdf2,
    Sha512,
    Argon2id,
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

/// What the command line asks for.
pub(super) enum Request {
    /// Help or version, to be printed.
    Text(String),
    /// A man page or completions.
    Generate(Generate),
    Job(Job),
}

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Print the entry of a user.
    Print { user: String, password: Option<Vec<u8>>, scheme: Scheme },
    /// Add or update a user, in a new file or an existing one.
    Set {
        file: PathBuf,
        is_new_file: bool,
        user: String,
        password: Option<Vec<u8>>,
        scheme: Scheme,
    },
    /// Delete a user.
    Delete { file: PathBuf, user: String },
    /// Hash what is plain.
    Upgrade { file: PathBuf, scheme: Scheme },
}

/// Parses a whole command line, program name first.
pub(super) fn parse(persona: &Persona, line: &[OsString]) -> Result<Request, Failure> {
    match Args::try_parse_from(line) {
        Ok(Args { generate: Some(what), .. }) => Ok(Request::Generate(what)),
        Ok(args) => {
            if persona.is_mosquitto {
                args.check_as_mosquitto()?;
            }
            args.job().map(Request::Job)
        }
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Request::Text(error.to_string()))
            }
            _ if persona.is_mosquitto => Err(match mosquitto::refused(&error) {
                Some(text) => Failure::Objection(text),
                None => Failure::Usage(one_line(&error.to_string())),
            }),
            _ => Err(Failure::Usage(one_line(&error.to_string()))),
        },
    }
}

impl Args {
    fn check_as_mosquitto(&self) -> Result<(), Failure> {
        if let Some(text) = mosquitto::lacking(self) {
            return Err(Failure::Objection(text));
        }
        match self
            .operands
            .get(1)
            .filter(|_| self.delete)
            .and_then(|user| mosquitto::misnamed(user))
        {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn job(self) -> Result<Job, Failure> {
        let scheme = self.scheme()?;
        let mut operands = self.operands.into_iter();
        let file = PathBuf::from(operands.next().ok_or_else(|| usage("FILE is missing"))?);
        if self.upgrade {
            return match operands.next() {
                None => Ok(Job::Upgrade { file, scheme }),
                Some(_) => Err(usage("-U takes FILE only")),
            };
        }
        let user = operands.next().ok_or_else(|| usage("USER is missing"))?;
        let user = user.into_string().map_err(|_| usage("USER is not UTF-8"))?;
        let password = operands.next().map(OsString::into_vec);
        if operands.next().is_some() {
            return Err(usage("too many words; put a password with blanks in quotes"));
        }
        if self.delete {
            return match password {
                None => Ok(Job::Delete { file, user }),
                Some(_) => Err(usage("-D takes FILE and USER only")),
            };
        }
        match (self.batch, &password) {
            (true, None) => return Err(usage("-b needs PASSWORD after USER")),
            (false, Some(_)) => {
                return Err(usage(
                    "a third word after FILE and USER is a password only with -b; flags go before \
                     FILE",
                ));
            }
            _ => {}
        }
        check_username(&user).map_err(Failure::Username)?;
        let is_stdout = file.as_os_str() == "-";
        match (is_stdout, self.create) {
            (true, true) => Ok(Job::Print { user, password, scheme }),
            (true, false) => Err(usage("FILE may be - only with -c, which prints the entry")),
            (false, is_new_file) => Ok(Job::Set { file, is_new_file, user, password, scheme }),
        }
    }

    fn scheme(&self) -> Result<Scheme, Failure> {
        match (self.hash, self.iterations) {
            (Hash::Sha512Pbkdf2, iterations) => Ok(Scheme::Pbkdf2Sha512 {
                iterations: iterations.unwrap_or(PBKDF2_ITERATIONS_DEFAULT),
            }),
            (Hash::ScramSha256, iterations) => {
                let iterations = iterations.unwrap_or(SCRAM_ITERATIONS_DEFAULT);
                if iterations < SCRAM_ITERATIONS_MIN {
                    return Err(usage("-H scram-sha-256 needs -I 4096 or more (RFC 7677)"));
                }
                Ok(Scheme::ScramSha256 { iterations })
            }
            (_, Some(_)) => Err(usage("-I goes with -H sha512-pbkdf2 and scram-sha-256 only")),
            (Hash::Sha512, None) => Ok(Scheme::Sha512),
            (Hash::Argon2id, None) => Ok(Scheme::ARGON2ID_DEFAULT),
        }
    }
}

fn usage(what: &str) -> Failure {
    Failure::Usage(what.to_owned())
}

/// The first paragraph of clap's message, without its `error: `.
fn one_line(message: &str) -> String {
    let paragraph = message.lines().take_while(|line| !line.trim().is_empty());
    let words: Vec<&str> = paragraph.map(str::trim).collect();
    let line = words.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(line: &str) -> Result<Job, String> {
        job_of("mqtt-passwd", line)
    }

    fn job_of(name: &str, line: &str) -> Result<Job, String> {
        let args = [name].into_iter().chain(line.split_whitespace()).map(OsString::from);
        match parse(&Persona::of(name), &args.collect::<Vec<_>>()) {
            Ok(Request::Job(job)) => Ok(job),
            Ok(Request::Text(text)) => panic!("{text}"),
            Ok(Request::Generate(what)) => panic!("{what:?}"),
            Err(failure) => Err(failure.to_string()),
        }
    }

    fn set(is_new_file: bool, password: Option<&str>, scheme: Scheme) -> Result<Job, String> {
        Ok(Job::Set {
            file: "pw".into(),
            is_new_file,
            user: "ann".into(),
            password: password.map(|text| text.as_bytes().to_vec()),
            scheme,
        })
    }

    #[test]
    fn the_definition_is_sound() {
        super::super::command().debug_assert();
        let help = super::super::command().render_help().to_string();
        assert!(help.contains(&format!("[default: {PBKDF2_ITERATIONS_DEFAULT}]")));
        assert_eq!(PBKDF2_ITERATIONS_DEFAULT, SCRAM_ITERATIONS_DEFAULT, "the help names one");
    }

    #[test]
    fn flags_alone_or_combined_ask_for_one_job() {
        let default = Scheme::DEFAULT;
        assert_eq!(job("pw ann"), set(false, None, default));
        assert_eq!(job("-c pw ann"), set(true, None, default));
        assert_eq!(job("-b pw ann s3"), set(false, Some("s3"), default));
        assert_eq!(job("-cb pw ann s3"), set(true, Some("s3"), default));
        assert_eq!(job("-c -b pw ann s3"), set(true, Some("s3"), default));
        assert_eq!(job("--create --batch pw ann s3"), set(true, Some("s3"), default));
        assert_eq!(job("-b pw ann -cD"), set(false, Some("-cD"), default));
        assert_eq!(job("-b pw ann --help"), set(false, Some("--help"), default));
        assert_eq!(job("-H sha512 pw ann"), set(false, None, Scheme::Sha512));
        assert_eq!(job("-H argon2id pw ann"), set(false, None, Scheme::ARGON2ID_DEFAULT));
        let scram = Scheme::SCRAM_SHA256_DEFAULT;
        assert_eq!(job("-H scram-sha-256 pw ann"), set(false, None, scram));
        let scram = Scheme::ScramSha256 { iterations: 4096 };
        assert_eq!(job("-H scram-sha-256 -I 4096 pw ann"), set(false, None, scram));
        let rounds = Scheme::Pbkdf2Sha512 { iterations: 101 };
        assert_eq!(job("-H sha512-pbkdf2 -I 101 pw ann"), set(false, None, rounds));
        assert_eq!(job("-bI101 pw ann s3"), set(false, Some("s3"), rounds));
        assert_eq!(job("-D pw ann"), Ok(Job::Delete { file: "pw".into(), user: "ann".into() }));
        assert_eq!(job("-U pw"), Ok(Job::Upgrade { file: "pw".into(), scheme: default }));
        let print = Job::Print { user: "ann".into(), password: None, scheme: default };
        assert_eq!(job("-c - ann"), Ok(print));
    }

    #[test]
    fn mistakes_are_named_in_one_line() {
        for (line, text) in [
            ("", "FILE is missing"),
            ("pw", "USER is missing"),
            ("-b pw ann", "-b needs PASSWORD"),
            ("pw ann s3", "a third word after FILE and USER"),
            ("pw ann -b", "a third word after FILE and USER"),
            ("-b pw ann s3 s4", "too many words"),
            ("-D pw ann s3", "-D takes FILE and USER only"),
            ("-U pw ann", "-U takes FILE only"),
            ("- ann", "FILE may be - only with -c"),
            ("-c -D pw ann", "the argument '--create' cannot be used with '--delete'"),
            ("-U -c pw", "the argument '--upgrade' cannot be used with '--create'"),
            ("-H md5 pw ann", "invalid value 'md5' for '--hash <HASH>' [possible values: sha512-p"),
            ("-I 0 pw ann", "invalid value '0' for '--iterations <N>': 0 is not in 1..=10000000"),
            ("-I 10000001 pw ann", "invalid value '10000001'"),
            ("-H sha512 -I 5 pw ann", "-I goes with -H sha512-pbkdf2 and scram-sha-256 only"),
            ("-H scram-sha-256 -I 4095 pw ann", "-H scram-sha-256 needs -I 4096 or more"),
            ("-x pw ann", "unexpected argument '-x' found"),
            ("pw a:b", "the user name must not contain ':'"),
            ("-c pw #a", "the user name must not begin with '#'"),
        ] {
            let message = job(line).unwrap_err();
            assert!(message.starts_with(text), "{line}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn mosquittos_name_brings_mosquittos_words() {
        for (line, text) in [
            ("-H", "-H argument given but not enough other arguments."),
            ("-I", "-I argument given but not enough other arguments."),
            ("-H nohash", "Unknown hash type 'nohash'"),
            ("-I 0 f u", "Number of iterations must be > 0."),
            ("-c -D", "-c and -D cannot be used together."),
            ("-U -c", "-c and -U cannot be used together."),
            ("-U -D", "-D and -U cannot be used together."),
            ("-b -D", "-b and -D cannot be used together."),
            ("-c -b f u", "-c argument given but password file, username, or password missing."),
            ("-c f", "-c argument given but password file or username missing."),
            ("-D f", "-D argument given but password file or username missing."),
            ("-U", "-U argument given but password file missing."),
        ] {
            assert_eq!(job_of("/usr/bin/mosquitto_passwd", line).unwrap_err(), text, "{line}");
        }
        let deleted = job_of("mosquitto_passwd", "-D f #a").unwrap();
        assert_eq!(deleted, Job::Delete { file: "f".into(), user: "#a".into() });
        assert!(job_of("mosquitto_passwd", "-D f a:b").is_err());
    }

    #[test]
    fn a_user_whose_name_could_not_be_added_today_can_be_deleted() {
        let delete = Job::Delete { file: "pw".into(), user: "#a".into() };
        assert_eq!(job("-D pw #a"), Ok(delete));
    }
}
