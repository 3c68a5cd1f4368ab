//! Libraries of `tests/c` that are loaded into a broker's process before the C library.

use std::process::Command;

use crate::Broker;
use crate::place::{self, TempDir};

/// A library that reads its orders from a file.
#[derive(Debug)]
pub struct Preload {
    dir: TempDir,
    variable: &'static str,
}

impl Preload {
    /// Compiles `tests/c/NAME.c`, which finds the file of orders in this environment `variable`.
    /// Without a C compiler the test at `place` is skipped, which this says.
    pub fn new(place: &str, name: &str, variable: &'static str) -> Option<Preload> {
        let dir = TempDir::new();
        let source = place::project_root().join(format!("tests/c/{name}.c"));
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o", &dir.file("preload.so")]);
        compiler.arg(source).arg("-ldl");
        match compiler.output() {
            Err(error) => {
                place::say_skipped(place, &format!("no C compiler: {error}"));
                return None;
            }
            Ok(output) => assert!(output.status.success(), "{output:?}"),
        }
        Some(Preload { dir, variable })
    }

    /// [`Broker::with`] under its influence, with one listener.
    #[track_caller]
    pub fn broker(&self, lines: &str) -> Broker {
        let lines = format!("allow_anonymous true\n{lines}\nlistener {{port}} 127.0.0.1");
        Broker::prepared(place::broker_under_test(), &lines)
            .in_environment("LD_PRELOAD", &self.dir.file("preload.so"))
            .in_environment(self.variable, &self.dir.file("order"))
            .started()
    }

    /// Gives the order in one step: the broker reads it at any time.
    pub fn order(&self, order: &str) {
        self.dir.write("next", format!("{order}\n"));
        std::fs::rename(self.dir.file("next"), self.dir.file("order")).unwrap();
    }
}
