//! How a session is to be sent a message: what its subscription grants.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use mqtt_proto::QoS;
use mqtt_proto::packet::SubscriptionOptions;
use mqtt_proto::property::PropertyId;

/// How a session is to be sent a message: its subscription, as far as delivery needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub(crate) qos: QoS,
    pub(crate) no_local: NoLocal,
    pub(crate) retain_as_published: bool,
    pub(crate) extra: Option<Arc<GrantExtra>>,
}

/// Whether the session's own messages are left out [MQTT-3.8.3-3].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoLocal {
    /// None of its subscriptions asks for it.
    Never,
    /// All do.
    Always,
    /// Some do: [`GrantExtra::own`] is what the others grant.
    Partly,
}

/// The rarer part of a [`Grant`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GrantExtra {
    /// Subscription Identifiers, encoded as properties.
    identifiers: Box<[u8]>,
    /// The shared subscription it came through, `$share/…` included.
    pub(crate) share: Option<Box<str>>,
    /// For messages of the session's own, when only some of its subscriptions take them.
    own: Option<Box<Grant>>,
}

impl GrantExtra {
    /// `None` when there is nothing to say; identifier 0 stands for none.
    pub(crate) fn new(identifiers: &[u32], share: Option<&str>) -> Option<Self> {
        let mut encoded = Vec::new();
        for &identifier in identifiers.iter().filter(|identifier| **identifier != 0) {
            encoded.push(PropertyId::SubscriptionIdentifier as u8);
            mqtt_proto::codec::varint::write(&mut encoded, identifier);
        }
        Self::from_encoded(encoded, share)
    }

    /// As [`GrantExtra::new`], from identifiers that are encoded already.
    pub(crate) fn from_encoded(identifiers: Vec<u8>, share: Option<&str>) -> Option<Self> {
        let (identifiers, share) = (identifiers.into(), share.map(Box::from));
        let extra = Self { identifiers, share, own: None };
        (!extra.identifiers.is_empty() || extra.share.is_some()).then_some(extra)
    }

    /// The encoded Subscription Identifiers.
    pub(crate) fn identifiers(&self) -> &[u8] {
        &self.identifiers
    }
}

impl Grant {
    pub(crate) fn new(options: SubscriptionOptions, extra: Option<Arc<GrantExtra>>) -> Self {
        Self {
            qos: options.qos,
            no_local: if options.no_local { NoLocal::Always } else { NoLocal::Never },
            retain_as_published: options.retain_as_published,
            extra,
        }
    }

    /// The encoded Subscription Identifiers.
    #[inline]
    pub(crate) fn identifiers(&self) -> &[u8] {
        self.extra.as_ref().map_or(&[], |extra| &extra.identifiers)
    }

    /// What is granted for a message of the session's own; `None`: nothing.
    pub(crate) fn for_own(&self) -> Option<&Self> {
        match self.no_local {
            NoLocal::Never => Some(self),
            NoLocal::Always => None,
            NoLocal::Partly => self.extra.as_ref()?.own.as_deref(),
        }
    }

    /// Takes over what another subscription of the same session grants for the same message.
    pub(crate) fn merge(&mut self, other: &Self) {
        let same = self.no_local == other.no_local && self.no_local != NoLocal::Partly;
        let own = if same {
            None
        } else {
            let mut own = self.for_own().or(other.for_own()).cloned();
            if let (Some(own), Some(_), Some(more)) = (&mut own, self.for_own(), other.for_own()) {
                own.merge(more);
            }
            self.no_local = NoLocal::Partly;
            own.map(Box::new)
        };
        self.qos = self.qos.max(other.qos);
        self.retain_as_published |= other.retain_as_published;
        if own.is_some() || !other.identifiers().is_empty() {
            let identifiers = [self.identifiers(), other.identifiers()].concat().into();
            self.extra = Some(Arc::new(GrantExtra { identifiers, share: None, own }));
        }
    }
}
