//! Clients that send as fast as they can, and quiet ones beside them: the flood may slow them down,
//! but every turn has a part for them. How much of a turn one connection gets is tested where it is
//! decided, in `mqttd/src/shard/reading.rs`; here are the real broker, its runtime and the kernel.
//! What is counted is how much the broker takes of the flood before it has a quiet message: time
//! would say how busy the machine is.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use mqttd_tests::Broker;
use mqttd_tests::raw::Raw;

/// Quiet messages, one after the other, beside the flood, and how many at most until there has been
/// one.
const MESSAGES: u16 = 30;
const MESSAGES_MAX: u16 = 3000;

/// Bytes that are a flood.
const FLOOD_BYTES: u64 = 16 << 20;

/// Who takes part in the flood: while one is served, the others have more.
const LOUD: usize = 3;

/// Bytes of the flood that the broker may take while it has a quiet message to serve. It looks at
/// all sockets every eight turns, in each of which a loud connection is good for 64 KiB or a little
/// more.
const TAKEN_MAX: u64 = 4 << 20;

/// Quiet messages that may see more than that: whoever waits for them may not run for a while.
const LATE_MAX: u16 = MESSAGES / 2;

/// Clients that publish as fast as the broker takes it, until dropped.
struct Flood {
    sockets: Vec<TcpStream>,
    /// Bytes that have left here. The system's buffers are full, so as many were taken.
    taken: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    fn of(broker: &Broker, publish: &[u8]) -> Flood {
        let mut flood = Flood { sockets: Vec::new(), taken: Arc::default(), threads: Vec::new() };
        for number in 0..LOUD {
            flood.join(broker, &format!("loud-{number}"), publish.repeat(20_000));
        }
        flood
    }

    fn join(&mut self, broker: &Broker, client_id: &str, packets: Vec<u8>) {
        let socket = Raw::connect(broker.port(), client_id, true).unwrap().into_socket();
        let (mut writer, mut answers) = (socket.try_clone().unwrap(), socket.try_clone().unwrap());
        self.sockets.push(socket);
        let taken = Arc::clone(&self.taken);
        self.threads.push(thread::spawn(move || {
            let mut at = 0;
            while let Ok(count) = writer.write(&packets[at..]) {
                taken.fetch_add(count as u64, Ordering::Relaxed);
                at = (at + count) % packets.len();
            }
        }));
        let reads = thread::spawn(move || drop(io::copy(&mut answers, &mut io::sink())));
        self.threads.push(reads);
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for socket in &self.sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok());
        }
    }
}

fn quiet_clients_are_served_beside(publish: &[u8]) {
    // All on one thread: there is no other to serve them.
    let broker = Broker::with("shards 1\nthreads 1");
    let mut publisher = Raw::connect(broker.port(), "quiet-publisher", true).unwrap();
    let mut subscriber = Raw::connect(broker.port(), "quiet-subscriber", true).unwrap();
    subscriber.subscribe("quiet", 0).unwrap();
    let flood = Flood::of(&broker, publish);
    let (mut late, mut most) = (0, 0);
    for number in 1..=MESSAGES_MAX {
        let before = flood.taken();
        publisher.publish((0, false, false), "quiet", 0, &number.to_be_bytes()).unwrap();
        let (first, body) = subscriber.packet().unwrap();
        assert_eq!((first, &body[7..]), (0x30, &number.to_be_bytes()[..]));
        let taken = flood.taken() - before;
        most = most.max(taken);
        late += u16::from(taken > TAKEN_MAX);
        assert!(late <= LATE_MAX, "{late} of {number} messages waited, one for {most} bytes");
        if number >= MESSAGES && flood.taken() > FLOOD_BYTES {
            break;
        }
    }
    assert!(flood.taken() > FLOOD_BYTES, "there was no flood: {} bytes", flood.taken());
    println!("{late} late, at most {most} bytes before one, of {} in all", flood.taken());
}

#[test]
fn a_flood_of_qos_0_does_not_keep_others_waiting() {
    quiet_clients_are_served_beside(b"\x30\x04\x00\x01lx");
}

#[test]
fn a_flood_of_qos_1_does_not_keep_others_waiting() {
    quiet_clients_are_served_beside(b"\x32\x06\x00\x01l\x00\x01x");
}
