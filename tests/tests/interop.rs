//! Issue 2, point 10: Debian's tools and ours, in every pairing, with Debian's broker and ours, for
//! MQTT 3.1, 3.1.1 and 5.0.

use mqttd_tests::Broker;
use mqttd_tests::peer::Level;
use mqttd_tests::tool::Tools;

const BOTH: [Tools; 2] = [Tools::UnderTest, Tools::Mosquitto];

fn brokers() -> [Broker; 2] {
    [Broker::open(), Broker::mosquitto("")]
}

/// Every pairing of publisher and subscriber at every QoS.
fn pairings(broker: &Broker, version: &str) {
    for subscriber in BOTH {
        let mut sub = subscriber.subscribe(
            broker,
            &["-V", version, "-t", "in/+", "-t", "other/#", "-q", "2", "-F", "%t %q %p"],
        );
        for publisher in BOTH {
            for qos in ["0", "1", "2"] {
                let text = format!("{publisher:?} says {qos} in {version}");
                let arguments = ["-V", version, "-q", qos, "-t", "in/x", "-m", &text];
                publisher.publish(broker, &arguments).ok();
                sub.expect_line(&format!("in/x {qos} {text}"));
            }
        }
    }
}

#[test]
fn every_pairing_in_3_1() {
    brokers().iter().for_each(|broker| pairings(broker, "31"));
}

#[test]
fn every_pairing_in_3_1_1() {
    brokers().iter().for_each(|broker| pairings(broker, "311"));
}

#[test]
fn every_pairing_in_5_0() {
    brokers().iter().for_each(|broker| pairings(broker, "5"));
}

/// A publisher of one version, a subscriber of another.
#[test]
fn versions_mix() {
    for broker in brokers() {
        for subscriber in Level::ALL {
            let arguments = ["-V", subscriber.flag(), "-t", "t", "-q", "2"];
            let mut sub = Tools::UnderTest.subscribe(&broker, &arguments);
            for publisher in Level::ALL {
                let text = format!("{} to {}", publisher.flag(), subscriber.flag());
                let arguments = ["-V", publisher.flag(), "-q", "2", "-t", "t", "-m", &text];
                Tools::Mosquitto.publish(&broker, &arguments).ok();
                sub.expect_line(&text);
            }
        }
    }
}

#[test]
fn retained_messages_cross() {
    for broker in brokers() {
        for publisher in BOTH {
            let text = format!("{publisher:?}");
            publisher.publish(&broker, &["-r", "-q", "1", "-t", "lamp", "-m", &text]).ok();
            for subscriber in BOTH {
                let arguments = ["-t", "lamp", "-C", "1", "-F", "%r %p"];
                let got = subscriber.receive(&broker, &arguments).ok();
                assert_eq!(got.out(), format!("1 {text}\n"), "{subscriber:?}");
            }
        }
    }
}

/// A session begun by one tool is taken over by the other.
#[test]
fn sessions_cross() {
    for broker in brokers() {
        for version in ["311", "5"] {
            for (first, second) in [BOTH, [BOTH[1], BOTH[0]]].map(|pair| (pair[0], pair[1])) {
                let id = format!("{first:?}{version}");
                let session = ["-V", version, "-c", "-i", &id, "-q", "2", "-t", "t"];
                first.receive(&broker, &[&session[..], &["-E"]].concat()).ok();
                for text in ["1", "2"] {
                    first.publish(&broker, &["-q", "2", "-t", "t", "-m", text]).ok();
                }
                let got = second.receive(&broker, &[&session[..], &["-C", "2"]].concat()).ok();
                assert_eq!(got.out(), "1\n2\n", "{first:?} to {second:?} in {version}");
            }
        }
    }
}

/// 5.0 properties given with `-D` arrive, whoever sends and whoever prints.
#[test]
fn properties_cross() {
    for broker in brokers() {
        for publisher in BOTH {
            let mut properties = vec!["-V", "5", "-r", "-t", "p", "-m", "x"];
            for word in [
                "content-type text/plain",
                "response-topic reply/to",
                "correlation-data ref-7",
                "payload-format-indicator 1",
            ] {
                let (name, value) = word.split_once(' ').unwrap();
                properties.extend(["-D", "publish", name, value]);
            }
            properties.extend(["-D", "publish", "user-property", "k", "v"]);
            publisher.publish(&broker, &properties).ok();
            for subscriber in BOTH {
                let arguments = ["-V", "5", "-t", "p", "-C", "1", "-F", "%C|%R|%D|%F|%P|%p"];
                let got = subscriber.receive(&broker, &arguments).ok();
                let wanted = "text/plain|reply/to|ref-7|1|k:v|x\n";
                assert_eq!(got.out(), wanted, "{publisher:?} to {subscriber:?}");
            }
        }
    }
}

#[test]
fn wills_cross() {
    for broker in brokers() {
        for mortal in BOTH {
            let mut watcher = Tools::UnderTest.subscribe(&broker, &["-t", "will", "-v"]);
            let mut sub = mortal.subscribe(
                &broker,
                &["-t", "x", "--will-topic", "will", "--will-payload", "gone", "--will-qos", "1"],
            );
            sub.running().signal("KILL");
            watcher.expect_line("will gone");
        }
    }
}
