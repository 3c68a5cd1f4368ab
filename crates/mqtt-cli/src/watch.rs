//! `--watch`: one line of the screen for each topic.

use std::collections::BTreeMap;
use std::io::{self, Write};

use mqtt_client::Message;

/// The most topics that are shown; more would scroll off any screen.
const TOPICS_MAX: usize = 1000;

/// The screen.
#[derive(Debug, Default)]
pub struct Screen {
    lines: BTreeMap<String, Vec<u8>>,
    is_changed: bool,
}

impl Screen {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The topic's line now shows this message.
    pub fn put(&mut self, message: &Message) {
        if self.lines.len() >= TOPICS_MAX && !self.lines.contains_key(message.topic()) {
            return;
        }
        let shown = printable(message.payload());
        self.lines.insert(message.topic().to_owned(), shown);
        self.is_changed = true;
    }

    /// Draws it anew if something has changed.
    ///
    /// # Errors
    /// stdout can't be written.
    pub fn draw(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_changed) {
            return Ok(());
        }
        let mut out = Vec::from(b"\x1b[H");
        for (topic, payload) in &self.lines {
            out.extend_from_slice(topic.as_bytes());
            out.push(b' ');
            out.extend_from_slice(payload);
            out.extend_from_slice(b"\x1b[K\n");
        }
        out.extend_from_slice(b"\x1b[J");
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()
    }
}

/// One line, without bytes that would move the cursor.
fn printable(payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    let shown = |char: char| if char.is_control() { '\u{b7}' } else { char };
    text.chars().take(200).map(shown).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_screen() {
        assert_eq!(printable(b"a\x1b[2J\nb"), "a·[2J·b".as_bytes());
        assert_eq!(printable(&[b'x'; 500]).len(), 200);
    }
}
