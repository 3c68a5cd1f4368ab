//! A Client that keeps its own session state as the standard asks, and remembers what it was
//! promised.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mqtt_proto::{QoS, ReasonCode, Version};

use crate::world::*;
use crate::{Dice, FILTERS, Model, TOPICS};

/// A message as the model knows it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub topic: String,
    pub qos: QoS,
    pub first_step: u32,
    /// When PUBACK or PUBREC came.
    pub acked_life: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
enum Outgoing {
    Publish(Publish),
    Pubrel(u16),
}

#[derive(Clone, Debug)]
struct Promised {
    qos: u8,
    /// Step of the SUBACK.
    since: u32,
}

pub struct Actor {
    number: usize,
    name: String,
    version: Version,
    persists: bool,
    pub shards: u8,
    link: Option<Client>,
    is_connected: bool,
    reads: bool,
    /// Number of the last CONNECT asked for a clean start.
    asked_clean: bool,
    /// The Server has said that it has a session for us.
    has_session: bool,
    outgoing: VecDeque<Outgoing>,
    /// Open QoS 2 identifiers from the Server.
    open: BTreeSet<u16>,
    asked: BTreeMap<u16, (String, u8)>,
    promised: BTreeMap<String, Promised>,
    /// It was a member of a shared subscription: its share comes beside its own subscriptions.
    has_shared: bool,
    /// Name of the one message that may be unacknowledged.
    under_way: String,
    made: u32,
    packet_id: u16,
    /// In this session: payload and QoS at first receipt, with how often it came.
    heard: Vec<(String, QoS)>,
    doubled: Vec<String>,
    pub retained_values: Vec<String>,
}

impl Actor {
    pub fn new(number: usize, shards: u8) -> Self {
        let version = if number % 2 == 0 { Version::V5 } else { Version::V311 };
        Self {
            number,
            name: format!("actor-{number}"),
            version,
            persists: number < 4,
            shards,
            link: None,
            is_connected: false,
            reads: true,
            asked_clean: false,
            has_session: false,
            outgoing: VecDeque::new(),
            open: BTreeSet::new(),
            asked: BTreeMap::new(),
            promised: BTreeMap::new(),
            has_shared: false,
            under_way: String::new(),
            made: 0,
            packet_id: 0,
            heard: vec![],
            doubled: vec![],
            retained_values: vec![String::new()],
        }
    }

    pub fn retained_topic(&self) -> String {
        format!("r/{}", self.number)
    }

    pub fn state(&self) -> String {
        format!("{} connected {} owes {:?}", self.name, self.is_connected, self.outgoing)
    }

    pub fn is_quiet(&self) -> bool {
        self.is_connected && self.outgoing.is_empty() && self.asked.is_empty()
    }

    /// Something of this Client's own choice.
    pub fn acts(&mut self, world: &World, model: &mut Model, dice: &mut Dice) {
        if !self.is_connected {
            if dice.roll(3) == 0 {
                let clean = dice.roll(12) == 0;
                self.connects(world, clean, model);
            }
            return;
        }
        match dice.roll(20) {
            0 => {
                self.link_mut().vanishes();
                self.is_cut();
            }
            1 if dice.roll(3) == 0 => {
                self.link_mut().sends(disconnect(ReasonCode::Success));
                self.is_cut();
            }
            2 => self.connects(world, dice.roll(12) == 0, model),
            3 => self.stops_reading(),
            4..=5 => self.reads_again(),
            6..=8 => self.asks(dice),
            9 => {
                let filter = dice.pick(&FILTERS);
                if self.promised.remove(filter).is_some() {
                    let packet_id = self.next_id();
                    self.asked.retain(|_, (asked, _)| asked != filter);
                    self.link_mut().sends(unsubscribe(packet_id, &[filter]));
                }
            }
            10 => self.retains(model, dice),
            _ => self.publishes(model, dice),
        }
        if self.link.as_ref().is_some_and(|link| !link.is_open()) {
            self.is_cut();
        }
    }

    fn link_mut(&mut self) -> &mut Client {
        self.link.as_mut().expect("a connected actor has a link")
    }

    /// The connection is gone.
    pub fn is_cut(&mut self) {
        self.link = None;
        self.is_connected = false;
        self.reads = true;
        self.asked.clear();
    }

    fn connects(&mut self, world: &World, clean: bool, model: &mut Model) {
        self.is_cut();
        let hello = if self.version == Version::V5 { v5(&self.name) } else { v311(&self.name) };
        let hello = if self.persists { hello.resuming().clean(clean) } else { hello };
        model.note(format!("{} connects, clean {clean}", self.name));
        // The session before was a clean one of 3.1.1, which has ended.
        let had_none = self.asked_clean && self.version == Version::V311;
        self.asked_clean = clean || !self.persists;
        if self.asked_clean || had_none {
            self.forgets();
        }
        let socket = world.opens(&hello);
        self.link = Some(world.client(socket));
    }

    /// A new session begins.
    fn forgets(&mut self) {
        self.outgoing.clear();
        self.open.clear();
        self.promised.clear();
        self.heard.clear();
        self.doubled.clear();
        self.has_session = false;
    }

