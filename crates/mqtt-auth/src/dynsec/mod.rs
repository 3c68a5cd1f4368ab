//! Dynamic security: users and rights that change while the broker runs, by commands that clients
//! with the right to do so send as JSON. It is what Mosquitto's plugin of this name does, with its
//! file, its commands and its words.
//!
//! Contents in, verdict out, here as well: the caller reads and writes the file, brings salts and
//! publishes answers. The shards never see [`DynamicSecurity`] but the [`DynamicRights`] made of
//! it, which know no JSON.

mod client_commands;
mod command;
mod file;
mod general_commands;
mod group_commands;
mod initial;
mod json;
mod pattern;
mod rights;
mod role_commands;
mod shown;
mod state;

pub use command::{Execution, answer_queries};
pub use file::DynsecFileError;
pub use initial::InitialPasswords;
pub use rights::DynamicRights;

use state::State;

/// Where commands are published.
pub const DYNSEC_TOPIC: &str = "$CONTROL/dynamic-security/v1";

/// Clients, groups, roles, rules of roles, roles and groups of clients, all together. At some 100
/// bytes each this is 100 MB of memory and as much of a file; the plugin has no bound.
pub const DYNSEC_ENTRIES_MAX: usize = 1_000_000;

/// Highest priority, and lowest with a minus; what is beyond counts as this.
pub const PRIORITY_MAX: i32 = 100_000;

/// Bytes of salt that every version of the plugin reads.
pub const DYNSEC_SALT_BYTES: usize = 12;

/// Clients, groups and roles, with the commands that change them.
#[derive(Clone, Debug, Default)]
pub struct DynamicSecurity {
    state: State,
}

/// Whether a name may be one: UTF-8 it is, but control characters are not allowed in MQTT either.
fn is_name(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
