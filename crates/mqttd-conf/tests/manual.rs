//! The written manual is the one the rows make. `MQTTD_BLESS=1` rewrites it.

mod support;

use std::path::Path;

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/mqttd.conf.md");
    support::check_golden(&path, &mqttd_conf::manual::markdown());
}
