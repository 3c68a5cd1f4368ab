//! The QoS machines as their users see them: the full matrix of state and packet for the sender,
//! sending again and the window, and long random runs of both halves against naive models.

mod seed;

use fastrand::Rng;
use mqtt_proto::PacketIdentifier;
use mqtt_proto::qos::{
    PubrecOutcome, QoS, Received, Receiver, Resend, RestoreError, Sender, SenderOffence,
    SenderState,
};
use std::collections::BTreeSet;
use std::num::NonZeroU16;

use SenderOffence::{UnknownIdentifier, WrongPacket};
use SenderState::{AwaitPuback, AwaitPubcomp, AwaitPubrec};

use seed::Seed;

fn id(number: u16) -> PacketIdentifier {
    PacketIdentifier::new(number).unwrap()
}

fn window(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// A sender with identifier 1 in `state`, or with nothing in flight.
fn sender_in(state: Option<SenderState>) -> Sender<&'static str> {
    let mut sender = Sender::new();
    match state {
        None => {}
        Some(AwaitPuback) => assert_eq!(sender.publish(QoS::AtLeastOnce, "m"), Some(id(1))),
        Some(AwaitPubrec) => assert_eq!(sender.publish(QoS::ExactlyOnce, "m"), Some(id(1))),
        Some(AwaitPubcomp) => {
            assert_eq!(sender.publish(QoS::ExactlyOnce, "m"), Some(id(1)));
            assert_eq!(sender.pubrec(id(1), false), Ok(PubrecOutcome::Release("m")));
        }
    }
    sender
}

fn state_of(sender: &Sender<&'static str>) -> Option<SenderState> {
    let states: Vec<_> = sender.iter().map(|exchange| exchange.state).collect();
    assert_eq!(states.len(), sender.in_flight());
    assert!(states.len() <= 1);
    states.first().copied()
}

#[test]
fn sender_each_state_with_puback() {
    for (state, result, after) in [
        (None, Err(UnknownIdentifier), None),
        (Some(AwaitPuback), Ok("m"), None),
        (Some(AwaitPubrec), Err(WrongPacket(AwaitPubrec)), Some(AwaitPubrec)),
        (Some(AwaitPubcomp), Err(WrongPacket(AwaitPubcomp)), Some(AwaitPubcomp)),
    ] {
        let mut sender = sender_in(state);
        assert_eq!(sender.puback(id(1)), result, "{state:?}");
        assert_eq!(state_of(&sender), after, "{state:?}");
    }
}

#[test]
fn sender_each_state_with_pubrec() {
    for (state, result, after) in [
        (None, Err(UnknownIdentifier), None),
        (Some(AwaitPuback), Err(WrongPacket(AwaitPuback)), Some(AwaitPuback)),
        (Some(AwaitPubrec), Ok(PubrecOutcome::Release("m")), Some(AwaitPubcomp)),
        (Some(AwaitPubcomp), Ok(PubrecOutcome::ReleaseAgain), Some(AwaitPubcomp)),
    ] {
        let mut sender = sender_in(state);
        assert_eq!(sender.pubrec(id(1), false), result, "{state:?}");
        assert_eq!(state_of(&sender), after, "{state:?}");
    }
}

#[test]
fn sender_each_state_with_pubrec_of_an_error() {
    for (state, result, after) in [
        (None, Err(UnknownIdentifier), None),
        (Some(AwaitPuback), Err(WrongPacket(AwaitPuback)), Some(AwaitPuback)),
        (Some(AwaitPubrec), Ok(PubrecOutcome::Refused(Some("m"))), None),
        (Some(AwaitPubcomp), Ok(PubrecOutcome::Refused(None)), None),
    ] {
        let mut sender = sender_in(state);
        assert_eq!(sender.pubrec(id(1), true), result, "{state:?}");
        assert_eq!(state_of(&sender), after, "{state:?}");
    }
}

