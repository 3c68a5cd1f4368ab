//! `-F`: Mosquitto's format language, compiled once and then written message by message.

use std::io::Write as _;

use mqtt_client::{Message, PropertyId};

use crate::clock::Moment;
use crate::json;

/// A compiled format.
#[derive(Clone, Debug, PartialEq)]
pub struct Format {
    pieces: Vec<Piece>,
    pretty: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(Vec<u8>),
    Field(Field),
    /// One conversion of strftime, with its `%`.
    Time(String),
    Nanoseconds,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Field {
    what: char,
    left: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    separator: Option<char>,
}

/// A JSON payload was asked for and the payload is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

/// The most columns a width can ask for.
const WIDTH_MAX: usize = 10_000;

impl Format {
    /// Compiles `text`; `pretty` indents `%j` and `%J`.
    ///
    /// # Errors
    /// What is wrong, in Mosquitto's words.
    pub fn compile(text: &str, pretty: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            let piece = match char {
                '%' => field(&mut chars)?,
                '@' => match chars.next().ok_or("Incomplete format specifier.")? {
                    '@' => Piece::Literal(vec![b'@']),
                    'N' => Piece::Nanoseconds,
                    other => time(other),
                },
                '\\' => Piece::Literal(vec![escape(
                    chars.next().ok_or("Incomplete escape specifier.")?,
                )?]),
                other => {
                    let mut bytes = [0; 4];
                    Piece::Literal(other.encode_utf8(&mut bytes).as_bytes().to_vec())
                }
            };
            match piece {
                Piece::Literal(bytes) => literal.extend(bytes),
                piece => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces, pretty })
    }

    /// Appends one message.
    ///
    /// # Errors
    /// `%J` and a payload that is not JSON; the rest has been written.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        message: &Message,
        moment: &Moment,
    ) -> Result<(), NotJson> {
        let mut result = Ok(());
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Time(conversion) => moment.strftime(conversion, out),
                Piece::Nanoseconds => {
                    let _ = write!(out, "{:09}", moment.nanoseconds());
                }
                Piece::Field(field) => {
                    let written = field.write(out, message, moment, self.pretty);
                    result = result.and(written);
                }
            }
        }
        result
    }
}

/// strftime's conversions in the C locale; what it does not know stands as it is.
fn time(letter: char) -> Piece {
    let conversion = match letter {
        'c' => "%a %b %e %H:%M:%S %Y",
        'x' => "%m/%d/%y",
        'X' => "%H:%M:%S",
        'r' => "%I:%M:%S %p",
        known if "aAbBCdDeFgGhHIjklmMnpPRsStTuUVwWyYzZ".contains(known) => {
            return Piece::Time(format!("%{known}"));
        }
        other => return Piece::Literal(format!("%{other}").into_bytes()),
    };
    Piece::Time(conversion.to_owned())
}

fn escape(char: char) -> Result<u8, String> {
    Ok(match char {
        '\\' => b'\\',
        '0' => 0,
        'a' => 7,
        'e' => 27,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        other => return Err(format!("Invalid escape specifier '{other}'.")),
    })
}

