//! An export as a whole: a line that says what it is, and a line for each record. Where they come
//! from and what becomes of them is `transfer.rs`.

use std::io::BufRead;

use anyhow::{Context, bail, ensure};
use mqttd_core::SHARDS_MAX;

use super::files::Kept;
use super::json::{FORMAT, Line};
use super::legal;

/// What an export holds.
pub(super) struct Export {
    pub(super) records: Vec<Kept>,
    /// Of the store that was exported.
    pub(super) shards: u8,
}

/// Reads all lines.
///
/// # Errors
/// A line that holds no record, or one that no broker writes, with its number; no line that says
/// what this is.
pub(super) fn read(mut input: impl BufRead) -> anyhow::Result<Export> {
    let mut records = Vec::new();
    let mut found = None;
    let mut text = String::new();
    for number in 1.. {
        text.clear();
        if input.read_line(&mut text)? == 0 {
            break;
        }
        let place = || format!("line {number}");
        let line: Line = serde_json::from_str(&text).with_context(place)?;
        match line.record().with_context(place)? {
            Some((id, body)) => {
                legal::check(&body).with_context(place)?;
                records.push((id, body));
            }
            None => {
                let Line::Store { format, shards } = line else {
                    bail!("line {number} holds no record");
                };
                ensure!(format == FORMAT, "format {format} is not the {FORMAT} that is known here");
                ensure!((1..=SHARDS_MAX).contains(&shards), "{shards} are no number of shards");
                found = Some(shards);
            }
        }
    }
    let shards = found.context("the line of kind \"store\" is missing")?;
    Ok(Export { records, shards })
}
