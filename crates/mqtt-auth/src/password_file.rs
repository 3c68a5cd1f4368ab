//! A password file ready to verify users: every entry decoded, every user once.
//!
//! Lines and edits are `password_text.rs`, the hashes `hash/`. A check may take tens of
//! milliseconds and tens of MiB: the caller runs it on a bounded pool, never on a shard.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use mqtt_proto::count::Count;

use hashbrown::HashMap;

use crate::hash::scram_sha256::{Key, SCRAM_ITERATIONS_DEFAULT, ScramSha256Hash, hmac, sha256};
use crate::hash::{HashError, PasswordHash, Scheme};
use crate::password_text::{PasswordText, Warning};

/// The users of a password file and their hashes.
#[derive(Clone, Debug, Default)]
pub struct PasswordFile {
    users: HashMap<Box<str>, PasswordHash>,
    /// Verified in place of an unknown user's hash; `None` only when there are no users.
    decoy: Option<PasswordHash>,
    /// Iterations and salt length that most users with SCRAM keys have.
    scram_cost: Option<(u32, usize)>,
    /// What the salts of users without SCRAM keys are made of: a digest of the entries, so that it
    /// outlives a restart and is known to nobody who has not read the file.
    scram_secret: Key,
}

/// What the keys that [`PasswordFile::scram`] gives are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScramStanding {
    /// The user's own.
    Known,
    /// Made up for a user that does not exist.
    Unknown,
    /// Made up for a user whose entry is of another scheme.
    OtherScheme,
}

/// The answer to a user name with a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is this user's.
    Accepted,
    /// The user is known, the password is not theirs.
    WrongPassword,
    /// The file has no such user. Tell a client the same as for a wrong password.
    UnknownUser,
    /// The memory for an Argon2id check could not be had: refuse, and say so in the log.
    NoMemory,
}

impl Verdict {
    /// True for [`Verdict::Accepted`] only.
    #[must_use]
    pub fn is_accepted(self) -> bool {
        self == Self::Accepted
    }
}

impl PasswordFile {
    /// Parses the contents of a password file. The warnings name the lines that were skipped.
    ///
    /// # Errors
    /// [`PasswordFileError`]: a user stands twice, or a hash cannot be decoded.
    pub fn parse(contents: &str) -> Result<(Self, Vec<Warning>), PasswordFileError> {
        let text = PasswordText::parse(contents);
        let mut users = HashMap::new();
        let mut lines = HashMap::new();
        for entry in text.entries() {
            if let Some(first_line) = lines.insert(entry.user, entry.line) {
                return Err(PasswordFileError::DuplicateUser {
                    line: entry.line,
                    first_line,
                    user: entry.user.into(),
                });
            }
            let hash = PasswordHash::parse(entry.value).map_err(|error| {
                PasswordFileError::Hash { line: entry.line, user: entry.user.into(), error }
            })?;
            users.insert(Box::from(entry.user), hash);
        }
        let decoy = most_common_cost(&users);
        let scram_cost = most_common_scram_cost(&users);
        let mut secret = Key::default();
        for entry in text.entries() {
            secret = hmac(&secret, &[entry.user.as_bytes(), b":", entry.value.as_bytes()]);
        }
        let file = Self { users, decoy, scram_cost, scram_secret: secret };
        Ok((file, text.warnings().collect()))
    }

    /// Users that do not come from a password file. None of them has SCRAM keys.
    pub(crate) fn of(users: impl IntoIterator<Item = (Box<str>, PasswordHash)>) -> Self {
        let users: HashMap<_, _> = users.into_iter().collect();
        Self { decoy: most_common_cost(&users), users, ..Self::default() }
    }

    /// The keys for an exchange with this user. A user who has none gets made-up ones that no
    /// password fits: the same each time, and with the cost that most users have.
    pub(crate) fn scram(&self, user: &str) -> (ScramSha256Hash, ScramStanding) {
        let standing = match self.users.get(user) {
            Some(hash) => match hash.scram() {
                Some(keys) => return (keys.clone(), ScramStanding::Known),
                None => ScramStanding::OtherScheme,
            },
            None => ScramStanding::Unknown,
        };
        let default = (SCRAM_ITERATIONS_DEFAULT, Scheme::SCRAM_SHA256_DEFAULT.salt_bytes());
        let (iterations, salt_bytes) = self.scram_cost.unwrap_or(default);
        let made_up =
            |what: u8, part: u8| hmac(&self.scram_secret, &[&[what, part], user.as_bytes()]);
        let salt = (0..=u8::MAX).flat_map(|part| made_up(0, part)).take(salt_bytes).collect();
        let stored_key = sha256(&made_up(1, 0));
        (ScramSha256Hash { iterations, salt, stored_key, server_key: made_up(2, 0) }, standing)
    }

