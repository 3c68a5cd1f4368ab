//! Dynamic security that a line turns on for all listeners.

use mqttd_tests::peer::{Carrier, Level, Peer};
use mqttd_tests::place::broker_under_test;
use mqttd_tests::{Broker, Tools, only_our_broker};

const PLUGIN: &str = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so";

/// `global_plugin` counts for each listener, also where settings are those of listeners.
#[test]
fn it_may_count_for_all_listeners() {
    only_our_broker!("global_plugin is of Mosquitto 2.1");
    let text = format!(
        "per_listener_settings true\nglobal_plugin {PLUGIN}\n\
         plugin_opt_config_file {{dir}}/ds.json\nlistener {{port}} 127.0.0.1\n\
         listener {{ws}} 127.0.0.1\n"
    );
    let broker = Broker::prepared(broker_under_test(), &text);
    Tools::Mosquitto.run("ctrl", &["dynsec", "init", &broker.file("ds.json"), "admin", "pw"]).ok();
    let broker = broker.started();
    for port in [broker.port(), broker.ws_port()] {
        for (password, code) in [("pw", 0), ("wrong", 0x87)] {
            let mut peer = Peer::at(port, Carrier::Tcp);
            peer.speaks(Level::V5);
            peer.send(&format!("10 [ <MQTT> 05 c2 0000 [ ] <c> <admin> <{password}> ]"));
            assert_eq!(peer.packet("CONNACK")[3], code, "{port} {password}");
        }
    }
}