#[test]
fn sender_each_state_with_pubcomp() {
    for (state, result, after) in [
        (None, Err(UnknownIdentifier), None),
        (Some(AwaitPuback), Err(WrongPacket(AwaitPuback)), Some(AwaitPuback)),
        (Some(AwaitPubrec), Err(WrongPacket(AwaitPubrec)), Some(AwaitPubrec)),
        (Some(AwaitPubcomp), Ok(()), None),
    ] {
        let mut sender = sender_in(state);
        assert_eq!(sender.pubcomp(id(1)), result, "{state:?}");
        assert_eq!(state_of(&sender), after, "{state:?}");
    }
}

#[test]
fn sender_each_state_sent_again_and_expired() {
    let publish = |qos| Some(Resend::Publish { id: id(1), qos, message: &"m" });
    for (state, expected, discarded) in [
        (None, None, 0),
        (Some(AwaitPuback), publish(QoS::AtLeastOnce), 1),
        (Some(AwaitPubrec), publish(QoS::ExactlyOnce), 0),
        (Some(AwaitPubcomp), Some(Resend::Release { id: id(1) }), 0),
    ] {
        let mut sender = sender_in(state);
        for _ in 0..2 {
            let mut count = 0;
            sender.resend(|packet| {
                assert_eq!(Some(packet), expected, "{state:?}");
                count += 1;
            });
            assert_eq!(count, usize::from(state.is_some()));
            sender.resend_more(|_| panic!("all was sent"));
        }
        assert_eq!(state_of(&sender), state);
        assert_eq!(sender.discard(|_, _| false), 0);
        assert_eq!(sender.discard(|id, message| id.get() == 1 && *message == "m"), discarded);
        assert_eq!(state_of(&sender), state.filter(|_| discarded == 0), "{state:?}");
    }
}

#[test]
fn the_window_from_both_sides_and_what_gives_room() {
    let mut sender = Sender::new();
    assert_eq!(sender.window().get(), 65_535);
    sender.set_window(window(2));
    assert_eq!(sender.publish(QoS::AtMostOnce, 0), None);
    assert_eq!(sender.publish(QoS::AtLeastOnce, 1), Some(id(1)));
    assert!(sender.has_room());
    assert_eq!(sender.publish(QoS::ExactlyOnce, 2), Some(id(2)));
    assert!(!sender.has_room());
    assert_eq!(sender.publish(QoS::AtLeastOnce, 3), None);
    assert_eq!(sender.pubrec(id(2), false), Ok(PubrecOutcome::Release(2)));
    assert!(!sender.has_room(), "PUBREC gives no room");
    assert_eq!(sender.pubcomp(id(2)), Ok(()));
    assert_eq!(sender.publish(QoS::ExactlyOnce, 3), Some(id(3)));
    assert_eq!(sender.pubrec(id(3), true), Ok(PubrecOutcome::Refused(Some(3))));
    assert_eq!(sender.publish(QoS::ExactlyOnce, 4), Some(id(4)));
    assert_eq!(sender.puback(id(1)), Ok(1));
    assert!(sender.has_room());
}

#[test]
fn a_smaller_window_after_a_reconnect_is_kept_while_sending_again() {
    let mut sender = Sender::new();
    (1..=5).for_each(|n| assert_eq!(sender.publish(QoS::AtLeastOnce, n), Some(id(n))));
    assert_eq!(sender.publish(QoS::ExactlyOnce, 6), Some(id(6)));
    assert_eq!(sender.pubrec(id(6), false), Ok(PubrecOutcome::Release(6)));
    sender.set_window(window(2));
    let mut sent = Vec::new();
    sender.resend(|packet| sent.push(number(&packet)));
    assert_eq!((&sent[..], sender.owed()), (&[1, 2][..], 4));
    sender.resend_more(|_| panic!("the window is full"));
    assert_eq!((sender.puback(id(2)), sender.has_room()), (Ok(2), false));
    sender.resend_more(|packet| sent.push(number(&packet)));
    assert_eq!((&sent[..], sender.owed()), (&[1, 2, 3][..], 3));
    assert_eq!(sender.puback(id(5)), Ok(5), "late, from the earlier connection");
    assert_eq!((sender.puback(id(1)), sender.puback(id(3))), (Ok(1), Ok(3)));
    sender.resend_more(|packet| sent.push(number(&packet)));
    assert_eq!((&sent[..], sender.owed()), (&[1, 2, 3, 4, 6][..], 0));
    assert!(!sender.has_room());
    assert_eq!(sender.pubcomp(id(6)), Ok(()));
    assert_eq!(sender.publish(QoS::AtLeastOnce, 7), Some(id(7)));
}

