//! Topic Aliases of one connection, in both directions (MQTT 5.0 section 3.3.2.3.4).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use mqtt_proto::Offence;

/// What aliases stand for on one connection. Owns no memory until the first one is set: every
/// connection has this, few have an alias.
pub(crate) struct Aliases {
    /// The Topic Alias Maximum the Server announced.
    incoming_max: u16,
    /// The smaller of the Client's Topic Alias Maximum and the Server's own bound.
    outgoing_max: u16,
    topics: Option<Box<Topics>>,
}

#[derive(Default)]
struct Topics {
    /// The Client's aliases, by number.
    incoming: Vec<Option<Arc<str>>>,
    /// The Server's: the first topics of at least some length get one, as Mosquitto does it.
    outgoing: Vec<Box<str>>,
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

impl Aliases {
    /// With these bounds; none of the aliases is set.
    pub(crate) const fn new(incoming_max: u16, outgoing_max: u16) -> Self {
        Self { incoming_max, outgoing_max, topics: None }
    }

    /// Lets the Client's `alias` stand for `topic` from now on.
    pub(crate) fn set(&mut self, alias: u16, topic: &str) -> Result<(), Offence> {
        let index = self.index(alias)?;
        let topics = &mut self.topics.get_or_insert_default().incoming;
        if topics.len() <= index {
            topics.resize(usize::from(alias), None);
        }
        // A publisher may repeat topic and alias in every packet.
        if let Some(known) = topics.get_mut(index).filter(|known| known.as_deref() != Some(topic)) {
            *known = Some(Arc::from(topic));
        }
        Ok(())
    }

    /// What the Client's `alias` stands for.
    pub(crate) fn get(&self, alias: u16) -> Result<Arc<str>, Offence> {
        let index = self.index(alias)?;
        let topic = self.topics.as_ref().and_then(|topics| topics.incoming.get(index));
        topic.cloned().flatten().ok_or(Offence::TopicAliasUnknown)
    }

    /// The place of a Client's alias among the topics: aliases begin at 1.
    fn index(&self, alias: u16) -> Result<usize, Offence> {
        let index = alias.checked_sub(1).filter(|_| alias <= self.incoming_max);
        index.map(usize::from).ok_or(Offence::TopicAliasTooLarge)
    }

    /// Whether every topic is written plain.
    #[inline]
    pub(crate) const fn writes_none(&self) -> bool {
        self.outgoing_max == 0
    }

    /// How to write `topic`; [`Aliases::commit`] follows once a new alias was sent.
    pub(crate) fn look_up(&self, topic: &str) -> Aliased {
        if self.outgoing_max == 0 || topic.len() < TOPIC_BYTES_MIN {
            return Aliased::Plain;
        }
        let topics = self.topics.as_ref().map_or(&[][..], |topics| &topics.outgoing[..]);
        match topics.iter().position(|known| **known == *topic) {
            Some(index) => Aliased::Known((index as u16).saturating_add(1)),
            None if topics.len() < usize::from(self.outgoing_max) => {
                Aliased::New((topics.len() as u16).saturating_add(1))
            }
            None => Aliased::Plain,
        }
    }

    /// The Client has been sent the alias that [`Aliased::New`] named.
    pub(crate) fn commit(&mut self, topic: &str) {
        self.topics.get_or_insert_default().outgoing.push(Box::from(topic));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incoming_aliases_are_bounded_and_can_be_changed() {
        let mut aliases = Aliases::new(2, 0);
        assert_eq!(aliases.get(1), Err(Offence::TopicAliasUnknown));
        aliases.set(2, "a").unwrap();
        assert_eq!(&*aliases.get(2).unwrap(), "a");
        aliases.set(2, "b").unwrap();
        assert_eq!(&*aliases.get(2).unwrap(), "b");
        assert_eq!(aliases.set(3, "a"), Err(Offence::TopicAliasTooLarge));
        assert_eq!(aliases.get(3), Err(Offence::TopicAliasTooLarge));
        assert_eq!(aliases.get(1), Err(Offence::TopicAliasUnknown));
        assert_eq!(Aliases::new(0, 0).set(1, "a"), Err(Offence::TopicAliasTooLarge));
    }

    #[test]
    fn outgoing_aliases_are_given_to_the_first_topics() {
        let mut aliases = Aliases::new(0, 1);
        assert_eq!(aliases.look_up("abc"), Aliased::Plain);
        assert_eq!(aliases.look_up("a/long/one"), Aliased::New(1));
        aliases.commit("a/long/one");
        assert_eq!(aliases.look_up("a/long/one"), Aliased::Known(1));
        assert_eq!(aliases.look_up("another"), Aliased::Plain);
        assert_eq!(Aliases::new(0, 0).look_up("a/long/one"), Aliased::Plain);
    }
}