fn field(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Piece, String> {
    const INCOMPLETE: &str = "Incomplete format specifier.";
    let mut field =
        Field { what: ' ', left: false, zero: false, width: 0, precision: None, separator: None };
    while let Some(&flag @ ('-' | '0')) = chars.peek() {
        field.left |= flag == '-';
        field.zero |= flag == '0';
        chars.next();
    }
    field.width = number(chars);
    if chars.next_if_eq(&'.').is_some() {
        field.precision = Some(number(chars));
    }
    let what = chars.next().ok_or(INCOMPLETE)?;
    field.what = match (what, chars.peek()) {
        ('%', _) => return Ok(Piece::Literal(vec![b'%'])),
        (known, _) if "ACDEFIJPRSUXdfjlmpqrtx".contains(known) => known,
        (separator, Some(&hex @ ('x' | 'X'))) => {
            chars.next();
            field.separator = Some(separator);
            hex
        }
        (other, _) => return Err(format!("Invalid format specifier '{other}'.")),
    };
    Ok(Piece::Field(field))
}

fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> usize {
    let mut number = 0_usize;
    while let Some(digit) = chars.peek().and_then(|char| char.to_digit(10)) {
        number = (number * 10 + digit as usize).min(WIDTH_MAX);
        chars.next();
    }
    number
}

impl Field {
    fn write(
        &self,
        out: &mut Vec<u8>,
        message: &Message,
        moment: &Moment,
        pretty: bool,
    ) -> Result<(), NotJson> {
        let properties = message.properties();
        let number = |id| properties.u32(id);
        match self.what {
            't' => self.text(out, message.topic().as_bytes()),
            'p' => {
                let payload = self.cut(message.payload());
                self.padded(out, payload);
            }
            'x' => self.hex(out, message.payload(), b"0123456789abcdef"),
            'X' => self.hex(out, message.payload(), b"0123456789ABCDEF"),
            'l' => self.number(out, Some(message.payload().len() as u64)),
            'm' => {
                let id = message.packet_id().map_or(0, |id| id.get());
                self.number(out, Some(u64::from(id)));
            }
            'q' => drop(write!(out, "{}", message.qos() as u8)),
            'r' => out.push(b'0' + u8::from(message.retain())),
            'I' => {
                let mut time = Vec::new();
                moment.strftime("%Y-%m-%dT%H:%M:%S%z", &mut time);
                self.text(out, &time);
            }
            'U' => drop(write!(out, "{}.{:09}", moment.seconds(), moment.nanoseconds())),
            'j' => json::mosquitto(out, message, moment, pretty),
            'J' => return json::mosquitto_parsed(out, message, moment, pretty),
            'A' => {
                let alias = properties.u16(PropertyId::TopicAlias);
                self.number(out, alias.map(u64::from));
            }
            'C' => self.text(out, property(message, PropertyId::ContentType)),
            // An absent one is not padded, unlike the others.
            'R' => {
                if let Some(topic) = properties.text(PropertyId::ResponseTopic) {
                    self.text(out, topic.as_bytes());
                }
            }
            'D' => {
                let data = properties.binary(PropertyId::CorrelationData);
                out.extend_from_slice(data.unwrap_or_default());
            }
            'E' => {
                self.number(out, number(PropertyId::MessageExpiryInterval).map(u64::from));
            }
            'F' => {
                let format = properties.byte(PropertyId::PayloadFormatIndicator);
                self.number(out, format.map(u64::from));
            }
            'S' => {
                let id = properties.subscription_identifiers().next();
                self.number(out, id.map(u64::from));
            }
            'P' => {
                for (index, (name, value)) in properties.user_properties().enumerate() {
                    let space = if index == 0 { "" } else { " " };
                    let _ = write!(out, "{space}{name}:{value}");
                }
            }
            'd' => {
                let bytes = <[u8; 8]>::try_from(message.payload());
                self.float(out, bytes.ok().map(f64::from_ne_bytes));
            }
            'f' => {
                let bytes = <[u8; 4]>::try_from(message.payload());
                self.float(out, bytes.ok().map(|bytes| f64::from(f32::from_ne_bytes(bytes))));
            }
            _ => {}
        }
        Ok(())
    }

    /// Padded with blanks, cut at the precision.
    fn text(&self, out: &mut Vec<u8>, text: &[u8]) {
        let text = match self.precision {
            Some(max) if max < text.len() => &text[..max],
            _ => text,
        };
        self.padded(out, text);
    }

    fn padded(&self, out: &mut Vec<u8>, text: &[u8]) {
        let padding = self.width.saturating_sub(text.len());
        if !self.left {
            out.resize(out.len() + padding, b' ');
        }
        out.extend_from_slice(text);
        if self.left {
            out.resize(out.len() + padding, b' ');
        }
    }

    fn number(&self, out: &mut Vec<u8>, number: Option<u64>) {
        let width = self.width;
        let Some(number) = number else {
            let filler = if self.zero && !self.left { b'0' } else { b' ' };
            out.resize(out.len() + width, filler);
            return;
        };
        let _ = match (self.left, self.zero) {
            (true, _) => write!(out, "{number:<width$}"),
            (false, true) => write!(out, "{number:0width$}"),
            (false, false) => write!(out, "{number:width$}"),
        };
    }

    fn float(&self, out: &mut Vec<u8>, number: Option<f64>) {
        let Some(number) = number else { return };
        let (width, precision) = (self.width, self.precision.unwrap_or(6));
        let _ = match (self.left, self.zero) {
            (true, _) => write!(out, "{number:<width$.precision$}"),
            (false, true) => write!(out, "{number:0width$.precision$}"),
            (false, false) => write!(out, "{number:width$.precision$}"),
        };
    }

    /// Mosquitto takes the width as a maximum for payloads, too.
    fn cut<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        match self.width {
            0 => payload,
            width => &payload[..payload.len().min(width)],
        }
    }

    /// Each byte as two digits. With a width Mosquitto prints half of the bytes it has cut the
    /// payload to, and so do we.
    fn hex(&self, out: &mut Vec<u8>, payload: &[u8], digits: &[u8; 16]) {
        let payload = match self.width {
            0 => payload,
            _ => &payload[..self.cut(payload).len() / 2],
        };
        let mut text = Vec::with_capacity(payload.len() * 2);
        for (index, byte) in payload.iter().enumerate() {
            if let (Some(separator), true) = (self.separator, index > 0) {
                let mut bytes = [0; 4];
                text.extend_from_slice(separator.encode_utf8(&mut bytes).as_bytes());
            }
            text.push(digits[usize::from(byte >> 4)]);
            text.push(digits[usize::from(byte & 15)]);
        }
        let padding = self.width.saturating_sub(text.len());
        let filler = if self.zero { b'0' } else { b' ' };
        match self.left {
            true => self.padded(out, &text),
            false => {
                out.resize(out.len() + padding, filler);
                out.extend_from_slice(&text);
            }
        }
    }
}

