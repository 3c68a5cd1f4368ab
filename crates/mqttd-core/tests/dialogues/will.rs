//! The Will: when it is published, when not, and after which delay.

use mqtt_proto::ReasonCode;
use mqtt_proto::property::PropertyId;

use crate::world::*;

fn delayed(seconds: u32) -> Publish {
    publish("will", "gone").with(Prop::U32(PropertyId::WillDelayInterval, seconds))
}

fn watched() -> (World, Client) {
    let world = World::durable();
    let bob = world.connects(v5("bob"));
    bob.subscribes("will", 2);
    (world, bob)
}

#[test]
fn a_will_is_published_in_every_case_but_a_normal_disconnect() {
    let (world, bob) = watched();
    let with_will = || v5("ann").will(publish("will", "gone").with(expires(9)));
    let gone = || publish("will", "gone").with(expires(9));
    world.connects(with_will()).leaves();
    bob.expects_nothing();
    world.connects(with_will()).vanishes();
    bob.expects(gone());
    world.connects(with_will()).sends(disconnect(ReasonCode::DisconnectWithWillMessage));
    bob.expects(gone());
    world.connects(with_will().keep_alive(10));
    world.passes(15);
    bob.expects(gone());
    world.connects(with_will()).offends(mqtt_proto::Offence::ReservedFlags);
    bob.expects(gone());
    world.connects(with_will());
    world.connects(v5("ann"));
    bob.expects(gone()).expects_nothing();
}

#[test]
fn a_delayed_will_waits_and_is_called_off_by_a_resume() {
    let (world, bob) = watched();
    world.connects(v5("ann").resuming().will(delayed(10))).vanishes();
    world.passes(9);
    bob.expects_nothing();
    let ann = world.connects(v5("ann").resuming().will(delayed(10)));
    world.passes(20);
    bob.expects_nothing();
    ann.vanishes();
    world.passes(10);
    bob.expects(publish("will", "gone"));
    world.passes(100);
    bob.expects_nothing();
    assert_eq!(world.live_records().len(), 1, "the session's");
}

#[test]
fn the_end_of_the_session_publishes_a_delayed_will() {
    let (world, bob) = watched();
    let mortal = || v5("ann").with(session_expiry(5)).will(delayed(10));
    world.connects(mortal()).vanishes();
    world.passes(4);
    bob.expects_nothing();
    world.passes(1);
    bob.expects(publish("will", "gone"));
    world.connects(mortal()).vanishes();
    world.connects(v5("ann"));
    bob.expects(publish("will", "gone"));
    let bye = vec![session_expiry(0)];
    world.connects(mortal()).sends(Said::Disconnect(ReasonCode::DisconnectWithWillMessage, bye));
    bob.expects(publish("will", "gone"));
    assert_eq!(world.live_records(), []);
}

#[test]
fn a_takeover_that_resumes_calls_a_delayed_will_off_and_publishes_one_without_delay() {
    let (world, bob) = watched();
    world.connects(v5("ann").resuming().will(delayed(10)));
    world.connects(v5("ann").resuming().will(publish("will", "now").qos1(0)));
    world.passes(20);
    bob.expects_nothing();
    world.connects(v5("ann").resuming());
    bob.expects(publish("will", "now").qos1(1));
}

#[test]
fn a_retained_will_is_kept() {
    let (world, bob) = watched();
    world.connects(v311("ann").will(publish("will", "gone").retained())).vanishes();
    bob.expects(publish("will", "gone"));
    bob.subscribes("will", 0).expects(publish("will", "gone").retained());
}

#[test]
fn a_delayed_will_survives_a_restart() {
    let (world, _) = watched();
    let will = delayed(10).with(expires(30));
    world.connects(v5("ann").resuming().will(will)).vanishes();
    world.passes(3);
    world.restarts();
    let bob = world.connects(v5("bob"));
    bob.subscribes("will", 0);
    world.passes(6);
    bob.expects_nothing();
    world.passes(1);
    bob.expects(publish("will", "gone").with(expires(30)));
    assert_eq!(world.live_records().len(), 1);
}
