//! The seats of the lobby: how many connections may wait for their CONNECT at a time.
//!
//! When all seats are taken, a newcomer takes the seat of one who waits, drawn by lot. Whoever
//! fills the lobby with silent connections then mostly loses his own, while an honest Client, who
//! is through in milliseconds, is hardly ever drawn. Refusing newcomers would instead lock
//! everybody out; sending away the one who waits longest would hit those whose password is about
//! to be checked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mqtt_net::PeerAddress;
use slab::Slab;
use tokio::task::AbortHandle;

/// Connections that wait for their CONNECT, of all listeners together. With
/// [`crate::lobby::CONNECT_BYTES_MAX`] each they can hold at most 205 MB, and that only if every
/// one has sent as much.
pub(crate) const LOBBY_SEATS_MAX: usize = 2048;

/// The seats; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    taken: Arc<Mutex<Taken>>,
    max: usize,
}

#[derive(Debug, Default)]
struct Taken {
    waiting: Slab<Waiting>,
    /// How many have sat down since the start.
    total: u64,
}

/// Who sits there.
#[derive(Debug)]
struct Waiting {
    /// Tells this one from who had the seat before.
    number: u64,
    peer: PeerAddress,
    task: AbortHandle,
}

/// A taken seat, free again once dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Seats,
    key: usize,
    number: u64,
}

impl Seats {
    pub(crate) fn new(max: usize) -> Self {
        Self { taken: Arc::default(), max }
    }

    /// Starts a task that holds a seat until it ends or drops it. Returns who had to leave for it.
    pub(crate) fn seat(
        &self,
        peer: PeerAddress,
        start: impl FnOnce(Seat) -> AbortHandle,
    ) -> Option<PeerAddress> {
        let sent_away = self.make_room();
        let mut taken = self.lock();
        taken.total += 1;
        let number = taken.total;
        let entry = taken.waiting.vacant_entry();
        // The task begins after this returns, or on another thread: then it waits for the lock.
        let task = start(Seat { seats: self.clone(), key: entry.key(), number });
        entry.insert(Waiting { number, peer, task });
        drop(taken);
        sent_away.map(|waiting| {
            waiting.task.abort();
            waiting.peer
        })
    }

    fn make_room(&self) -> Option<Waiting> {
        let mut taken = self.lock();
        if taken.waiting.len() < self.max {
            return None;
        }
        // There are never more than `max`: every key below is taken.
        let mut lot = [0; 8];
        getrandom::fill(&mut lot).expect("the system has random bytes after start");
        let key = (u64::from_le_bytes(lot) % self.max as u64) as usize;
        taken.waiting.try_remove(key)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        if taken.waiting.get(self.key).is_some_and(|waiting| waiting.number == self.number) {
            taken.waiting.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn peer(port: u16) -> PeerAddress {
        PeerAddress::Ip(std::net::IpAddr::from([127, 0, 0, 1]), port)
    }

    /// Takes a seat with a task that never ends.
    fn sit(seats: &Seats, number: u16) -> Option<PeerAddress> {
        seats.seat(peer(number), |seat| {
            tokio::spawn(async move {
                let _seat = seat;
                std::future::pending::<()>().await;
            })
            .abort_handle()
        })
    }

    #[tokio::test]
    async fn the_bound_holds_and_the_newcomer_is_never_the_one_who_leaves() {
        let seats = Seats::new(8);
        for number in 0..8 {
            assert_eq!(sit(&seats, number), None, "there is room for {number}");
        }
        for number in 8..1000 {
            let gone = sit(&seats, number).expect("full");
            assert_ne!(gone, peer(number));
            assert_eq!(seats.lock().waiting.len(), 8);
            assert!(seats.lock().waiting.iter().any(|(_, sits)| sits.peer == peer(number)));
            // The aborted task drops its seat, which someone else has by now.
            tokio::task::yield_now().await;
            assert_eq!(seats.lock().waiting.len(), 8);
        }
    }

    #[tokio::test]
    async fn a_seat_is_free_again_when_its_task_ends() {
        let seats = Seats::new(1);
        for _ in 0..3 {
            let gone =
                seats.seat(peer(1), |seat| tokio::spawn(async move { drop(seat) }).abort_handle());
            assert_eq!(gone, None);
            while !seats.lock().waiting.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }
}
