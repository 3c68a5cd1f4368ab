//! How a session is to be sent a message: what its subscription grants.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use mqtt_proto::QoS;
use mqtt_proto::packet::SubscriptionOptions;
use mqtt_proto::property::PropertyId;

/// How a session is to be sent a message: its subscription, as far as delivery needs it.
#[derive(Clone, Debug)]
pub struct Grant {
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) extra: Option<Arc<GrantExtra>>,
}

/// The rarer part of a [`Grant`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GrantExtra {
    /// Subscription Identifiers, encoded as properties.
    identifiers: Box<[u8]>,
    /// The shared subscription it came through, `$share/…` included.
    pub(crate) share: Option<Box<str>>,
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
        let extra = Self { identifiers: identifiers.into(), share: share.map(Box::from) };
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
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            extra,
        }
    }

    /// The encoded Subscription Identifiers.
    #[inline]
    pub(crate) fn identifiers(&self) -> &[u8] {
        self.extra.as_ref().map_or(&[], |extra| &extra.identifiers)
    }

    /// Takes over what another subscription of the same session grants for the same message.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.qos = self.qos.max(other.qos);
        self.no_local &= other.no_local;
        self.retain_as_published |= other.retain_as_published;
        if !other.identifiers().is_empty() {
            let both = [self.identifiers(), other.identifiers()].concat();
            self.extra = GrantExtra::from_encoded(both, None).map(Arc::new);
        }
    }
}
