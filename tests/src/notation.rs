//! A small notation for bytes on the wire, written by hand so that it shares nothing with the
//! codec under test.
//!
//! | token | bytes |
//! |---|---|
//! | `10`, `003c` | hex digits, two a byte |
//! | `??` | any byte (in expectations only) |
//! | `'text'` | the text |
//! | `<text>` | two bytes of length, then the text: an MQTT string |
//! | `[ … ]` | the length of what is inside as a Variable Byte Integer, then what is inside |
//!
//! A CONNECT of MQTT 3.1.1 is `10 [ <MQTT> 04 02 003c <client> ]`.

/// Bytes, some of which may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Option<u8>>);

impl Pattern {
    /// Reads the notation; a mistake in it is the test's and panics.
    #[track_caller]
    pub fn parse(text: &str) -> Pattern {
        let mut groups: Vec<Vec<Option<u8>>> = vec![Vec::new()];
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let top = groups.last_mut().expect("']' never takes the last one");
            let first = rest.chars().next().expect("not empty");
            let taken = match first {
                '[' => {
                    groups.push(Vec::new());
                    1
                }
                ']' => {
                    let inner = groups.pop().expect("never empty");
                    let outer = groups.last_mut().unwrap_or_else(|| panic!("']' too many: {text}"));
                    outer.extend(variable_length(inner.len()).into_iter().map(Some));
                    outer.extend(inner);
                    1
                }
                '\'' => {
                    let literal = inside(&rest[1..], '\'', text);
                    top.extend(literal.bytes().map(Some));
                    literal.len() + 2
                }
                '<' => {
                    let literal = inside(&rest[1..], '>', text);
                    let length = u16::try_from(literal.len()).expect("an MQTT string");
                    top.extend(length.to_be_bytes().map(Some));
                    top.extend(literal.bytes().map(Some));
                    literal.len() + 2
                }
                _ => {
                    let word = rest.split([' ', '\n', ']', '[', '<', '\'']).next().expect("one");
                    hex(word, top, text);
                    word.len()
                }
            };
            rest = rest[taken..].trim_start();
        }
        assert_eq!(groups.len(), 1, "']' missing: {text}");
        Pattern(groups.remove(0))
    }

    /// The bytes; a `??` among them is the test's mistake.
    #[track_caller]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().map(|byte| byte.expect("'??' only stands in expectations")).collect()
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No bytes at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Do these bytes fit?
    pub fn matches(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.0.len()
            && self.0.iter().zip(bytes).all(|(wanted, byte)| wanted.is_none_or(|it| it == *byte))
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            match byte {
                Some(byte) => write!(f, "{space}{byte:02x}")?,
                None => write!(f, "{space}??")?,
            }
        }
        Ok(())
    }
}

/// Bytes as hex, with what is readable beside it.
pub fn show(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(200)];
    let hex: Vec<String> = head.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String = head
        .iter()
        .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' })
        .collect();
    let more = if bytes.len() > head.len() { " …" } else { "" };
    format!("{}{more}  |{text}|", hex.join(" "))
}

/// A Variable Byte Integer (MQTT 5.0, 1.5.5).
pub fn variable_length(mut value: usize) -> Vec<u8> {
    assert!(value <= 268_435_455, "not a Variable Byte Integer: {value}");
    let mut bytes = Vec::new();
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn inside<'a>(rest: &'a str, close: char, text: &str) -> &'a str {
    let end = rest.find(close).unwrap_or_else(|| panic!("{close} missing: {text}"));
    &rest[..end]
}

fn hex(word: &str, to: &mut Vec<Option<u8>>, text: &str) {
    assert!(!word.is_empty() && word.len() % 2 == 0, "'{word}' in: {text}");
    for pair in word.as_bytes().chunks(2) {
        let pair = std::str::from_utf8(pair).unwrap_or_else(|_| panic!("'{word}' in: {text}"));
        to.push(match pair {
            "??" => None,
            _ => Some(
                u8::from_str_radix(pair, 16)
                    .unwrap_or_else(|_| panic!("'{pair}' is not hex in: {text}")),
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_packet_is_spelt_out() {
        let bytes = Pattern::parse("10 [ <MQTT> 04 02 003c <c1> ]").bytes();
        assert_eq!(bytes, b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02c1");
    }

    #[test]
    fn groups_nest_and_grow_past_127() {
        let long = "x".repeat(200);
        let bytes = Pattern::parse(&format!("30 [ <t> [ 01 ] '{long}' ]")).bytes();
        assert_eq!(&bytes[..8], b"\x30\xcd\x01\x00\x01t\x01\x01");
        assert_eq!(bytes.len(), 1 + 2 + 5 + 200);
        assert_eq!(variable_length(268_435_455), [0xff, 0xff, 0xff, 0x7f]);
    }

    #[test]
    fn wildcards_fit_any_byte_but_no_other_length() {
        let pattern = Pattern::parse("62 02 ?? ??");
        assert!(pattern.matches(&[0x62, 2, 0, 9]));
        assert!(!pattern.matches(&[0x62, 2, 0]));
        assert!(!pattern.matches(&[0x60, 2, 0, 9]));
    }
}
