//! The topic of one access rule, cut into levels. `%c` and `%u` stand for a whole level, unlike in
//! an ACL file, where they are text (`filter.rs`): a name with a `/` in it matches nothing.

use alloc::boxed::Box;

use mqtt_proto::topic::TopicFilter;

use crate::acl::Who;

/// A rule's topic, ready to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// `None`: the topic is no valid filter.
    levels: Option<Box<[Level]>>,
    is_dollar: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Text(Box<str>),
    /// `+`
    Any,
    /// `#`
    Rest,
    /// `%c`
    ClientId,
    /// `%u`
    Username,
}

impl Level {
    /// Whether it stands for this text of one level. `Any` and `Rest` are the caller's.
    fn is_named(&self, text: &str, who: &Who<'_>) -> bool {
        match self {
            Self::Text(own) => **own == *text,
            Self::ClientId => is_same_name(who.client_id, text),
            Self::Username => who.username.is_some_and(|name| is_same_name(name, text)),
            Self::Any | Self::Rest => false,
        }
    }
}

/// A name of one sign that means something in a filter stands for nothing, and so does none.
fn is_same_name(name: &str, level: &str) -> bool {
    name == level && !matches!(name, "" | "+" | "#")
}

impl Pattern {
    pub(super) fn new(topic: &str) -> Self {
        let level = |text: &str| match text {
            "+" => Level::Any,
            "#" => Level::Rest,
            "%c" => Level::ClientId,
            "%u" => Level::Username,
            text => Level::Text(text.into()),
        };
        let filter = TopicFilter::new(topic).ok();
        Self {
            levels: filter.map(|filter| filter.levels().map(level).collect()),
            is_dollar: topic.starts_with('$'),
        }
    }

    /// Nothing is known of whom the rule was meant for; it forbids what it is asked about.
    pub(super) fn is_broken(&self) -> bool {
        self.levels.is_none()
    }

    /// Whether the rule speaks of this topic. A topic that begins with `$` is only matched by a
    /// pattern that does.
    pub(super) fn matches_topic(&self, topic: &str, who: &Who<'_>) -> bool {
        self.matches(topic, |level, text| matches!(level, Level::Any) || level.is_named(text, who))
    }

    /// Whether everything that the filter matches is the rule's business. A shared subscription is
    /// compared with its `$share/…`.
    pub(super) fn covers_filter(&self, filter: &str, who: &Who<'_>) -> bool {
        self.matches(filter, |level, text| match level {
            Level::Any => text != "#",
            level => level.is_named(text, who),
        })
    }

    fn matches(&self, topic: &str, is_level: impl Fn(&Level, &str) -> bool) -> bool {
        let Some(levels) = &self.levels else { return false };
        if topic.starts_with('$') != self.is_dollar {
            return false;
        }
        let mut texts = topic.split('/');
        let mut levels = levels.iter();
        loop {
            match (levels.next(), texts.next()) {
                (None, None) | (Some(Level::Rest), _) => return true,
                (Some(level), Some(text)) if is_level(level, text) => {}
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Who<'_> = Who { username: Some("ann"), client_id: "c1" };

    #[test]
    fn topics_match_as_in_the_plugin() {
        for (pattern, topic, is_match) in [
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/#", "x", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/+/c", "a/b/c", true),
            ("a", "a/b", false),
            ("%c/x", "c1/x", true),
            ("%c/x", "%c/x", false),
            ("x/%u", "x/ann", true),
            ("x/%u/#", "x/ann", true),
            ("x%u", "xann", false),
            ("x%u", "x%u", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches_topic(topic, &WHO), is_match, "{pattern}");
        }
    }

    /// The filters without `%` and `$` were put to Debian's mosquitto 2.0.11; `$` is as in 2.1.
    #[test]
    fn filters_are_covered_as_in_the_plugin() {
        for (pattern, filter, is_match) in [
            ("#", "#", true),
            ("#", "+/a", true),
            ("#", "$share/g/x", false),
            ("$share/g/#", "$share/g/x", true),
            ("$share/g/#", "$share/h/x", false),
            ("$share/g/#", "$share/g/$SYS/#", true),
            ("a/#", "a", true),
            ("a/#", "a/+", true),
            ("a/#", "#", false),
            ("a/#", "+", false),
            ("b/+/c", "b/+/c", true),
            ("b/+/c", "b/x/c", true),
            ("b/+", "b/#", false),
            ("b/c", "b/+", false),
            ("%u/+", "ann/+", true),
            ("%u/+", "bob/+", false),
        ] {
            assert_eq!(Pattern::new(pattern).covers_filter(filter, &WHO), is_match, "{pattern}");
        }
    }

    #[test]
    fn names_that_are_wildcards_or_missing_stand_for_nothing() {
        for name in ["+", "#", ""] {
            let who = Who { username: Some(name), client_id: name };
            for pattern in ["%c/x", "%u/x"] {
                let pattern = Pattern::new(pattern);
                assert!(!pattern.covers_filter(&alloc::format!("{name}/x"), &who), "{name}");
                assert!(!pattern.matches_topic(&alloc::format!("{name}/x"), &who), "{name}");
            }
        }
        let nobody = Who { username: None, client_id: "c" };
        assert!(!Pattern::new("%u").matches_topic("", &nobody));
        let split = Who { username: Some("a/b"), client_id: "c" };
        assert!(!Pattern::new("x/%u").matches_topic("x/a/b", &split));
    }

    #[test]
    fn what_is_no_filter_is_broken() {
        for topic in ["", "a/#/b", "a+"] {
            let pattern = Pattern::new(topic);
            assert!(pattern.is_broken() && !pattern.matches_topic("a/x/b", &WHO), "{topic}");
        }
    }
}