fn number<T>(packet: &Resend<'_, T>) -> u16 {
    match packet {
        Resend::Publish { id, .. } | Resend::Release { id } => id.get(),
    }
}

#[test]
fn all_identifiers_at_once_and_around_the_circle() {
    let mut sender = Sender::new();
    for n in 1..=u16::MAX {
        assert_eq!(sender.publish(QoS::AtLeastOnce, n), Some(id(n)));
    }
    assert_eq!((sender.has_room(), sender.publish(QoS::AtLeastOnce, 0)), (false, None));
    assert_eq!(sender.in_flight(), 65_535);
    assert_eq!(sender.puback(id(40_000)), Ok(40_000));
    assert!(!sender.has_room(), "the only free identifier is not the next one");
    assert_eq!(sender.puback(id(1)), Ok(1));
    assert_eq!(sender.publish(QoS::AtLeastOnce, 7), Some(id(1)));
    for n in (2..=u16::MAX).filter(|n| *n != 40_000) {
        assert_eq!(sender.puback(id(n)), Ok(n));
    }
    assert_eq!((sender.puback(id(1)), sender.in_flight()), (Ok(7), 0));
    assert!(size_of::<Sender<std::sync::Arc<()>>>() <= 64);
}

/// One message that is never acknowledged neither stops the others nor lets its identifier be
/// given out again.
#[test]
fn a_stuck_identifier_is_passed_over() {
    let mut sender = Sender::new();
    sender.set_window(window(3));
    assert_eq!(sender.publish(QoS::AtLeastOnce, 0), Some(id(1)));
    let mut expected = 1;
    for n in 0..200_000_u32 {
        expected = if expected == u16::MAX { 2 } else { expected + 1 };
        assert_eq!(sender.publish(QoS::AtLeastOnce, n), Some(id(expected)));
        assert_eq!(sender.puback(id(expected)), Ok(n));
    }
    assert_eq!(sender.iter().map(|exchange| exchange.id.get()).collect::<Vec<_>>(), [1]);
    assert_eq!(sender.puback(id(1)), Ok(0));
}

/// One exchange of the naive model.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    id: u16,
    state: SenderState,
    message: u32,
    sent: bool,
}

/// The naive model: a list in the order of publishing.
#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    window: usize,
}

impl Model {
    fn owed(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.sent).count()
    }

    fn expect_ack(&self, id: u16, wanted: &[SenderState]) -> Result<usize, SenderOffence> {
        match self.entries.iter().position(|entry| entry.id == id) {
            None => Err(UnknownIdentifier),
            Some(at) if wanted.contains(&self.entries[at].state) => Ok(at),
            Some(at) => Err(WrongPacket(self.entries[at].state)),
        }
    }

    /// The identifiers to be sent again, marking them.
    fn resend_more(&mut self) -> Vec<(u16, bool)> {
        let mut used = self.entries.len() - self.owed();
        let mut sent = Vec::new();
        for entry in self.entries.iter_mut().filter(|entry| !entry.sent) {
            let release = entry.state == AwaitPubcomp;
            if !release && used >= self.window {
                break;
            }
            (entry.sent, used) = (true, used + 1);
            sent.push((entry.id, release));
        }
        sent
    }
}

fn assert_same(sender: &Sender<u32>, model: &Model) {
    assert_eq!((sender.in_flight(), sender.owed()), (model.entries.len(), model.owed()));
    let saved = sender.iter().map(|exchange| (exchange.id.get(), exchange.state));
    assert!(saved.eq(model.entries.iter().map(|entry| (entry.id, entry.state))));
    for (exchange, entry) in sender.iter().zip(&model.entries) {
        let message = Some(&entry.message).filter(|_| entry.state != AwaitPubcomp);
        assert_eq!((exchange.message, exchange.qos), (message, entry.state.qos()));
    }
}

