//! Inputs that cargo-fuzz has found: a few kilobytes for each entry, chosen to reach much. One on
//! each line of `corpus/ENTRY.txt`, written as `escape_ascii` does it.

use std::fs;

/// What is kept for the entry; nothing when it has no file.
pub fn corpus(entry: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/corpus/{entry}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| unescaped(line).expect("a line of the corpus")).collect()
}

fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut bytes = line.bytes();
    let mut found = Vec::new();
    while let Some(byte) = bytes.next() {
        found.push(match byte {
            b'\\' => match bytes.next()? {
                b't' => b'\t',
                b'n' => b'\n',
                b'r' => b'\r',
                b'x' => {
                    let mut digit = || char::from(bytes.next()?).to_digit(16);
                    (digit()? << 4 | digit()?) as u8
                }
                other => other,
            },
            plain => plain,
        });
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescaped(&all.escape_ascii().to_string()), Some(all));
        assert_eq!(unescaped("\\x4"), None);
    }

    #[test]
    fn the_corpus_is_small_and_can_be_read() {
        for (entry, ..) in crate::ENTRIES {
            let bytes: usize = corpus(entry).iter().map(Vec::len).sum();
            assert!(bytes < 8192, "{entry}: {bytes} bytes");
        }
        assert!(corpus("acl_file").len() > 5);
    }
}
