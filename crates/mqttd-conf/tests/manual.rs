//! The written manual is the one the rows make. `MQTTD_BLESS=1` rewrites it.

mod support;

use std::path::Path;

#[test]
fn the_reference_and_the_man_page_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    support::check_golden(&folder.join("mqttd.conf.md"), &mqttd_conf::manual::markdown());
    support::check_golden(&folder.join("mqttd.conf.5"), &mqttd_conf::manual::man_page());
}
