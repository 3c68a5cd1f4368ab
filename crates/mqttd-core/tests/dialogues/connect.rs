//! CONNECT and CONNACK, takeover, session expiry, keep alive.

use mqtt_proto::property::PropertyId::{self, *};
use mqtt_proto::{Offence, QoS, ReasonCode};
use mqttd_core::settings::{ListenerSettings, Settings};

use crate::world::*;

#[test]
fn a_second_connection_takes_the_session_over() {
    let world = World::new();
    let first = world.connects(v5("ann").resuming());
    first.subscribes("t", 1);
    let second = world.connects(v5("ann").resuming());
    first.is_told(ReasonCode::SessionTakenOver);
    assert!(second.is_resumed());
    first.sends(Said::Pingreq);
    second.expects_nothing();
    world.says("t", "x", false);
    second.expects(publish("t", "x"));

    let old = world.connects(v311("bob"));
    let new = world.connects(v311("bob"));
    old.is_closed();
    assert!(!new.is_resumed(), "the old session was clean");
}

#[test]
fn a_clean_start_ends_the_old_session() {
    let world = World::durable();
    for hello in [v5("ann"), v311("ann"), v31("ann")] {
        let ann = world.connects(hello.clone().resuming());
        assert!(!ann.is_resumed());
        ann.subscribes("t", 1);
        ann.vanishes();
        let ann = world.connects(hello.clone().resuming());
        assert_eq!(ann.is_resumed(), hello != v31("ann"), "3.1 has no Session Present");
        world.says("t", "x", false);
        ann.expects(publish("t", "x"));
        let ann = world.connects(hello.clone());
        assert!(!ann.is_resumed());
        world.says("t", "x", false);
        ann.expects_nothing();
        ann.leaves();
        assert_eq!(world.stats().sessions, 0);
        assert_eq!(world.live_records(), []);

        // Also one whose Client is not there.
        let ann = world.connects(hello.clone().resuming());
        ann.subscribes("t", 1);
        ann.vanishes();
        let ann = world.connects(hello.clone());
        assert!(!ann.is_resumed());
        world.says("t", "x", false);
        ann.expects_nothing().leaves();
        assert_eq!(world.live_records(), []);
    }
}

#[test]
fn the_session_expires_when_it_said() {
    let world = World::durable();
    let ann = world.connects(v5("ann").with(session_expiry(10)));
    assert_eq!(ann.told(SessionExpiryInterval), None);
    ann.vanishes();
    world.passes(9);
    let ann = world.connects(v5("ann").clean(false).with(session_expiry(10)));
    assert!(ann.is_resumed());
    world.passes(100);
    ann.vanishes();
    world.passes(9);
    assert_eq!(world.stats().sessions, 1);
    world.passes(1);
    assert_eq!((world.stats().sessions, world.stats().expired_sessions), (0, 1));
    assert_eq!(world.live_records(), []);
    assert!(!world.connects(v5("ann").clean(false)).is_resumed());
}

#[test]
fn disconnect_can_change_the_expiry() {
    let world = World::durable();
    let bye = |seconds| Said::Disconnect(ReasonCode::Success, vec![session_expiry(seconds)]);
    let ann = world.connects(v5("ann").with(session_expiry(10)));
    ann.sends(bye(100)).is_closed();
    world.passes(99);
    let ann = world.connects(v5("ann").clean(false).with(session_expiry(10)));
    assert!(ann.is_resumed());
    ann.sends(bye(0)).is_closed();
    assert_eq!(world.stats().sessions, 0);
    assert_eq!(world.live_records(), [], "a session that has become mortal leaves no record");

    let ann = world.connects(v5("ann"));
    ann.sends(bye(5)).is_told(ReasonCode::ProtocolError);
}

#[test]
fn a_resumed_session_without_expiry_ends_with_its_connection() {
    let world = World::durable();
    let bob = world.connects(v5("bob"));
    let ann = world.connects(v5("ann").resuming());
    ann.subscribes("t", 2);
    ann.vanishes();
    bob.sends(publish("t", "1").qos1(1)).expects(puback(1));
    let ann = world.connects(v5("ann").clean(false));
    assert!(ann.is_resumed());
    ann.expects(publish("t", "1").qos1(1));
    bob.sends(publish("t", "2").qos2(2)).expects(pubrec(2));
    ann.expects(publish("t", "2").qos2(2));
    ann.sends(pubrec(2)).expects(pubrel(2));
    ann.vanishes();
    bob.sends(pubrel(2)).expects(pubcomp(2));
    assert_eq!(world.live_records(), []);
    assert_eq!(world.stats().sessions, 1);
}