    pub fn comes_back(&mut self, world: &World, model: &mut Model) {
        if self.link.is_none() {
            self.connects(world, false, model);
        }
        self.reads_again();
    }

    fn stops_reading(&mut self) {
        self.reads = false;
        self.link_mut().stops_reading();
    }

    fn reads_again(&mut self) {
        if !self.reads {
            self.reads = true;
            self.link_mut().reads_again();
        }
    }

    fn next_id(&mut self) -> u16 {
        loop {
            self.packet_id = self.packet_id % 50 + 1;
            let id = self.packet_id;
            let used = self.outgoing.iter().any(|outgoing| match outgoing {
                Outgoing::Publish(publish) => publish.id == id,
                Outgoing::Pubrel(other) => *other == id,
            });
            if !used && !self.asked.contains_key(&id) {
                return id;
            }
        }
    }

    fn asks(&mut self, dice: &mut Dice) {
        let (filter, qos) = (dice.pick(&FILTERS), dice.roll(3) as u8);
        let packet_id = self.next_id();
        self.has_shared |= filter.starts_with("$share");
        // What was promised before holds at the lower of both until the answer.
        if let Some(promised) = self.promised.get_mut(filter) {
            promised.qos = promised.qos.min(qos);
        }
        self.asked.insert(packet_id, (filter.into(), qos));
        self.link_mut().sends(subscribe(filter, qos).id(packet_id));
    }

    fn publishes(&mut self, model: &mut Model, dice: &mut Dice) {
        let topic = dice.pick(&TOPICS);
        self.made += 1;
        let qos = dice.roll(3);
        let payload = format!("{}:{}:{}:{qos}", self.number, topic, self.made);
        let publish = publish(topic, &payload);
        match qos {
            0 => {
                self.link_mut().sends(publish);
            }
            qos => self.begins(publish, qos, payload, model),
        }
    }

    fn retains(&mut self, model: &mut Model, dice: &mut Dice) {
        self.made += 1;
        let value = if dice.roll(5) == 0 { String::new() } else { format!("v{}", self.made) };
        let publish = publish(&self.retained_topic(), &value).retained();
        self.retained_values.push(value.clone());
        let qos = 1 + dice.roll(2);
        self.begins(publish, qos, format!("r{}:{}", self.number, self.made), model);
    }

    /// Sends with QoS 1 or 2, within the Server's Receive Maximum.
    fn begins(&mut self, publish: Publish, qos: u64, name: String, model: &mut Model) {
        if !self.outgoing.is_empty() {
            if publish.retain {
                self.retained_values.pop();
            }
            return;
        }
        let id = self.next_id();
        let publish = if qos == 1 { publish.qos1(id) } else { publish.qos2(id) };
        let sent = Sent {
            topic: publish.topic.clone(),
            qos: publish.qos,
            first_step: model.step,
            acked_life: None,
        };
        self.under_way.clone_from(&name);
        model.sent.insert(name, sent);
        self.outgoing.push_back(Outgoing::Publish(publish.clone()));
        self.link_mut().sends(publish);
    }

    /// Takes what has come. Returns how many packets.
    pub fn listens(&mut self, model: &mut Model) -> usize {
        let Some(link) = self.link.clone() else { return 0 };
        let mut count = 0;
        while let Some(said) = link.hears() {
            count += 1;
            model.note(format!("{} < {said:?}", self.name));
            self.hears(&link, said, model);
        }
        if !link.is_open() {
            self.is_cut();
        }
        count
    }

    fn hears(&mut self, link: &Client, said: Said, model: &mut Model) {
        match said {
            Said::Connack { present, code, .. } => {
                assert_eq!(code, 0);
                assert!(present || !self.has_session, "{} lost its session", self.name);
                assert!(!(present && self.asked_clean), "{} asked for a clean start", self.name);
                self.is_connected = true;
                if !present {
                    self.forgets();
                }
                // In 3.1.1 a clean session is one that ends with its connection.
                let ends = self.asked_clean && self.version == Version::V311;
                self.has_session = self.persists && !ends;
                for outgoing in self.outgoing.clone() {
                    match outgoing {
                        Outgoing::Publish(publish) => link.sends(publish.dup()),
                        Outgoing::Pubrel(id) => link.sends(pubrel(id)),
                    };
                }
            }
            Said::Publish(publish) => self.receives(link, publish),
            Said::Pubrel(id, _) => {
                self.open.remove(&id);
                link.sends(pubcomp(id));
            }
            Said::Puback(id, reason) => {
                assert!(!reason.is_error());
                self.acknowledged(id, model);
                self.ends(id);
            }
            Said::Pubrec(id, reason) => {
                assert!(!reason.is_error());
                self.acknowledged(id, model);
                self.ends(id);
                self.outgoing.push_back(Outgoing::Pubrel(id));
                link.sends(pubrel(id));
            }
            Said::Pubcomp(id, _) => self.ends(id),
            Said::Suback(id, codes) => {
                if let Some((filter, qos)) = self.asked.remove(&id) {
                    assert_eq!(codes, [qos]);
                    let since = model.step;
                    // A later SUBSCRIBE for the same filter may be in force already.
                    let later = self.asked.values().filter(|(other, _)| *other == filter);
                    let qos = later.map(|(_, later)| *later).fold(qos, u8::min);
                    let promised = self.promised.entry(filter).or_insert(Promised { qos, since });
                    if qos > promised.qos {
                        *promised = Promised { qos, since };
                    }
                    promised.qos = qos;
                }
            }
            Said::Unsuback(..) => {}
            Said::Disconnect(reason, _) => assert_eq!(reason, ReasonCode::SessionTakenOver),
            other => panic!("{} hears {other:?}", self.name),
        }
    }

