//! Every dependency comes from crates.io under a licence of the list: `scripts/licences`.

use std::process::Command;

use mqttd_tests::place;

#[test]
fn every_dependency_has_a_licence_of_the_list() {
    if Command::new("python3").arg("--version").output().is_err() {
        return place::say_skipped(module_path!(), "no python3");
    }
    let output = Command::new(place::project_root().join("scripts/licences")).output();
    let output = output.expect("the script can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{complaint}");
}
