//! Nobody is sent what its access rights did not allow when the shard wrote it, and nothing arrives
//! that its publisher was not allowed to publish.

use mqtt_auth::{AclTable, Action, Who};

use crate::history::{Copy, History};
use crate::plan::{ACLS, ROGUE, Scene};
use crate::world::FRESH;

pub(super) fn check(scene: &Scene, history: &History) -> Result<(), String> {
    if !scene.has_acl {
        return Ok(());
    }
    let tables: Vec<_> = ACLS
        .iter()
        .map(|text| AclTable::parse(text).expect("the lists of plan.rs are right"))
        .collect();
    for copy in &history.copies {
        let mut then = in_force(history, copy.shard.into(), copy.written_at, copy.written_at);
        if !then.any(|acl| allows(&tables[acl], copy.who, Action::Deliver, &copy.topic)) {
            let Copy { who, topic, payload, written_at, .. } = copy;
            let text = payload.split('.').next().unwrap_or_default();
            return Err(format!("c{who} was sent {text} on {topic} at {written_at}"));
        }
        check_publisher(history, copy, &tables)?;
    }
    Ok(())
}

fn check_publisher(history: &History, copy: &Copy, tables: &[AclTable]) -> Result<(), String> {
    let (publisher, from) = match copy.message.and_then(|number| history.sent.get(number)) {
        Some(sent) => (sent.publisher, sent.first_at),
        None if copy.payload.starts_with('x') => (ROGUE, 0),
        None => return Ok(()), // a will of an honest Client
    };
    let mut then = (0..history.acls.len())
        .flat_map(|shard| in_force(history, shard, from, copy.at).collect::<Vec<_>>());
    if then.any(|acl| allows(&tables[acl], publisher, Action::Publish, &copy.topic)) {
        return Ok(());
    }
    let Copy { who, topic, payload, .. } = copy;
    let text = payload.split('.').next().unwrap_or_default();
    Err(format!("c{who} got {text} on {topic}, where c{publisher} must not publish"))
}

/// The access rights that a shard had at some time between these two, both included.
fn in_force(history: &History, shard: usize, from: u64, to: u64) -> impl Iterator<Item = usize> {
    let all = &history.acls[shard];
    let before = all.iter().rposition(|(at, _)| *at < from).unwrap_or(0);
    all[before..].iter().take_while(move |(at, _)| *at <= to).map(|(_, acl)| *acl)
}

fn allows(table: &AclTable, who: usize, action: Action, topic: &str) -> bool {
    let name = match who {
        ROGUE => "eve".to_owned(),
        FRESH => "fresh".to_owned(),
        who => format!("c{who}"),
    };
    table.check(&Who { username: Some(&name), client_id: &name }, action, topic).is_allowed()
}
