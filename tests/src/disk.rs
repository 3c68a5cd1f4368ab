//! A broker on a disk that does as a test says: `tests/c/disk.c`, loaded into its process.

use crate::preload::Preload;
use crate::{Broker, process};

/// What the disk is to do. The broker must have been started by [`FaultyDisk::broker`].
#[derive(Debug)]
pub struct FaultyDisk(Preload);

/// "The file system is read-only."
pub const READ_ONLY: i32 = 30;
/// "Input/output error".
pub const INPUT_OUTPUT: i32 = 5;

impl FaultyDisk {
    /// Without a C compiler the test at `place` is skipped, which this says.
    pub fn new(place: &str) -> Option<FaultyDisk> {
        let disk = FaultyDisk(Preload::new(place, "disk", "MQTTD_TEST_DISK")?);
        disk.works();
        Some(disk)
    }

    /// [`Broker::with`] on this disk.
    #[track_caller]
    pub fn broker(&self, lines: &str) -> Broker {
        self.0.broker(lines)
    }

    /// Nothing is wrong any more.
    pub fn works(&self) {
        self.0.order("work");
    }

    /// Syncs wait until the next order.
    pub fn holds_syncs(&self) {
        self.0.order("hold");
    }

    /// Each sync takes so much longer.
    pub fn is_slow(&self, milliseconds: u32) {
        self.0.order(&format!("slow {milliseconds}"));
    }

    /// Syncs fail.
    pub fn fails_syncs(&self) {
        self.0.order(&format!("sync-fails {INPUT_OUTPUT}"));
    }

    /// Writes fail with this error number.
    pub fn fails_writes(&self, error: i32) {
        self.0.order(&format!("write-fails {error}"));
    }
}

/// The broker says of its store what is `wanted`.
pub fn store_is(broker: &Broker, wanted: &str) -> bool {
    process::until(|| {
        let arguments = ["-t", "$SYS/broker/store/state", "-C", "1", "-W", "5"];
        let said = crate::Tools::UnderTest.receive(broker, &arguments).out();
        (said.trim() == wanted).then_some(())
    })
    .is_some()
}
