//! What can be asked of a world: counters, drops, records, notices.

use mqttd_core::Shard;
use mqttd_core::drops::{DropReason, Dropped};
use mqttd_core::ids::RecordId;
use mqttd_core::stats::Stats;

use super::World;

impl World {
    pub fn stats(&self) -> Stats {
        let inner = self.0.borrow();
        let mut all = Stats::default();
        inner.shards.iter().for_each(|shard| all.add(&shard.stats()));
        all
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.stats().dropped[reason as usize]
    }

    /// Damage: what has died since then is in the logs again.
    pub fn revives(&self, records: &[(RecordId, Vec<u8>)]) {
        let mut inner = self.0.borrow_mut();
        for (id, bytes) in records {
            let shard = (id.0 >> 56) as usize;
            inner.body.logs[shard].live.entry(*id).or_insert_with(|| bytes.clone());
        }
    }

    /// Records kept by the logs.
    pub fn live_records(&self) -> Vec<(RecordId, Vec<u8>)> {
        let inner = self.0.borrow();
        let live = inner.body.logs.iter().flat_map(|log| &log.live);
        live.map(|(id, bytes)| (*id, bytes.clone())).collect()
    }

    /// Whether a log waits for [`World::commits`].
    pub fn log_waits(&self, shard: usize) -> bool {
        !self.0.borrow().body.logs[shard].pending.is_empty()
    }

    /// Ticks so far.
    pub fn ticks(&self) -> usize {
        self.0.borrow().ticks
    }

    pub fn notices(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().body.notices)
    }

    /// What the shards remember of their drops.
    pub fn recent_drops(&self) -> Vec<Dropped> {
        let inner = self.0.borrow();
        inner.shards.iter().flat_map(Shard::recent_drops).cloned().collect()
    }

    /// Drops for one Client.
    pub fn drops_of(&self, client_id: &str, reason: DropReason) -> u64 {
        let inner = self.0.borrow();
        let all = inner.shards.iter().flat_map(Shard::drops_by_client);
        all.filter(|(id, _)| *id == client_id).map(|(_, counts)| counts[reason as usize]).sum()
    }
}
