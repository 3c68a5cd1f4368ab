//! Runs the Python programs of `tests/python/` under one of the two paho environments, and the
//! JavaScript ones under node.

use std::process::Command;

use crate::broker::Broker;
use crate::place;
use crate::process::{self, Finished, Running};

/// A Python environment made by `scripts/test-deps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Venv {
    /// paho-mqtt 1.6.1, the version of most articles.
    Paho1,
    /// The newest paho-mqtt 2.x.
    Paho2,
}

impl Venv {
    /// Both.
    pub const ALL: [Venv; 2] = [Venv::Paho1, Venv::Paho2];

    fn folder(self) -> &'static str {
        match self {
            Venv::Paho1 => ".cache/.venv/paho1",
            Venv::Paho2 => ".cache/.venv/paho2",
        }
    }

    /// The command for a program; the port is its first argument.
    pub fn command(self, program: &str, port: u16, arguments: &[&str]) -> Command {
        let python = place::project_root().join(self.folder()).join("bin/python");
        assert!(python.exists(), "{} is missing: run scripts/test-deps", python.display());
        let mut command = python_program(python.to_str().expect("a path of ours"), program);
        command.arg(port.to_string()).args(arguments);
        command
    }

    /// Runs a program to its end.
    #[track_caller]
    pub fn run(self, program: &str, port: u16, arguments: &[&str]) -> Finished {
        process::run(self.command(program, port, arguments), b"")
    }

    /// Starts a program and waits for its line "ready".
    #[track_caller]
    pub fn start(self, program: &str, broker: &Broker, arguments: &[&str]) -> Running {
        self.start_at(program, broker.port(), arguments)
    }

    /// [`Venv::start`] with any port of the broker.
    #[track_caller]
    pub fn start_at(self, program: &str, port: u16, arguments: &[&str]) -> Running {
        let mut running = Running::spawn(self.command(program, port, arguments), b"");
        running.expect_line("ready");
        running
    }
}

/// A program of `tests/python/` under any Python.
pub fn python_program(python: &str, program: &str) -> Command {
    let path = place::project_root().join("tests/python").join(program);
    assert!(path.is_file(), "{}", path.display());
    let mut command = Command::new(python);
    // Lines must come as they are printed, and no __pycache__ in the source tree.
    command.args(["-u", "-B"]).arg(path);
    command
}
