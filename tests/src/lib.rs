//! The vocabulary of the process-level tests: they start the real `mqttd` on a free port with a
//! config of their own, drive it with the real tools, with Debian's mosquitto clients, with paho
//! and with hand-written bytes, and share no code with what they test.
//!
//! All of them:       make test
//! One file:          cargo build --workspace --bins && cargo test -p mqttd-tests --test session
//! One test:          cargo test -p mqttd-tests --test wire -- keep_alive --nocapture
//! Against the peer:  MQTTD_TEST_BROKER=/usr/sbin/mosquitto MQTTD_TEST_TOOLS=mosquitto \
//!                        cargo test -p mqttd-tests
//!
//! `MQTTD_BIN_DIR` names the folder with our binaries; without it they are looked for beside the
//! test's own executable, then in `target/debug` and `target/release`. With the peer, a test of
//! something only we do writes a line that starts with SKIPPED and passes. What a failing broker
//! logged is printed under the failure. `scripts/test-deps` installs the foreign clients.
#![forbid(unsafe_code)]

pub mod authority;
pub mod broker;
pub mod disk;
pub mod listening;
pub mod lying_socket;
pub mod notation;
pub mod pair;
pub mod peer;
pub mod place;
pub mod preload;
pub mod process;
pub mod raw;
pub mod script;
pub mod siege;
pub mod tool;
pub mod wall_clock;
pub mod websocket;

pub use broker::Broker;
pub use peer::{Level, Peer};
pub use process::{Finished, Running};
pub use raw::Raw;
pub use script::Venv;
pub use siege::Siege;
pub use tool::{Sub, Tools};

/// Leaves a test of something Mosquitto 2.0.11 does not do (or does differently) when the peer is
/// the broker under test, and says so past the test harness's capture.
#[macro_export]
macro_rules! only_our_broker {
    ($reason:expr) => {
        if $crate::place::broker_is_peer() {
            $crate::place::say_skipped(module_path!(), $reason);
            return;
        }
    };
}

/// Like [`only_our_broker!`], for a test of something only our tools do.
#[macro_export]
macro_rules! only_our_tools {
    ($reason:expr) => {
        if $crate::place::tools_are_peer() {
            $crate::place::say_skipped(module_path!(), $reason);
            return;
        }
    };
}
