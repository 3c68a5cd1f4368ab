//! Messages onto stdout: one buffer, written when it is full or when no message waits.

use std::io::{self, IsTerminal, Write};

use mqtt_client::Message;

use crate::args::Persona;
use crate::args::output::{OutputArgs, When};
use crate::clock::Moment;
use crate::format::Format;
use crate::json;

/// With this many bytes the buffer is written even while messages wait.
const BUFFER_BYTES: usize = 64 * 1024;

/// A line on stdout. A reader that has gone away is no reason to panic.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::print::line(&mut std::io::stdout().lock(), format_args!($($text)*))
    };
}

/// A line on stderr, on the same terms.
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::print::line(&mut std::io::stderr().lock(), format_args!($($text)*))
    };
}

pub(crate) use {say, tell};

/// Prints messages in the way that was asked for.
#[derive(Debug)]
pub struct Printer {
    style: Style,
    /// What follows each message.
    end: &'static [u8],
    is_quiet: bool,
    out: Vec<u8>,
}

#[derive(Debug)]
enum Style {
    Plain,
    Verbose { color: bool },
    Format(Format),
    Json,
    Csv,
}

impl Printer {
    /// From the flags.
    ///
    /// # Errors
    /// The format is wrong; says how.
    pub fn new(args: &OutputArgs, persona: &Persona, is_quiet: bool) -> Result<Self, String> {
        let style = if let Some(format) = &args.format {
            Style::Format(Format::compile(format, args.pretty)?)
        } else if args.json {
            Style::Json
        } else if args.csv {
            Style::Csv
        } else if args.verbose {
            Style::Verbose { color: !persona.is_mosquitto && has_colors(args.color) }
        } else {
            Style::Plain
        };
        let end: &[u8] = match (args.null, args.no_newline) {
            (true, _) => b"\0",
            (false, true) => b"",
            (false, false) => b"\n",
        };
        Ok(Self { style, end, is_quiet, out: Vec::with_capacity(BUFFER_BYTES * 2) })
    }

    /// Appends a message to the buffer, and writes the buffer when it is full.
    ///
    /// # Errors
    /// stdout can't be written.
    #[inline]
    pub fn print(&mut self, message: &Message) -> io::Result<()> {
        let payload = message.payload();
        match &self.style {
            Style::Plain if payload.is_empty() => return Ok(()),
            Style::Plain => self.out.extend_from_slice(payload),
            Style::Verbose { color } => {
                verbose(&mut self.out, message.topic(), payload, *color);
            }
            Style::Format(format) => {
                if format.write(&mut self.out, message, &Moment::now()).is_err() && !self.is_quiet {
                    let topic = message.topic();
                    tell!("Error: Message payload is not valid JSON on topic {topic}.");
                }
            }
            Style::Json => json::line(&mut self.out, message, &Moment::now()),
            Style::Csv => csv(&mut self.out, message),
        }
        self.out.extend_from_slice(self.end);
        if self.out.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// stdout can't be written.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.out)?;
        self.out.clear();
        stdout.flush()
    }
}

/// Behind [`say`] and [`tell`].
pub(crate) fn line(out: &mut impl Write, text: std::fmt::Arguments<'_>) {
    // Nobody is there to be told that nobody is there.
    let _ = writeln!(out, "{text}");
}

/// Are colours wanted on stdout?
pub fn has_colors(when: When) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && io::stdout().is_terminal()
        }
    }
}

#[inline]
fn verbose(out: &mut Vec<u8>, topic: &str, payload: &[u8], color: bool) {
    if color {
        out.extend_from_slice(b"\x1b[36m");
    }
    out.extend_from_slice(topic.as_bytes());
    if color {
        out.extend_from_slice(b"\x1b[0m");
    }
    out.push(b' ');
    out.extend_from_slice(if payload.is_empty() { b"(null)" } else { payload });
}

/// `time,topic,qos,retain,payload`; the payload is base64 behind `base64:` when it is not UTF-8.
fn csv(out: &mut Vec<u8>, message: &Message) {
    use base64::Engine;
    Moment::now().strftime("%Y-%m-%dT%H:%M:%S%.6f%:z", out);
    out.push(b',');
    csv_field(out, message.topic());
    let _ = write!(out, ",{},{},", message.qos(), u8::from(message.retain()));
    match std::str::from_utf8(message.payload()) {
        Ok(text) => csv_field(out, text),
        Err(_) => {
            let text = base64::engine::general_purpose::STANDARD.encode(message.payload());
            out.extend_from_slice(b"base64:");
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Quoted when RFC 4180 asks for it, or when it could be taken for base64.
fn csv_field(out: &mut Vec<u8>, text: &str) {
    let needs_quotes = text.starts_with("base64:")
        || text.contains([',', '"', '\n', '\r'])
        || text.starts_with(' ')
        || text.ends_with(' ');
    if !needs_quotes {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbose_lines_show_an_empty_payload_as_null() {
        let mut out = Vec::new();
        verbose(&mut out, "a/b", b"", false);
        out.push(b'|');
        verbose(&mut out, "a", b"\xff", true);
        assert_eq!(out, b"a/b (null)|\x1b[36ma\x1b[0m \xff");
    }

    #[test]
    fn csv_fields_are_quoted_when_they_must_be() {
        for (text, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("base64:x", "\"base64:x\""),
            ("", ""),
        ] {
            let mut out = Vec::new();
            csv_field(&mut out, text);
            assert_eq!(out, written.as_bytes());
        }
    }
}
