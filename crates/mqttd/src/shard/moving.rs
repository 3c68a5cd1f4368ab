//! Moves a shard between workers: its sockets leave one runtime and join the other; everything else
//! just goes along.

use mqttd_core::event::Event;
use mqttd_core::ids::ConnectionKey;

use super::turn::ShardTask;

impl ShardTask {
    /// Takes every socket off the present worker's runtime.
    pub(super) fn depart(&mut self) {
        self.alarm = None;
        for (_, connection) in &mut self.body.connections {
            connection.depart();
        }
    }

    /// Puts every socket on this worker's runtime. Each is looked at in the next turn, which arms
    /// it.
    pub(super) fn arrive(&mut self, worker: usize) {
        let has_moved = self.worker != worker;
        self.worker = worker;
        self.mailbox.set_worker(worker);
        if !has_moved {
            return;
        }
        let mut broken = Vec::new();
        for (key, connection) in &mut self.body.connections {
            if connection.arrive().is_ok() {
                connection.list();
            } else {
                broken.push(key);
            }
        }
        for key in broken {
            self.handle(Event::Closed(ConnectionKey(key as u32)));
            self.remove(key as u32);
        }
    }
}