fn acknowledge(sender: &mut Sender<u32>, model: &mut Model, rng: &mut Rng, sloppy: usize) {
    let number = match model.entries.len() {
        0 => 1 + rng.usize(..65_535) as u16,
        _ if rng.usize(..50) == 0 => 1 + rng.usize(..65_535) as u16,
        // A sloppy peer leaves the oldest ones alone.
        len => model.entries[(sloppy + rng.usize(..len)).min(len - 1)].id,
    };
    match rng.usize(..4) {
        0 => {
            let expected = model.expect_ack(number, &[AwaitPuback]);
            let expected = expected.map(|at| model.entries.remove(at).message);
            assert_eq!(sender.puback(id(number)), expected);
        }
        1 => {
            let expected = model.expect_ack(number, &[AwaitPubcomp]);
            let expected = expected.map(|at| {
                model.entries.remove(at);
            });
            assert_eq!(sender.pubcomp(id(number)), expected);
        }
        kind => {
            let is_error = kind == 2 && rng.usize(..4) == 0;
            let expected = model.expect_ack(number, &[AwaitPubrec, AwaitPubcomp]).map(|at| {
                let entry = model.entries[at].clone();
                let message = Some(entry.message).filter(|_| entry.state == AwaitPubrec);
                if is_error {
                    model.entries.remove(at);
                    return PubrecOutcome::Refused(message);
                }
                model.entries[at] = Entry { state: AwaitPubcomp, sent: true, ..entry };
                message.map_or(PubrecOutcome::ReleaseAgain, PubrecOutcome::Release)
            });
            assert_eq!(sender.pubrec(id(number), is_error), expected);
        }
    }
}

fn publish(sender: &mut Sender<u32>, model: &mut Model, message: u32, rng: &mut Rng) {
    let (qos, state) = match rng.usize(..2) {
        0 => (QoS::AtLeastOnce, AwaitPuback),
        _ => (QoS::ExactlyOnce, AwaitPubrec),
    };
    let room = model.owed() == 0 && model.entries.len() < model.window;
    assert_eq!(sender.has_room(), room);
    match sender.publish(qos, message) {
        None => assert!(!room),
        Some(new) => {
            assert!(room && model.entries.iter().all(|entry| entry.id != new.get()));
            model.entries.push(Entry { id: new.get(), state, message, sent: true });
        }
    }
}

fn resend(sender: &mut Sender<u32>, model: &mut Model, anew: bool) {
    let mut sent = Vec::new();
    let note = |packet: Resend<'_, u32>| {
        sent.push((number(&packet), matches!(packet, Resend::Release { .. })));
    };
    if anew {
        model.entries.iter_mut().for_each(|entry| entry.sent = false);
        sender.resend(note);
    } else {
        sender.resend_more(note);
    }
    assert_eq!(sent, model.resend_more());
}

/// The sender rebuilt from what would have been saved.
fn restart(sender: &Sender<u32>, model: &mut Model) -> Sender<u32> {
    let mut rebuilt = Sender::new();
    rebuilt.set_window(sender.window());
    for exchange in sender.iter() {
        let message = exchange.message.copied();
        rebuilt.restore(exchange.id, exchange.state, message).unwrap();
        let again = rebuilt.restore(exchange.id, exchange.state, Some(0));
        assert_eq!(again, Err(RestoreError::IdentifierInUse));
    }
    model.entries.iter_mut().for_each(|entry| entry.sent = false);
    rebuilt
}

