//! Who published a retained message: what the access rights are asked about again before each
//! delivery (`check_retain_source`).

use alloc::boxed::Box;
use alloc::sync::Arc;

use mqtt_auth::{Action, Who};

use crate::ids::{ListenerId, SessionKey};
use crate::record::SourceRecord;
use crate::shard::Shard;

/// The publisher of a retained message. It may be gone long since.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    client_id: Box<str>,
    username: Option<Box<str>>,
    listener: ListenerId,
}

impl Source {
    /// As its record has it.
    pub(crate) fn record(&self) -> SourceRecord<'_> {
        SourceRecord {
            client_id: &self.client_id,
            username: self.username.as_deref(),
            listener: self.listener.0,
        }
    }
}

impl From<SourceRecord<'_>> for Source {
    fn from(record: SourceRecord<'_>) -> Self {
        Self {
            client_id: Box::from(record.client_id),
            username: record.username.map(Box::from),
            listener: ListenerId(record.listener),
        }
    }
}

impl Shard {
    /// The session as a publisher of retained messages; made once for each connection.
    pub(crate) fn source(&mut self, key: SessionKey) -> Arc<Source> {
        let session = &mut self.sessions[key];
        if let Some(source) =
            session.online.as_ref().and_then(|online| online.rare.as_ref()?.source.as_ref())
        {
            return Arc::clone(source);
        }
        let source = Arc::new(Source {
            client_id: session.client_id.clone(),
            username: session.username.clone(),
            listener: session.listener,
        });
        if let Some(online) = &mut session.online {
            online.rare.get_or_insert_default().source = Some(Arc::clone(&source));
        }
        source
    }

    /// Whether the publisher of this retained message might still publish it.
    pub(crate) fn source_may_publish(&self, source: Option<&Source>, topic: &str) -> bool {
        let Some(source) = source.filter(|_| self.settings.check_retain_source) else {
            return true;
        };
        let who = Who { username: source.username.as_deref(), client_id: &source.client_id };
        self.settings.listener(source.listener).allows(&who, Action::Publish, topic)
    }
}
