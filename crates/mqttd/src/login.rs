//! What the broker does about strangers who try passwords or connect too often: what `guard.rs`
//! remembers, asked and told on behalf of one connection, be it MQTT or HTTP.

use std::sync::Arc;

use mqtt_auth::{DynamicRights, PasswordFile};
use mqtt_net::PeerAddress;
use mqtt_proto::ReasonCode;
use mqttd_conf::LogType;
use mqttd_core::event::Proof;

use crate::live::Live;
use crate::run::Broker;

/// Where the password of a user is looked up, and what it then has shown. Dynamic security comes
/// first, as in Mosquitto, and then nobody comes in with a user name that nobody knows. `None`:
/// passwords are not asked for.
pub(crate) fn passwords_of<'p>(
    user: &str,
    dynamic: Option<&'p Arc<DynamicRights>>,
    file: Option<&'p Arc<PasswordFile>>,
) -> Option<(&'p Arc<PasswordFile>, Proof)> {
    match (dynamic, file) {
        (Some(dynamic), Some(_)) if dynamic.knows(user) => {
            Some((dynamic.passwords(), Proof::Dynamic))
        }
        (_, Some(file)) => Some((file, Proof::Password)),
        (Some(dynamic), None) => Some((dynamic.passwords(), Proof::Dynamic)),
        (None, None) => None,
    }
}

/// Somebody who has not shown who it is.
#[derive(Clone, Copy)]
pub(crate) struct Stranger<'s> {
    pub(crate) broker: &'s Broker,
    pub(crate) live: &'s Live,
    pub(crate) peer: &'s PeerAddress,
}

impl Stranger<'_> {
    /// Why the address is not let in at all, if it is not.
    pub(crate) fn refuses_address(self) -> Option<ReasonCode> {
        let (guard, now) = (&self.broker.guard, self.broker.clock.now());
        if let Some(rate) = self.live.config.limits.max_connect_rate {
            if !guard.may_connect(self.peer, rate, now) {
                return Some(ReasonCode::ConnectionRateExceeded);
            }
        }
        let bans = self.live.config.security.logins.max_failures.is_some();
        (bans && guard.is_address_banned(self.peer, now)).then_some(ReasonCode::Banned)
    }

    /// Whether nobody may log in with this user name now.
    pub(crate) fn refuses_user(self, user: &str) -> bool {
        let bans = self.live.config.security.logins.max_failures_user.is_some();
        bans && self.broker.guard.is_user_banned(user, self.broker.clock.now())
    }

    /// Counts a failed login and waits as long as its refusal is to wait.
    pub(crate) async fn login_failed(self, user: Option<&str>) {
        let logins = &self.live.config.security.logins;
        let now = self.broker.clock.now();
        let consequence = self.broker.guard.failed(self.peer, user, logins, now);
        let (seconds, logger) = (logins.ban_time.as_secs(), &self.broker.logger);
        if let (true, Some(address)) = (consequence.bans_address, self.peer.ip()) {
            logger.line(
                LogType::Warning,
                format_args!(
                    "Banned address {address} for {seconds} s: max_login_failures is reached."
                ),
            );
        }
        if let (true, Some(user)) = (consequence.bans_user, user) {
            logger.line(
                LogType::Warning,
                format_args!(
                    "Banned user '{user}' for {seconds} s: max_login_failures_user is reached."
                ),
            );
        }
        if !consequence.delay.is_zero() {
            tokio::time::sleep(consequence.delay).await;
        }
    }
}