fn sender_run(seed: u64, steps: u32) {
    let _seed = Seed(seed);
    let mut rng = Rng::with_seed(seed);
    let (mut sender, mut model) = (Sender::new(), Model { window: 65_535, ..Model::default() });
    // Each acknowledgement takes two tries on average; a sloppy peer lets the oldest 60 stand.
    let sloppy = [0, 3, 60][rng.usize(..3)];
    let widest = [3, 90, 400][rng.usize(..3)];
    for step in 0..steps {
        match rng.usize(..1_000) {
            0..=399 => publish(&mut sender, &mut model, step, &mut rng),
            400..=979 => acknowledge(&mut sender, &mut model, &mut rng, sloppy),
            980..=989 => resend(&mut sender, &mut model, false),
            990..=993 => {
                model.window = 1 + rng.usize(..widest);
                sender.set_window(window(model.window as u16));
                resend(&mut sender, &mut model, true);
            }
            994 => {
                sender = restart(&sender, &mut model);
                resend(&mut sender, &mut model, true);
            }
            995 => {
                let expired = |message: u32| message % 3 == 0;
                let count = sender.discard(|_, message| expired(*message));
                let before = model.entries.len();
                let goes = |entry: &Entry| entry.state == AwaitPuback && expired(entry.message);
                model.entries.retain(|entry| !goes(entry));
                assert_eq!(count, before - model.entries.len());
            }
            _ => assert_same(&sender, &model),
        }
    }
    assert_same(&sender, &model);
}

#[test]
fn sender_against_the_model() {
    (0..12).for_each(|seed| sender_run(seed, 60_000));
}

#[test]
fn restore_takes_any_order_and_needs_a_message() {
    let mut sender = Sender::new();
    let order = [100, 65_535, 1, 50_000, 200, 150, 3, 60_000, 2];
    for n in order {
        assert_eq!(sender.restore(id(n), AwaitPubrec, None), Err(RestoreError::MessageMissing));
        assert_eq!(sender.restore(id(n), AwaitPubrec, Some(n)), Ok(()));
    }
    assert_eq!(sender.iter().map(|exchange| exchange.id.get()).collect::<Vec<_>>(), order);
    assert!(!sender.has_room(), "what was restored must be sent again first");
    let mut sent = Vec::new();
    sender.resend(|packet| sent.push(number(&packet)));
    assert_eq!(sent, order);
    assert_eq!(sender.publish(QoS::AtLeastOnce, 9), Some(id(4)), "behind 2, past 3");
    for n in order {
        assert_eq!(sender.pubrec(id(n), true), Ok(PubrecOutcome::Refused(Some(n))));
    }
    assert_eq!((sender.puback(id(4)), sender.in_flight()), (Ok(9), 0));
}

#[test]
fn receiver_against_the_model() {
    for seed in 0..8 {
        let _seed = Seed(seed);
        let mut rng = Rng::with_seed(seed);
        let (mut receiver, mut model) = (Receiver::new(), BTreeSet::new());
        let ids = [10, 90, 65_535][rng.usize(..3)];
        let mut used = 0_usize;
        let mut limit = 65_535;
        for _ in 0..50_000 {
            let number = 1 + rng.usize(..ids) as u16;
            match rng.usize(..1_000) {
                0..=499 => match receiver.publish(id(number)) {
                    Ok(Received::Duplicate) => assert!(model.contains(&number)),
                    Ok(Received::New) => {
                        assert!(used < limit && model.insert(number));
                        used += 1;
                    }
                    Err(_) => assert!(used >= limit && !model.contains(&number)),
                },
                500..=994 => {
                    let known = model.remove(&number);
                    used = used.saturating_sub(usize::from(known));
                    assert_eq!(receiver.pubrel(id(number)), known);
                }
                995..=996 => {
                    limit = 1 + rng.usize(..100);
                    used = 0;
                    receiver.set_limit(window(limit as u16));
                }
                997 => {
                    let saved: Vec<_> = receiver.iter().collect();
                    receiver.clear();
                    assert_eq!((receiver.open(), receiver.iter().count()), (0, 0));
                    saved.into_iter().for_each(|id| receiver.restore(id));
                    used = 0;
                }
                _ => {
                    let open: BTreeSet<u16> = receiver.iter().map(PacketIdentifier::get).collect();
                    assert_eq!((receiver.open(), &open), (model.len(), &model));
                }
            }
        }
    }
}
