//! The access control list as the shards ask it, for every publish and every delivery. `check`
//! allocates nothing. The file's grammar is `acl_file.rs`, matching is `filter.rs`.
//!
//! Order, as measured on Mosquitto 2.0.11: the client's own `topic` lines (`deny` first), then the
//! refusal of names with wildcards, then `pattern` lines (`deny` first), then no.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use hashbrown::HashMap;

use crate::filter::Filter;

/// Who may publish and receive what. The default table is the one of an empty file: nobody may
/// anything. Without an `acl_file` there is no table, and all is allowed; that is the caller's.
#[derive(Clone, Debug, Default)]
pub struct AclTable {
    anonymous: Rules,
    users: HashMap<Box<str>, Rules>,
    patterns: Rules,
}

/// The client that wants something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// The user name it logged in with; `None` for an anonymous client.
    pub username: Option<&'a str>,
    /// Its client identifier.
    pub client_id: &'a str,
}

/// What the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To publish to a topic: needs `write`.
    Publish,
    /// To be sent a message of a topic: needs `read`.
    Deliver,
    /// To subscribe: always allowed by a table, since each delivery is checked.
    Subscribe,
    /// To unsubscribe: always allowed by a table.
    Unsubscribe,
}

/// The answer, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclVerdict {
    /// Allowed, by this line of the file; `None` for what is never refused.
    Allowed {
        /// Line number, from 1.
        line: Option<u32>,
    },
    /// Refused.
    Denied(Denial),
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// By the `deny` of this line.
    Line(u32),
    /// No line allows it.
    NothingMatched,
    /// The user name or client identifier holds `+` or `#`, and would be a wildcard in a pattern.
    WildcardInName,
}

impl AclVerdict {
    /// True when the client may.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    /// The line that decided, if one did.
    #[must_use]
    pub fn line(self) -> Option<u32> {
        match self {
            Self::Allowed { line } => line,
            Self::Denied(Denial::Line(line)) => Some(line),
            Self::Denied(_) => None,
        }
    }
}

impl AclTable {
    /// Decides whether the client may do this with this topic name. Allocates nothing; the time
    /// grows with the lines of this user and the patterns, not with the number of users.
    #[must_use]
    pub fn check(&self, who: &Who<'_>, action: Action, topic: &str) -> AclVerdict {
        let wanted = match action {
            Action::Publish => Access::WRITE,
            Action::Deliver => Access::READ,
            Action::Subscribe | Action::Unsubscribe => return AclVerdict::Allowed { line: None },
        };
        let own = match who.username {
            None => Some(&self.anonymous),
            Some(name) => self.users.get(name),
        };
        // Placeholders do not occur in `topic` lines.
        if let Some(verdict) = own.and_then(|rules| rules.check(wanted, topic, "", None)) {
            return verdict;
        }
        if self.patterns.is_empty() {
            return AclVerdict::Denied(Denial::NothingMatched);
        }
        if has_wildcard(who.client_id) || who.username.is_some_and(has_wildcard) {
            return AclVerdict::Denied(Denial::WildcardInName);
        }
        self.patterns
            .check(wanted, topic, who.client_id, who.username)
            .unwrap_or(AclVerdict::Denied(Denial::NothingMatched))
    }

    /// Number of `topic` and `pattern` lines.
    #[must_use]
    pub fn len(&self) -> usize {
        let users: usize = self.users.values().map(Rules::len).sum();
        self.anonymous.len().saturating_add(users).saturating_add(self.patterns.len())
    }

    /// True when there is no line, so everything but subscribing is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a line; `user` is `None` for anonymous clients.
    pub(crate) fn add_topic(&mut self, user: Option<&str>, rule: Rule) {
        match user {
            None => self.anonymous.add(rule),
            Some(name) => self.users.entry_ref(name).or_default().add(rule),
        }
    }

    pub(crate) fn add_pattern(&mut self, rule: Rule) {
        self.patterns.add(rule);
    }
}

/// What a line grants; nothing granted means `deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access(u8);

impl Access {
    pub(crate) const DENY: Self = Self(0);
    pub(crate) const READ: Self = Self(1);
    pub(crate) const WRITE: Self = Self(2);
    pub(crate) const READ_WRITE: Self = Self(3);

    fn grants(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }
}

/// One `topic` or `pattern` line.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) access: Access,
    pub(crate) filter: Filter,
    pub(crate) line: u32,
}

/// The lines that apply together, kept apart so that `deny` is asked first.
#[derive(Clone, Debug, Default)]
struct Rules {
    denying: Vec<Rule>,
    granting: Vec<Rule>,
}

impl Rules {
    fn add(&mut self, rule: Rule) {
        if rule.access == Access::DENY {
            self.denying.push(rule);
        } else {
            self.granting.push(rule);
        }
    }

    fn check(
        &self,
        wanted: Access,
        topic: &str,
        client_id: &str,
        username: Option<&str>,
    ) -> Option<AclVerdict> {
        let matches = |rule: &&Rule| {
            // A pattern with %u says nothing about anonymous clients.
            (username.is_some() || !rule.filter.has_username())
                && rule.filter.matches(topic, client_id, username.unwrap_or(""))
        };
        if let Some(rule) = self.denying.iter().find(matches) {
            return Some(AclVerdict::Denied(Denial::Line(rule.line)));
        }
        let mut granting = self.granting.iter().filter(|rule| rule.access.grants(wanted));
        granting.find(matches).map(|rule| AclVerdict::Allowed { line: Some(rule.line) })
    }

