//! Issue 7: `mqttd migrate FILE` says what each line of a mosquitto.conf means here.

use std::process::Command;

use mqttd_tests::only_our_broker;
use mqttd_tests::place::{TempDir, our_binary};
use mqttd_tests::process;

#[test]
fn migrate_says_for_every_line_what_it_means_here() {
    only_our_broker!("Mosquitto has nothing like it");
    let dir = TempDir::new();
    let migrate = |text: &str| {
        let path = dir.write("mosquitto.conf", text);
        let mut command = Command::new(our_binary("mqttd"));
        command.args(["migrate", &path]);
        (process::run(command, b""), path)
    };
    let text = "# of an old machine\nlistener 1883\nallow_anonymous true\nmaximum_qos 1\n\
                autosave_interval 1800\n";
    let (said, path) = migrate(text);
    let wanted = [
        format!("same     {path}:2: listener 1883"),
        format!("same     {path}:3: allow_anonymous true"),
        format!("mapped   {path}:4: maximum_qos 1  # the name here is `max_qos 1`"),
        format!(
            "ignored  {path}:5: autosave_interval 1800  # every change is written when it happens"
        ),
        "2 same, 1 mapped, 1 ignored, 0 refused".to_owned(),
    ];
    assert_eq!(said.ok().out().lines().collect::<Vec<_>>(), wanted);

    let (said, path) =
        migrate("allow_anonymous true\nlistener 1883\nplugin /usr/lib/x.so\nno_such_thing 1\n");
    let out = said.exits(3).out();
    assert!(out.contains(&format!("refused  {path}:3: plugin /usr/lib/x.so  # plugin")), "{out}");
    assert!(out.contains("unknown directive 'no_such_thing'"), "{out}");
    assert!(out.ends_with("2 same, 0 mapped, 0 ignored, 2 refused\n"), "{out}");
}