    /// Checks a password. An unknown user takes as long as a wrong password for a user whose hash
    /// has the cost most users of this file have.
    #[must_use]
    pub fn verify(&self, user: &str, password: &[u8]) -> Verdict {
        match self.users.get(user) {
            Some(hash) => match hash.try_verify(password) {
                Ok(true) => Verdict::Accepted,
                Ok(false) => Verdict::WrongPassword,
                Err(_) => Verdict::NoMemory,
            },
            None => {
                let decoy = self.decoy.as_ref();
                core::hint::black_box(decoy.map(|hash| hash.try_verify(password)));
                Verdict::UnknownUser
            }
        }
    }

    /// True when the file has this user.
    #[must_use]
    pub fn contains(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// True when both files have this user with the same hash: after a reload, a connection whose
    /// user is unchanged may stay.
    #[must_use]
    pub fn has_same_entry(&self, other: &Self, user: &str) -> bool {
        self.users.get(user).is_some_and(|hash| other.users.get(user) == Some(hash))
    }

    /// Number of users.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// True when there is no user at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

/// One of the hashes with the most frequent scheme and cost; of equally frequent ones the dearer.
fn most_common_cost(users: &HashMap<Box<str>, PasswordHash>) -> Option<PasswordHash> {
    let mut counts: HashMap<Scheme, (usize, &PasswordHash)> = HashMap::new();
    for hash in users.values() {
        counts.entry(hash.scheme()).or_insert((0, hash)).0.up(1);
    }
    let most = counts.into_iter().max_by_key(|(scheme, (count, _))| (*count, *scheme));
    most.map(|(_, (_, hash))| hash.clone())
}

/// The most frequent cost of the entries with SCRAM keys; of equally frequent ones the dearer.
fn most_common_scram_cost(users: &HashMap<Box<str>, PasswordHash>) -> Option<(u32, usize)> {
    let mut counts: HashMap<(u32, usize), usize> = HashMap::new();
    for keys in users.values().filter_map(PasswordHash::scram) {
        counts.entry((keys.iterations, keys.salt.len())).or_insert(0).up(1);
    }
    counts.into_iter().max_by_key(|(cost, count)| (*count, *cost)).map(|(cost, _)| cost)
}

/// Why a password file as a whole is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordFileError {
    /// A user stands on two lines.
    DuplicateUser {
        /// The second line.
        line: u32,
        /// The first line.
        first_line: u32,
        /// The user.
        user: Box<str>,
    },
    /// The hash of a user cannot be decoded.
    Hash {
        /// The line.
        line: u32,
        /// The user.
        user: Box<str>,
        /// What is wrong with the hash.
        error: HashError,
    },
}

impl PasswordFileError {
    /// The line to look at, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        match self {
            Self::DuplicateUser { line, .. } | Self::Hash { line, .. } => *line,
        }
    }
}

impl fmt::Display for PasswordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateUser { line, first_line, user } => write!(
                f,
                "line {line}: user {user:?} stands on line {first_line} already; delete one of the \
                 two lines"
            ),
            Self::Hash { line, user, error } => write!(f, "line {line}: user {user:?}: {error}"),
        }
    }
}