    fn len(&self) -> usize {
        self.denying.len().saturating_add(self.granting.len())
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn has_wildcard(name: &str) -> bool {
    name.contains(['+', '#'])
}

impl fmt::Display for AclVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { line: Some(line) } => write!(f, "allowed by line {line}"),
            Self::Allowed { line: None } => f.write_str("always allowed"),
            Self::Denied(Denial::Line(line)) => write!(f, "denied by line {line}"),
            Self::Denied(Denial::NothingMatched) => f.write_str("denied: nothing matched"),
            Self::Denied(Denial::WildcardInName) => f.write_str(
                "denied: the user name or client identifier contains + or #, which patterns \
                 cannot take",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who<'a>(username: &'a str, client_id: &'a str) -> Who<'a> {
        let username = (!username.is_empty()).then_some(username);
        Who { username, client_id }
    }

    fn check(table: &str, user: &str, id: &str, action: Action, topic: &str) -> String {
        let table = AclTable::parse(table).unwrap();
        table.check(&who(user, id), action, topic).to_string()
    }

    /// The same file and questions were put to Debian's mosquitto 2.0.11; see the interop test.
    #[test]
    fn decides_in_mosquittos_order() {
        const FILE: &str = "topic write anon/#\n\
            user alice\n\
            topic deny a/no\n\
            topic write a/#\n\
            topic write both\n\
            user a+b\n\
            topic write w/#\n\
            pattern deny both\n\
            pattern write dev-%c/x\n\
            pattern write u/%u/#\n\
            pattern write c/%c%c\n";
        for (user, id, topic, verdict) in [
            ("alice", "c1", "a/no", "denied by line 3"),
            ("alice", "c1", "a/yes", "allowed by line 4"),
            ("alice", "c1", "both", "allowed by line 5"),
            ("bob", "c1", "both", "denied by line 8"),
            ("a+b", "c1", "w/1", "allowed by line 7"),
            ("a+b", "c1", "dev-c1/x", "denied: the user name or client"),
            ("alice", "c+", "a/yes", "allowed by line 4"),
            ("alice", "c#", "dev-c#/x", "denied: the user name or client"),
            ("alice", "c1", "dev-c1/x", "allowed by line 9"),
            ("alice", "c2", "dev-c1/x", "denied: nothing matched"),
            ("alice", "c1", "u/alice/1", "allowed by line 10"),
            ("x/y", "c1", "u/x/y/1", "allowed by line 10"),
            ("", "c1", "u//1", "denied: nothing matched"),
            ("", "c1", "dev-c1/x", "allowed by line 9"),
            ("", "c1", "anon/1", "allowed by line 1"),
            ("alice", "c1", "anon/1", "denied: nothing matched"),
            ("", "c1", "u/%u/1", "denied: nothing matched"),
            ("alice", "c1", "c/c1c1", "allowed by line 11"),
        ] {
            let found = check(FILE, user, id, Action::Publish, topic);
            assert!(found.starts_with(verdict), "{user} {id} {topic}: {found}");
        }
    }

    #[test]
    fn read_and_write_are_separate() {
        const FILE: &str = "topic read r\ntopic write w\ntopic readwrite rw\ntopic both\n";
        for (topic, may_read, may_write) in [
            ("r", true, false),
            ("w", false, true),
            ("rw", true, true),
            ("both", true, true),
            ("other", false, false),
        ] {
            let table = AclTable::parse(FILE).unwrap();
            let may = |action| table.check(&who("", "id"), action, topic).is_allowed();
            assert_eq!(may(Action::Deliver), may_read, "{topic}");
            assert_eq!(may(Action::Publish), may_write, "{topic}");
            assert!(may(Action::Subscribe), "{topic}");
        }
    }

    #[test]
    fn deny_wins_over_an_earlier_grant_of_the_same_list() {
        let file = "pattern #\npattern deny secret/#\n";
        assert_eq!(check(file, "ann", "id", Action::Deliver, "secret/a"), "denied by line 2");
        assert_eq!(check(file, "ann", "id", Action::Deliver, "open"), "allowed by line 1");
    }

    #[test]
    fn wildcards_do_not_reach_topics_with_a_dollar() {
        let file = "topic #\ntopic $SYS/broker/#\n";
        assert_eq!(
            check(file, "", "id", Action::Deliver, "$SYS/broker/uptime"),
            "allowed by line 2"
        );
        assert_eq!(check(file, "", "id", Action::Deliver, "$SYS/other"), "denied: nothing matched");
    }

    #[test]
    fn an_empty_table_denies_all_but_subscribing() {
        let table = AclTable::default();
        assert!(table.is_empty());
        for user in ["", "ann"] {
            let verdict = table.check(&who(user, "id"), Action::Publish, "a");
            assert_eq!(verdict, AclVerdict::Denied(Denial::NothingMatched));
            let verdict = table.check(&who(user, "id"), Action::Deliver, "a");
            assert_eq!(verdict.line(), None);
            let verdict = table.check(&who(user, "id"), Action::Subscribe, "#");
            assert!(verdict.is_allowed());
        }
    }

    #[test]
    fn a_user_named_twice_has_both_lists() {
        let file = "user ann\ntopic a\nuser bob\ntopic b\nuser ann\ntopic deny a/x\ntopic c\n";
        assert_eq!(AclTable::parse(file).unwrap().len(), 4);
        for (topic, verdict) in [
            ("a", "allowed by line 2"),
            ("b", "denied: nothing matched"),
            ("c", "allowed by line 7"),
        ] {
            assert_eq!(check(file, "ann", "id", Action::Publish, topic), verdict);
        }
    }
}
