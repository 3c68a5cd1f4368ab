//! `$share/NAME/filter`: the filter of a shared subscription (MQTT 4.8.2), taken apart.
//! Choosing the receiver of a shared message is the broker's affair.

use super::{TOPIC_BYTES_MAX, TopicError, TopicFilter};
use core::fmt;

/// The name of a group of shared subscriptions: not empty, no `/`, `+` or `#`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareName<'a>(&'a str);

impl<'a> ShareName<'a> {
    /// The share name as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for ShareName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Takes the filters of shared subscriptions apart.
#[derive(Debug)]
pub struct SharedFilter;

impl SharedFilter {
    /// What a shared subscription's filter starts with.
    pub const PREFIX: &'static str = "$share/";

    /// The share name and the filter behind it, or `None` when `text` does not ask for a
    /// shared subscription (and has not been checked at all).
    ///
    /// # Errors
    /// `text` starts with `$share/` and breaks a rule of 4.8.2 or of topic filters.
    pub fn parse(text: &str) -> Result<Option<(ShareName<'_>, TopicFilter<'_>)>, TopicError> {
        let Some(rest) = text.strip_prefix(Self::PREFIX) else {
            return Ok(None);
        };
        if text.len() > TOPIC_BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        let (name, filter) = match rest.split_once('/') {
            Some((name, filter)) => (name, Some(filter)),
            None => (rest, None),
        };
        if name.is_empty() {
            return Err(TopicError::ShareNameEmpty);
        }
        for byte in name.bytes() {
            match byte {
                0 => return Err(TopicError::NulCharacter),
                b'+' | b'#' => return Err(TopicError::ShareNameWildcard),
                _ => {}
            }
        }
        match filter {
            None | Some("") => Err(TopicError::ShareFilterMissing),
            Some(filter) => Ok(Some((ShareName(name), TopicFilter::new(filter)?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_filters() {
        for (text, name, filter) in [
            ("$share/g/a", "g", "a"),
            ("$share/g//a", "g", "/a"),
            ("$share/g/#", "g", "#"),
            ("$share/g/+/b", "g", "+/b"),
            ("$share/$x/$SYS/#", "$x", "$SYS/#"),
            ("$share/g/$share/h/a", "g", "$share/h/a"),
        ] {
            let (got_name, got_filter) = SharedFilter::parse(text).unwrap().unwrap();
            assert_eq!((got_name.as_str(), got_filter.as_str()), (name, filter));
        }
        for plain in ["a", "$share", "$shared/a/b", "a/$share/b/c", "/$share/g/a", ""] {
            assert_eq!(SharedFilter::parse(plain), Ok(None), "{plain}");
        }
        for (bad, why) in [
            ("$share/", TopicError::ShareNameEmpty),
            ("$share//a", TopicError::ShareNameEmpty),
            ("$share/g", TopicError::ShareFilterMissing),
            ("$share/g/", TopicError::ShareFilterMissing),
            ("$share/+/a", TopicError::ShareNameWildcard),
            ("$share/g#/a", TopicError::ShareNameWildcard),
            ("$share/g\0/a", TopicError::NulCharacter),
            ("$share/g/a#", TopicError::HashNotAlone),
            ("$share/g/#/a", TopicError::HashNotLast),
        ] {
            assert_eq!(SharedFilter::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn the_whole_text_is_measured() {
        let fits = format!("$share/g/{}", "x".repeat(TOPIC_BYTES_MAX - 9));
        assert!(SharedFilter::parse(&fits).unwrap().is_some());
        assert_eq!(SharedFilter::parse(&(fits + "x")), Err(TopicError::TooLong));
    }
}
