//! A broker on a disk that does as a test says: `tests/c/disk.c`, loaded into its process.

use std::process::Command;

use crate::place::{self, TempDir};
use crate::{Broker, process};

/// What the disk is to do. The broker must have been started by [`FaultyDisk::broker`].
#[derive(Debug)]
pub struct FaultyDisk {
    dir: TempDir,
}

/// "The file system is read-only."
pub const READ_ONLY: i32 = 30;
/// "Input/output error".
pub const INPUT_OUTPUT: i32 = 5;

impl FaultyDisk {
    /// Makes the library; without a C compiler the test is skipped, which this says.
    pub fn new(place: &str) -> Option<FaultyDisk> {
        let dir = TempDir::new();
        let source = place::project_root().join("tests/c/disk.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o", &dir.file("disk.so")]);
        compiler.arg(source).arg("-ldl");
        match compiler.output() {
            Err(error) => {
                place::say_skipped(place, &format!("no C compiler: {error}"));
                return None;
            }
            Ok(output) => assert!(output.status.success(), "{output:?}"),
        }
        let disk = FaultyDisk { dir };
        disk.works();
        Some(disk)
    }

    /// [`Broker::with`] on this disk.
    #[track_caller]
    pub fn broker(&self, lines: &str) -> Broker {
        let lines = format!("allow_anonymous true\n{lines}\nlistener {{port}} 127.0.0.1");
        Broker::prepared(place::broker_under_test(), &lines)
            .in_environment("LD_PRELOAD", &self.dir.file("disk.so"))
            .in_environment("MQTTD_TEST_DISK", &self.dir.file("order"))
            .started()
    }

    /// Nothing is wrong any more.
    pub fn works(&self) {
        self.does("work");
    }

    /// Syncs wait until the next order.
    pub fn holds_syncs(&self) {
        self.does("hold");
    }

    /// Each sync takes so much longer.
    pub fn is_slow(&self, milliseconds: u32) {
        self.does(&format!("slow {milliseconds}"));
    }

    /// Syncs fail.
    pub fn fails_syncs(&self) {
        self.does(&format!("sync-fails {INPUT_OUTPUT}"));
    }

    /// Writes fail with this error number.
    pub fn fails_writes(&self, error: i32) {
        self.does(&format!("write-fails {error}"));
    }

    /// In one step: the broker reads it at any time.
    fn does(&self, order: &str) {
        self.dir.write("next", format!("{order}\n"));
        std::fs::rename(self.dir.file("next"), self.dir.file("order")).unwrap();
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