impl core::error::Error for PasswordFileError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn hash(scheme: Scheme, password: &str) -> PasswordHash {
        PasswordHash::create(scheme, password.as_bytes(), b"twelve bytes").unwrap()
    }

    #[test]
    fn verifies_each_user_against_their_own_password() {
        let contents = format!(
            "# a comment: not a user\nann:{}\nnoise\n  bob : {}  \n",
            hash(Scheme::Sha512, "a"),
            hash(Scheme::Pbkdf2Sha512 { iterations: 101 }, "b"),
        );
        let (file, warnings) = PasswordFile::parse(&contents).unwrap();
        assert_eq!(file.len(), 2);
        assert_eq!(file.verify("ann", b"a"), Verdict::Accepted);
        assert_eq!(file.verify("ann", b"b"), Verdict::WrongPassword);
        assert_eq!(file.verify("bob", b"b"), Verdict::Accepted);
        assert_eq!(file.verify("bob", b""), Verdict::WrongPassword);
        assert_eq!(file.verify("# a comment", b"a"), Verdict::UnknownUser);
        assert_eq!(file.verify("", b""), Verdict::UnknownUser);
        assert_eq!(warnings.len(), 1);
        assert_eq!(
            warnings[0].to_string(),
            "line 3: skipped, no ':' in it; write user:hash, or begin the line with # if it is a \
             comment"
        );
    }

    #[test]
    fn errors_name_line_user_and_cure_but_no_secret() {
        let good = hash(Scheme::Sha512, "a");
        let error = PasswordFile::parse(&format!("ann:{good}\nann:{good}\n")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: user \"ann\" stands on line 1 already; delete one of the two lines"
        );
        let error = PasswordFile::parse("\nann:secret\n").unwrap_err();
        assert_eq!(error.line(), 2);
        let text = format!("{error} {error:?}");
        assert!(text.starts_with("line 2: user \"ann\": this is no password hash"));
        assert!(text.contains("mqtt-passwd -U FILE") && !text.contains("secret"));
    }

    #[test]
    fn an_unknown_user_costs_what_a_wrong_password_costs() {
        let slow = Scheme::Pbkdf2Sha512 { iterations: 5_000 };
        let contents = format!(
            "ann:{}\nbob:{}\nold:{}\n",
            hash(slow, "a"),
            hash(slow, "b"),
            hash(Scheme::Sha512, "c")
        );
        let (file, _) = PasswordFile::parse(&contents).unwrap();
        assert_eq!(file.decoy.as_ref().unwrap().scheme(), slow);
        let fastest = |user: &str| -> Duration {
            let time = |_| {
                let start = Instant::now();
                let _ = file.verify(user, b"wrong");
                start.elapsed()
            };
            (0..5).map(time).min().unwrap()
        };
        let (wrong, unknown, cheap) = (fastest("ann"), fastest("nobody"), fastest("old"));
        assert!(unknown > wrong / 3 && wrong > unknown / 3, "{wrong:?} {unknown:?}");
        assert!(cheap < wrong / 3, "the measure must tell cheap from dear: {cheap:?}");
    }

    #[test]
    fn an_empty_file_knows_nobody() {
        let (file, warnings) = PasswordFile::parse("").unwrap();
        assert!(file.is_empty() && warnings.is_empty());
        assert_eq!(file.verify("ann", b"a"), Verdict::UnknownUser);
    }

    #[test]
    fn scram_keys_are_the_users_own_or_made_up_for_good() {
        let scram = |iterations, salt: &[u8]| {
            PasswordHash::create(Scheme::ScramSha256 { iterations }, b"pw", salt).unwrap()
        };
        let contents = format!(
            "a:{}\nb:{}\nc:{}\nold:{}\n",
            scram(4096, b"salt of a, which is longer than a digest is"),
            scram(4097, b"salt"),
            scram(4096, b"salt of c, which is longer than a digest is"),
            hash(Scheme::Sha512, "x"),
        );
        let parse = |contents: &str| PasswordFile::parse(contents).unwrap().0;
        let file = parse(&contents);
        let (keys, standing) = file.scram("b");
        assert_eq!(
            (keys.iterations, &keys.salt[..], standing),
            (4097, &b"salt"[..], ScramStanding::Known)
        );
        for (user, expected) in
            [("eve", ScramStanding::Unknown), ("old", ScramStanding::OtherScheme)]
        {
            let (keys, standing) = file.scram(user);
            assert_eq!((keys.iterations, keys.salt.len(), standing), (4096, 43, expected));
            assert!(parse(&contents).scram(user).0 == keys, "the same after a restart");
            let edited = contents.replace("old:", "older:");
            assert!(parse(&edited).scram(user).0.salt != keys.salt, "made of the secret");
            assert!(file.scram("mallory").0.salt != keys.salt);
        }
        let (keys, _) = parse("").scram("eve");
        assert_eq!((keys.iterations, keys.salt.len()), (SCRAM_ITERATIONS_DEFAULT, 16));
        assert_eq!(file.verify("b", b"pw"), Verdict::Accepted);
        assert_eq!(file.verify("b", b"px"), Verdict::WrongPassword);
    }

    #[test]
    fn tells_unchanged_users_from_changed_ones() {
        let parse = |password| {
            let contents = format!(
                "ann:{}\nbob:{}\n",
                hash(Scheme::Sha512, "a"),
                hash(Scheme::Sha512, password)
            );
            PasswordFile::parse(&contents).unwrap().0
        };
        let (old, new) = (parse("b"), parse("c"));
        assert!(old.has_same_entry(&new, "ann"));
        assert!(!old.has_same_entry(&new, "bob"));
        assert!(!old.has_same_entry(&new, "nobody"));
    }

    /// Random bytes and mutated files never panic, and never let an empty password in.
    #[test]
    fn hostile_contents_are_refused_or_harmless() {
        let seed = 0xbad_f11e_u64;
        let mut random = fastrand::Rng::with_seed(seed);
        let good = format!(
            "ann:{}\nbob:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$",
            hash(Scheme::Pbkdf2Sha512 { iterations: 2 }, "a")
        );
        for round in 0..5_000 {
            let mut bytes = good.clone().into_bytes();
            for _ in 0..random.usize(1..=4) {
                let at = random.usize(..bytes.len());
                bytes[at] = b"$:=,\n#0A"[random.usize(..8)];
            }
            bytes.truncate(random.usize(..=bytes.len()));
            let text = String::from_utf8(bytes).unwrap();
            if let Ok((file, _)) = PasswordFile::parse(&text) {
                let cost = file.users.get("ann").map(PasswordHash::scheme);
                if cost.is_some_and(|s| s <= Scheme::Pbkdf2Sha512 { iterations: 999 }) {
                    let verdict = file.verify("ann", b"");
                    assert_ne!(verdict, Verdict::Accepted, "seed {seed:#x} round {round}");
                }
            }
        }
    }
}