fn property(message: &Message, id: PropertyId) -> &[u8] {
    message.properties().text(id).unwrap_or_default().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_in_mosquittos_words() {
        for (format, error) in [
            ("%z", "Invalid format specifier 'z'."),
            ("%", "Incomplete format specifier."),
            ("%-05", "Incomplete format specifier."),
            ("@", "Incomplete format specifier."),
            ("\\", "Incomplete escape specifier."),
            ("\\q", "Invalid escape specifier 'q'."),
        ] {
            assert_eq!(Format::compile(format, false).unwrap_err(), error, "{format}");
        }
    }

    #[test]
    fn literals_are_joined() {
        let format = Format::compile("a%%b@@\\tc", false).unwrap();
        assert_eq!(format.pieces, [Piece::Literal(b"a%b@\tc".to_vec())]);
    }

    #[test]
    fn flags_width_precision_and_separator_are_read() {
        let format = Format::compile("%-07.3t%:x", false).unwrap();
        let Piece::Field(first) = &format.pieces[0] else { panic!() };
        assert_eq!((first.left, first.zero, first.width), (true, true, 7));
        assert_eq!((first.what, first.precision), ('t', Some(3)));
        let Piece::Field(second) = &format.pieces[1] else { panic!() };
        assert_eq!((second.what, second.separator), ('x', Some(':')));
    }

    #[test]
    fn a_huge_width_is_bounded() {
        let format = Format::compile("%99999999999999999999t", false).unwrap();
        let Piece::Field(field) = &format.pieces[0] else { panic!() };
        assert_eq!(field.width, WIDTH_MAX);
    }
}