#[test]
fn connack_says_what_differs_from_the_standard() {
    let listener = ListenerSettings {
        topic_aliases_max: 0,
        qos_max: QoS::AtLeastOnce,
        ..ListenerSettings::default()
    };
    let world = World::with(
        1,
        Settings {
            retain_available: false,
            packet_bytes_max: 5000,
            inflight_messages_max: 7,
            keep_alive_seconds_max: Some(60),
            session_expiry_seconds_max: Some(30),
            listeners: vec![listener],
            ..Settings::default()
        },
    );
    let ann = world.connects(v5("auto-1").assigned().keep_alive(100).with(session_expiry(99)));
    let told = |id: PropertyId| ann.told(id);
    assert_eq!(told(RetainAvailable), Some(Prop::Byte(RetainAvailable, 0)));
    assert_eq!(told(MaximumPacketSize), Some(Prop::U32(MaximumPacketSize, 5000)));
    assert_eq!(told(ReceiveMaximum), Some(Prop::U16(ReceiveMaximum, 7)));
    assert_eq!(told(ServerKeepAlive), Some(Prop::U16(ServerKeepAlive, 60)));
    assert_eq!(told(SessionExpiryInterval), Some(session_expiry(30)));
    assert_eq!(told(MaximumQoS), Some(Prop::Byte(MaximumQoS, 1)));
    assert_eq!(told(TopicAliasMaximum), None);
    let name = Prop::Text(AssignedClientIdentifier, "auto-1".into());
    assert_eq!(told(AssignedClientIdentifier), Some(name));
    ann.sends(publish("t", "").qos2(1)).is_told(ReasonCode::QoSNotSupported);

    let bob = world.connects(v5("bob").keep_alive(60));
    assert_eq!((bob.told(ServerKeepAlive), bob.told(AssignedClientIdentifier)), (None, None));
    bob.sends(publish("t", "x").retained()).is_told(ReasonCode::RetainNotSupported);
}

#[test]
fn what_the_server_can_not_do_is_refused_at_connect() {
    let mut settings = Settings { retain_available: false, ..Settings::default() };
    settings.listeners[0].qos_max = QoS::AtLeastOnce;
    settings.keep_alive_seconds_max = Some(60);
    settings.sessions_max = Some(1);
    let world = World::with(1, settings);
    let code = |hello| match world.tries(hello).connack {
        Said::Connack { code, .. } => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(v5("a").will(publish("w", "").qos2(0))), 0x9B);
    assert_eq!(code(v5("a").will(publish("w", "").retained())), 0x9A);
    assert_eq!(code(v311("a")), 2, "3.x can not be told a shorter keep alive");
    assert_eq!(code(v311("a").keep_alive(61)), 2);
    world.settings(|settings| {
        settings.payload_bytes_max = Some(3);
        settings.check_payload_format = true;
    });
    assert_eq!(code(v5("a").will(publish("w", "long"))), 0x95);
    assert_eq!(code(v311("a").keep_alive(1).will(publish("w", "long"))), 5);
    let text = |payload: &[u8]| publish("w", payload).with(Prop::Byte(PayloadFormatIndicator, 1));
    assert_eq!(code(v5("a").will(text(b"\xff"))), 0x99);
    world.connects(v5("a").will(text(b"abc"))).leaves();
    let _ann = world.connects(v311("a").keep_alive(60));
    assert_eq!(code(v5("b")), 0x97);
    assert_eq!(code(v311("b").keep_alive(1)), 3);
    assert_eq!(world.stats().sessions, 1);
}

#[test]
fn a_silent_client_is_cut_after_one_and_a_half_keep_alives() {
    let world = World::new();
    let ann = world.connects(v5("ann").keep_alive(10));
    let bob = world.connects(v311("bob").keep_alive(10));
    world.passes(14);
    ann.sends(Said::Pingreq).expects(Said::Pingresp);
    world.passes(1);
    bob.is_closed();
    world.passes(13);
    assert!(ann.is_open());
    world.passes(1);
    ann.is_told(ReasonCode::KeepAliveTimeout);

    let eve = world.connects(v5("eve"));
    world.passes(1_000_000);
    assert!(eve.is_open(), "keep alive 0 switches it off");
}

#[test]
fn the_servers_keep_alive_is_the_one_that_counts() {
    let world =
        World::with(1, Settings { keep_alive_seconds_max: Some(10), ..Settings::default() });
    let ann = world.connects(v5("ann"));
    assert_eq!(ann.told(ServerKeepAlive), Some(Prop::U16(ServerKeepAlive, 10)));
    world.passes(15);
    ann.is_told(ReasonCode::KeepAliveTimeout);
}

#[test]
fn offences_and_shutdown_are_told_to_5_0_only() {
    let world = World::new();
    let (ann, bob) = (world.connects(v5("ann")), world.connects(v311("bob")));
    ann.offends(Offence::ReservedFlags);
    ann.is_told(ReasonCode::MalformedPacket);
    bob.offends(Offence::ReservedFlags);
    bob.is_closed();
    let (ann, bob) = (world.connects(v5("ann")), world.connects(v311("bob")));
    world.shuts_down();
    ann.is_told(ReasonCode::ServerShuttingDown);
    bob.is_closed();
}

#[test]
fn a_closed_listener_ends_its_own_connections_only() {
    let world = World::durable();
    let bob = world.connects(v5("bob"));
    bob.subscribes("will", 0);
    let ann = world.connects(v5("ann").through(1).resuming().will(publish("will", "gone")));
    let old = world.connects(v311("old").through(1));
    world.closes_listener(1);
    ann.is_told(ReasonCode::AdministrativeAction);
    old.is_closed();
    bob.expects(publish("will", "gone"));
    assert!(bob.is_open());
    assert!(world.connects(v5("ann").resuming()).is_resumed(), "the session is kept");
    assert_eq!(world.stats().sessions, 2);
}

#[test]
fn connecting_again_and_again_leaves_nothing_behind() {
    let world = World::durable();
    for _ in 0..2000 {
        let ann = world.connects(v5("ann").keep_alive(60_000).with(session_expiry(1_000_000)));
        ann.vanishes();
        world.passes(1);
    }
    assert_eq!(world.stats().sessions, 1);
    let before = world.ticks();
    world.passes(200_000);
    assert!(world.ticks() - before < 200, "{} timers", world.ticks() - before);
    assert_eq!(world.live_records().len(), 1);
}
