//! CONNECT as tests write it.

use mqtt_proto::Version;
use mqtt_proto::property::PropertyId;
use mqttd_core::event::Proof;

use super::said::*;

/// A Client's CONNECT in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub version: Version,
    pub name: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub username: Option<String>,
    pub will: Option<Publish>,
    pub props: Props,
    pub is_assigned: bool,
    pub listener: u16,
    pub proof: Proof,
}

/// A 5.0 Client that begins anew and whose session ends with the connection.
pub fn v5(name: &str) -> Hello {
    Hello {
        version: Version::V5,
        name: name.into(),
        clean: true,
        keep_alive: 0,
        username: None,
        will: None,
        props: vec![],
        is_assigned: false,
        listener: 0,
        proof: Proof::None,
    }
}

/// The same of 3.1.1.
pub fn v311(name: &str) -> Hello {
    Hello { version: Version::V311, ..v5(name) }
}

/// The same of 3.1.
pub fn v31(name: &str) -> Hello {
    Hello { version: Version::V31, ..v5(name) }
}

impl Hello {
    /// Resumes the session and lets it outlive the connection by far.
    pub fn resuming(mut self) -> Self {
        self.clean = false;
        if self.version == Version::V5 {
            self.props.push(session_expiry(100_000));
        }
        self
    }

    /// Its user has shown the password that dynamic security has for it.
    pub fn in_dynamic_security(self) -> Self {
        Self { proof: Proof::Dynamic, ..self }
    }

    pub fn clean(self, clean: bool) -> Self {
        Self { clean, ..self }
    }

    pub fn with(mut self, prop: Prop) -> Self {
        self.props.push(prop);
        self
    }

    pub fn receive_maximum(self, maximum: u16) -> Self {
        self.with(Prop::U16(PropertyId::ReceiveMaximum, maximum))
    }

    pub fn keep_alive(self, keep_alive: u16) -> Self {
        Self { keep_alive, ..self }
    }

    pub fn user(self, username: &str) -> Self {
        Self { username: Some(username.into()), ..self }
    }

    /// Its user has shown the password.
    pub fn with_password(self, username: &str) -> Self {
        Self { proof: Proof::Password, ..self.user(username) }
    }

    /// Will properties are those of the message.
    pub fn will(self, will: Publish) -> Self {
        Self { will: Some(will), ..self }
    }

    pub fn packet_bytes_max(&self) -> usize {
        let max = self.props.iter().find_map(|prop| match prop {
            Prop::U32(PropertyId::MaximumPacketSize, max) => Some(*max as usize),
            _ => None,
        });
        max.unwrap_or(usize::MAX)
    }

    pub fn through(self, listener: u16) -> Self {
        Self { listener, ..self }
    }

    /// Sends no identifier; the Server assigns the name.
    pub fn assigned(self) -> Self {
        Self { is_assigned: true, ..self }
    }
}
