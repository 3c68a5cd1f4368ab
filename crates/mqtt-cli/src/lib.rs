//! mqtt-pub, mqtt-sub, mqtt-rr, mqtt-passwd and mqtt-ctrl: what is behind the binaries.
//!
//! [`args`] reads command lines; [`publish`], [`subscribe`] and [`request`] are the three tools;
//! [`print`], [`format`], [`json`] and [`record`] are what messages look like outside. [`run`]
//! leads from argv to an exit code. All network behaviour is in `mqtt-client`.
//!
//! [`passwd`] is the password tool, whole: arguments, prompt, file and exit codes. [`ctrl`] is the
//! client of a broker's control topics. [`manual`],
//! [`generate`] and [`reference`] make man pages, completions and `docs/reference`.
#![forbid(unsafe_code)]

pub mod args;
pub mod chance;
pub mod clock;
pub mod ctrl;
pub mod debug;
pub mod exit;
pub mod format;
pub mod generate;
pub mod json;
pub mod lines;
pub mod manual;
pub mod passwd;
pub mod print;
pub mod progress;
pub mod publish;
pub mod rate;
pub mod record;
pub mod reference;
pub mod request;
pub mod run;
pub mod subscribe;
pub mod watch;
