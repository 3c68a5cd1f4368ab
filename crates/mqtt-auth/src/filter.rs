//! The filter of an ACL line, matched against a topic without allocating. `%c` and `%u` of a
//! `pattern` line are put in while matching, as text: a user name with a `/` spans two levels,
//! as in Mosquitto. That is why the walk stands here; `TopicFilter::matches` of `mqtt-proto`, which
//! needs the whole filter as one text, is its oracle. Which lines apply to whom is `acl.rs`.

use alloc::boxed::Box;
use alloc::vec::Vec;
use mqtt_proto::count::Count;

/// A checked filter, cut where `%c` and `%u` stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    ClientId,
    Username,
}

impl Filter {
    /// A filter of a `topic` line: `%` has no meaning in it.
    pub(crate) fn fixed(text: &str) -> Self {
        let pieces = [Piece::Text(text.into())].into();
        Self { pieces }
    }

    /// A filter of a `pattern` line.
    pub(crate) fn pattern(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, piece, behind)) = split_at_placeholder(rest) {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(piece);
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Self { pieces }
    }

    /// True when the filter needs a user name.
    pub(crate) fn has_username(&self) -> bool {
        self.pieces.contains(&Piece::Username)
    }

    /// True when the topic matches once `%c` and `%u` are filled in. A topic that begins with `$`
    /// is matched only by a filter whose own text begins with `$`.
    ///
    /// `client_id` and `username` must hold no `+` and `#`, or they would act as wildcards.
    pub(crate) fn matches(&self, topic: &str, client_id: &str, username: &str) -> bool {
        if topic.starts_with('$') && !self.begins_with_dollar() {
            return false;
        }
        match &self.pieces[..] {
            [Piece::Text(text)] => matches(text.bytes(), topic.as_bytes()),
            pieces => {
                let text = pieces.iter().flat_map(|piece| {
                    let text = match piece {
                        Piece::Text(text) => text,
                        Piece::ClientId => client_id,
                        Piece::Username => username,
                    };
                    text.bytes()
                });
                matches(text, topic.as_bytes())
            }
        }
    }

    fn begins_with_dollar(&self) -> bool {
        matches!(self.pieces.first(), Some(Piece::Text(text)) if text.starts_with('$'))
    }
}

/// What stands before the first `%c` or `%u`, which of them it is, and what stands behind it.
fn split_at_placeholder(text: &str) -> Option<(&str, Piece, &str)> {
    let bytes = text.as_bytes();
    let at = bytes.windows(2).position(|pair| pair == b"%c" || pair == b"%u")?;
    let (before, found) = text.split_at_checked(at)?;
    match found.strip_prefix("%c") {
        Some(behind) => Some((before, Piece::ClientId, behind)),
        None => Some((before, Piece::Username, found.strip_prefix("%u")?)),
    }
}

/// Walks filter and topic once, level by level (MQTT 4.7.1). The filter is valid.
fn matches(mut filter: impl Iterator<Item = u8>, topic: &[u8]) -> bool {
    let mut at = 0;
    loop {
        let mut byte = filter.next();
        match byte {
            Some(b'#') => return true,
            Some(b'+') => {
                while topic.get(at).is_some_and(|&b| b != b'/') {
                    at.up(1);
                }
                byte = filter.next();
            }
            _ => {
                while let Some(expected) = byte.filter(|&b| b != b'/') {
                    if topic.get(at) != Some(&expected) {
                        return false;
                    }
                    at.up(1);
                    byte = filter.next();
                }
            }
        }
        // The filter stands at the end of a level; so must the topic.
        match (byte, topic.get(at)) {
            (None, None) => return true,
            (Some(_), Some(b'/')) => at.up(1),
            // `a/#` matches `a` as well (4.7.1.2).
            (Some(_), None) => return filter.next() == Some(b'#'),
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_proto::topic::{TopicFilter, TopicName};

    #[test]
    fn matches_as_the_standard_says() {
        for (filter, topic, is_match) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "ab", false),
            ("ab", "a", false),
            ("a/b", "a/b", true),
            ("a/b", "a", false),
            ("a", "a/b", false),
            ("a/", "a/", true),
            ("a/", "a", false),
            ("a", "a/", false),
            ("+", "a", true),
            ("+", "", true),
            ("+", "a/b", false),
            ("+", "/a", false),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a//c", true),
            ("a/+/c", "a/b/d", false),
            ("#", "a/b/c", true),
            ("#", "/", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("$SYS/#", "$SYS", true),
            ("$SYS/+", "$SYS/a", true),
            ("a/#", "a", true),
            ("a/#", "a/", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("a/#", "b/a", false),
            ("+/#", "a", true),
            ("a/+/#", "a/b", true),
            ("a/+/#", "a", false),
            ("é/x", "é/x", true),
        ] {
            assert!(TopicFilter::new(filter).is_ok(), "{filter}");
            let found = Filter::fixed(filter).matches(topic, "", "");
            assert_eq!(found, is_match, "{filter} {topic}");
        }
    }

    #[test]
    fn placeholders_are_filled_in_anywhere() {
        for (pattern, topic, is_match) in [
            ("c/%c", "c/id", true),
            ("c/%c", "c/ID", false),
            ("c/%c", "c/%c", false),
            ("%u/+/%c", "al/ice/x/id", true),
            ("dev-%c/x", "dev-id/x", true),
            ("%c%c", "idid", true),
            ("%c/#", "id", true),
            ("%%c", "%id", true),
            ("%d/%", "%d/%", true),
            ("u/%u", "u/al", false),
            ("%u", "al/ice", true),
        ] {
            let found = Filter::pattern(pattern).matches(topic, "id", "al/ice");
            assert_eq!(found, is_match, "{pattern} {topic}");
        }
        assert!(!Filter::pattern("%c").matches("$id", "$id", ""));
        assert!(!Filter::fixed("%c").matches("id", "id", ""));
        assert!(Filter::pattern("%u/a").has_username());
        assert!(!Filter::pattern("%c/a").has_username());
    }

    /// The walk against the standard's plain matcher.
    #[test]
    fn agrees_with_the_topic_filter_of_mqtt_proto() {
        let seed = 0xf117e4_u64;
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut matched, mut checked) = (0, 0);
        while checked < 20_000 {
            let mut word = |alphabet: &[u8], most: usize| -> String {
                let length = random.usize(1..=most);
                let pick = |_| char::from(alphabet[random.usize(..alphabet.len())]);
                (0..length).map(pick).collect()
            };
            let (filter, topic) = (word(b"ab//+#$", 7), word(b"ab//$", 7));
            let Ok(oracle) = TopicFilter::new(&filter) else {
                continue;
            };
            checked += 1;
            let expected = oracle.matches(TopicName::new(&topic).unwrap());
            matched += usize::from(expected);
            let found = Filter::fixed(&filter).matches(&topic, "", "");
            assert_eq!(found, expected, "seed {seed:#x} {filter} {topic}");
            // The same filter, cut in the middle by a placeholder that stands for one letter.
            let cut = filter.replacen('a', "%c", 1);
            let found = Filter::pattern(&cut).matches(&topic, "a", "");
            assert_eq!(found, expected, "seed {seed:#x} {cut} {topic}");
        }
        assert!(matched > 500, "the words must match often enough: {matched}");
    }
}
