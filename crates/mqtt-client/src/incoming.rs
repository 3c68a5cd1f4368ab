//! The stream of what happens on a client: [`Incoming`] and its [`Event`]s.
//!
//! The driver puts whole batches into the inbox and the reader takes all that is there, so the lock
//! is taken once a turn and not once a message. A full inbox stops the driver from reading the
//! socket: a slow reader slows the Server down, and nothing is dropped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mqtt_proto::PropertiesBuf;
use mqtt_proto::connection::ServerLimits;

use crate::client::Shared;
use crate::error::Lost;
use crate::message::Message;
use crate::options::Acknowledge;

/// Events waiting for the reader before the driver stops reading from the Server.
pub const INBOX_EVENTS_MAX: usize = 4096;

/// Bytes of packets waiting for the reader before the driver stops reading from the Server. One
/// turn may exceed it by what a single read brought.
pub const INBOX_BYTES_MAX: usize = 4 << 20;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The Server has accepted a connection, the first or a later one.
    Connected(Connected),
    /// A message has arrived.
    Message(Message),
    /// The connection was lost, or an attempt to come back failed.
    Disconnected {
        /// Why.
        lost: Lost,
        /// When the next attempt begins; `None` when there is none and this is the last event.
        retry_in: Option<Duration>,
    },
}

/// What the Server said when it accepted the connection.
#[derive(Clone, Debug)]
pub struct Connected {
    /// The Server had our Session.
    pub session_present: bool,
    /// What the Server takes.
    pub server: ServerLimits,
    /// The 5.0 properties of CONNACK.
    pub properties: PropertiesBuf,
}

/// The reading end of a client.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    batch: VecDeque<Event>,
    acknowledge: Acknowledge,
}

impl Incoming {
    pub(crate) fn new(shared: Arc<Shared>, inbox: Arc<Inbox>, acknowledge: Acknowledge) -> Self {
        Self { shared, inbox, batch: VecDeque::new(), acknowledge }
    }

    /// The next event; `None` when the client has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        if self.batch.is_empty() {
            self.inbox.take(&mut self.batch);
        }
        self.hand_out()
    }

    /// For use in hand-written futures and streams.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.batch.is_empty() {
            match self.inbox.poll_take(cx, &mut self.batch) {
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(self.hand_out())
    }

    fn hand_out(&mut self) -> Option<Event> {
        let event = self.batch.pop_front()?;
        if let (Event::Message(message), Acknowledge::Automatic) = (&event, self.acknowledge) {
            self.shared.acknowledge(message);
        }
        Some(event)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.inbox.close_reader();
    }
}

/// Where the driver leaves events for the reader.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
}

#[derive(Debug, Default)]
struct InboxState {
    events: VecDeque<Event>,
    bytes: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The writer waits for room.
    is_writer_stopped: bool,
    is_reader_gone: bool,
    is_writer_gone: bool,
}

impl InboxState {
    fn take(&mut self, batch: &mut VecDeque<Event>) {
        self.bytes = 0;
        std::mem::swap(&mut self.events, batch);
        if std::mem::take(&mut self.is_writer_stopped) {
            if let Some(writer) = self.writer.take() {
                writer.wake();
            }
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, InboxState> {
        // Nothing panics while the lock is held; a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a turn's events behind those that wait; leaves `events` empty.
    pub(crate) fn put(&self, events: &mut VecDeque<Event>, bytes: usize) {
        if events.is_empty() {
            return;
        }
        let mut state = self.lock();
        if state.is_reader_gone {
            events.clear();
            return;
        }
        state.bytes += bytes;
        if state.events.is_empty() {
            std::mem::swap(&mut state.events, events);
        } else {
            state.events.append(events);
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// Ready while the reader keeps up (or is gone: then nothing is kept).
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        // Kept in either case: the writer also wants to know when the reader goes away.
        if !state.writer.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            state.writer = Some(cx.waker().clone());
        }
        state.is_writer_stopped =
            state.events.len() >= INBOX_EVENTS_MAX || state.bytes >= INBOX_BYTES_MAX;
        if state.is_writer_stopped { Poll::Pending } else { Poll::Ready(()) }
    }

    /// No more events will come.
    pub(crate) fn close_writer(&self) {
        let mut state = self.lock();
        state.is_writer_gone = true;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    pub(crate) fn is_reader_gone(&self) -> bool {
        self.lock().is_reader_gone
    }

    fn close_reader(&self) {
        let mut state = self.lock();
        state.is_reader_gone = true;
        state.events.clear();
        state.bytes = 0;
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }

    /// Moves what waits into `batch`, which is empty.
    fn take(&self, batch: &mut VecDeque<Event>) {
        let mut state = self.lock();
        state.take(batch);
    }

    fn poll_take(&self, cx: &mut Context<'_>, batch: &mut VecDeque<Event>) -> Poll<()> {
        let mut state = self.lock();
        state.take(batch);
        if !batch.is_empty() {
            return Poll::Ready(());
        }
        if state.is_writer_gone {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}
