//! Topic Aliases of one connection, in both directions (MQTT 5.0 section 3.3.2.3.4).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use mqtt_proto::Offence;

/// What the Client's aliases stand for. Owns no memory until the first one is set.
#[allow(clippy::box_collection, reason = "every connection has this, few have an alias")]
pub(crate) struct IncomingAliases {
    maximum: u16,
    topics: Option<Box<Vec<Option<Arc<str>>>>>,
}

impl IncomingAliases {
    /// `maximum` is the Topic Alias Maximum the Server announced.
    pub(crate) const fn new(maximum: u16) -> Self {
        Self { maximum, topics: None }
    }

    /// Lets `alias` stand for `topic` from now on.
    pub(crate) fn set(&mut self, alias: u16, topic: &str) -> Result<(), Offence> {
        let index = self.index(alias)?;
        let topics = self.topics.get_or_insert_default();
        if topics.len() <= index {
            topics.resize(usize::from(alias), None);
        }
        // A publisher may repeat topic and alias in every packet.
        if let Some(known) = topics.get_mut(index).filter(|known| known.as_deref() != Some(topic)) {
            *known = Some(Arc::from(topic));
        }
        Ok(())
    }

    /// What `alias` stands for.
    pub(crate) fn get(&self, alias: u16) -> Result<Arc<str>, Offence> {
        let index = self.index(alias)?;
        let topic = self.topics.as_ref().and_then(|topics| topics.get(index));
        topic.cloned().flatten().ok_or(Offence::TopicAliasUnknown)
    }

    /// The alias's place among the topics: aliases begin at 1.
    fn index(&self, alias: u16) -> Result<usize, Offence> {
        let index = alias.checked_sub(1).filter(|_| alias <= self.maximum);
        index.map(usize::from).ok_or(Offence::TopicAliasTooLarge)
    }
}

/// The Server's aliases towards the Client: the first topics of at least some length get one, as
/// Mosquitto does it.
#[allow(clippy::box_collection, reason = "every connection has this, few have an alias")]
pub(crate) struct OutgoingAliases {
    maximum: u16,
    topics: Option<Box<Vec<Box<str>>>>,
}

/// How a topic is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aliased {
    /// By its name.
    Plain,
    /// By its name, with the alias it has from now on.
    New(u16),
    /// By its alias alone.
    Known(u16),
}

/// A shorter topic costs no more bytes than its alias does.
const TOPIC_BYTES_MIN: usize = 4;

impl OutgoingAliases {
    /// `maximum` is the smaller of the Client's Topic Alias Maximum and the Server's own bound.
    pub(crate) const fn new(maximum: u16) -> Self {
        Self { maximum, topics: None }
    }

    /// Whether every topic is plain.
    #[inline]
    pub(crate) const fn is_off(&self) -> bool {
        self.maximum == 0
    }

    /// How to write `topic`; [`OutgoingAliases::commit`] follows once a new alias was sent.
    pub(crate) fn look_up(&self, topic: &str) -> Aliased {
        if self.maximum == 0 || topic.len() < TOPIC_BYTES_MIN {
            return Aliased::Plain;
        }
        let topics = self.topics.as_ref().map_or(&[][..], |topics| &topics[..]);
        match topics.iter().position(|known| **known == *topic) {
            Some(index) => Aliased::Known((index as u16).saturating_add(1)),
            None if topics.len() < usize::from(self.maximum) => {
                Aliased::New((topics.len() as u16).saturating_add(1))
            }
            None => Aliased::Plain,
        }
    }

    /// The Client has been sent the alias that [`Aliased::New`] named.
    pub(crate) fn commit(&mut self, topic: &str) {
        self.topics.get_or_insert_default().push(Box::from(topic));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incoming_aliases_are_bounded_and_can_be_changed() {
        let mut aliases = IncomingAliases::new(2);
        assert_eq!(aliases.get(1), Err(Offence::TopicAliasUnknown));
        aliases.set(2, "a").unwrap();
        assert_eq!(&*aliases.get(2).unwrap(), "a");
        aliases.set(2, "b").unwrap();
        assert_eq!(&*aliases.get(2).unwrap(), "b");
        assert_eq!(aliases.set(3, "a"), Err(Offence::TopicAliasTooLarge));
        assert_eq!(aliases.get(3), Err(Offence::TopicAliasTooLarge));
        assert_eq!(aliases.get(1), Err(Offence::TopicAliasUnknown));
        assert_eq!(IncomingAliases::new(0).set(1, "a"), Err(Offence::TopicAliasTooLarge));
    }

    #[test]
    fn outgoing_aliases_are_given_to_the_first_topics() {
        let mut aliases = OutgoingAliases::new(1);
        assert_eq!(aliases.look_up("abc"), Aliased::Plain);
        assert_eq!(aliases.look_up("a/long/one"), Aliased::New(1));
        aliases.commit("a/long/one");
        assert_eq!(aliases.look_up("a/long/one"), Aliased::Known(1));
        assert_eq!(aliases.look_up("another"), Aliased::Plain);
        assert_eq!(OutgoingAliases::new(0).look_up("a/long/one"), Aliased::Plain);
    }
}
