//! `mosquitto.conf`.

use std::path::Path;

use mqttd_conf::{Config, Memory, diff};

/// A configuration is read or refused with its lines, and one that is read differs in nothing from
/// itself.
pub fn mosquitto_conf(bytes: &[u8]) {
    let path = Path::new("mqttd.conf");
    let source = Memory::default().with(path, bytes);
    match Config::load(&source, path) {
        Ok((config, _)) => {
            let again = Config::load(&source, path).expect("the same file says the same");
            assert!(config == again.0, "two readings of one file");
            let changes = diff(&config, &again.0);
            assert!(changes.listeners.is_empty(), "a file differs from itself: {changes:?}");
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal without a reason");
            errors.iter().for_each(|error| assert!(!error.to_string().is_empty()));
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 5] = [
        b"listener 1883 localhost\nallow_anonymous true\npersistence true\n",
        b"per_listener_settings true\nlistener 8883\ncafile /etc/ca.crt\ncertfile c\nkeyfile k\n",
        b"listener 9001\nprotocol websockets\nmax_connections 10\nmount_point a/b/\n",
        b"connection there\naddress host:1883\ntopic # both 2 local/ remote/\n",
        b"include_dir /etc/conf.d\nlog_dest file /var/log/m.log\ndurability sync a/#\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}
