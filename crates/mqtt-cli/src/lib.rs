//! mqtt-pub, mqtt-sub, mqtt-rr and mqtt-passwd: the tools behind the binaries of the same names.
//!
//! [`passwd`] is the password tool, whole: arguments, prompt, file and exit codes.
#![forbid(unsafe_code)]

pub mod passwd;