    fn acknowledged(&mut self, id: u16, model: &mut Model) {
        let of_id = |outgoing: &&Outgoing| matches!(outgoing, Outgoing::Publish(p) if p.id == id);
        let Some(Outgoing::Publish(publish)) = self.outgoing.iter().find(of_id) else { return };
        let retain = publish.retain;
        if let Some(sent) = model.sent.get_mut(&self.under_way) {
            sent.acked_life = sent.acked_life.or(Some(model.life));
        }
        if retain {
            // Whatever came before is overwritten.
            let last = self.retained_values.pop().unwrap_or_default();
            self.retained_values = vec![last];
        }
    }

    fn ends(&mut self, id: u16) {
        self.outgoing.retain(|outgoing| match outgoing {
            Outgoing::Publish(publish) => publish.id != id,
            Outgoing::Pubrel(other) => *other != id,
        });
    }

    fn receives(&mut self, link: &Client, publish: Publish) {
        let is_new = publish.qos < QoS::ExactlyOnce || self.open.insert(publish.id);
        if is_new && !publish.topic.starts_with("r/") {
            let payload = String::from_utf8(publish.payload).unwrap();
            let entry = (payload, publish.qos);
            if self.heard.contains(&entry) {
                if publish.qos == QoS::ExactlyOnce {
                    self.doubled.push(entry.0);
                }
            } else {
                self.heard.push(entry);
            }
        }
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                link.sends(puback(publish.id));
            }
            QoS::ExactlyOnce => {
                link.sends(pubrec(publish.id));
            }
        }
    }

    /// What was promised has come to pass.
    pub fn check(&self, model: &Model, overlaps: bool, seed: u64) {
        for (payload, sent) in &model.sent {
            let mut promises = self.promised.iter().filter(|(filter, promised)| {
                promised.qos > 0 && promised.since < sent.first_step && matches(filter, &sent.topic)
            });
            if let Some(promise) = promises.next() {
                let came = self.heard.iter().any(|(heard, _)| heard == payload);
                assert!(
                    came || sent.acked_life.is_none()
                        || sent.topic.starts_with("r/")
                        || !self.persists,
                    "seed {seed}: {} never got {payload} {sent:?} for {promise:?}",
                    self.name
                );
            }
        }
        for payload in &self.doubled {
            let is_excused =
                model.sent.get(payload).is_some_and(|sent| sent.qos < QoS::ExactlyOnce);
            let shared = self.has_shared;
            assert!(
                is_excused || overlaps || shared,
                "seed {seed}: {} got {payload} twice",
                self.name
            );
        }
        self.check_order(seed);
    }

    fn check_order(&self, seed: u64) {
        let mut last: BTreeMap<(&str, &str, &str, QoS), u32> = BTreeMap::new();
        for (payload, qos) in &self.heard {
            let mut parts = payload.split(':');
            let (publisher, topic) = (parts.next().unwrap(), parts.next().unwrap());
            let number: u32 = parts.next().unwrap().parse().unwrap();
            // The order holds for each topic and QoS [MQTT-4.6.0-6].
            let key = (publisher, topic, parts.next().unwrap(), *qos);
            let before = last.insert(key, number);
            let shared = self.has_shared;
            assert!(
                before.is_none_or(|before| before < number) || shared,
                "seed {seed}: {} got {payload} after number {before:?}",
                self.name
            );
        }
    }

    pub fn clears_retained(&mut self) {
        let clear = publish(&self.retained_topic(), "").retained().qos1(60);
        self.link_mut().sends(clear);
    }

    /// Ends the session for good.
    pub fn ends_session(&mut self, world: &World) {
        self.is_cut();
        let hello = if self.version == Version::V5 { v5(&self.name) } else { v311(&self.name) };
        let socket = world.opens(&hello);
        world.client(socket).sends(disconnect(ReasonCode::Success));
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    if filter.starts_with("$share/") {
        return false; // one of several gets it
    }
    let (filter, topic): (Vec<_>, Vec<_>) =
        (filter.split('/').collect(), topic.split('/').collect());
    for (place, level) in filter.iter().enumerate() {
        match *level {
            "#" => return true,
            "+" if place < topic.len() => {}
            text if topic.get(place) == Some(&text) => {}
            _ => return false,
        }
    }
    filter.len() == topic.len()
}
