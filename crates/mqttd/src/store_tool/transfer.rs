//! `export` and `import`: a store as lines of JSON, and a store from them.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use mqttd_core::ids::ShardId;

use super::files::{self, NewStore};
use super::json::{FORMAT, Line};
use super::{Verdict, layout};

/// Writes the store in `dir` to the standard output. Damage goes to the standard error.
pub(super) fn export(dir: &Path) -> anyhow::Result<Verdict> {
    let (folder, shards) = files::find(dir)?;
    let mut out = BufWriter::new(io::stdout().lock());
    write_line(&mut out, &Line::Store { format: FORMAT, shards })?;
    let mut verdict = Verdict::Good;
    for shard in (0..shards).map(ShardId) {
        let mut result = Ok(());
        let (report, _) = files::read(&folder, shard, |id, body| {
            if result.is_ok() {
                result = Line::of(id, body)
                    .with_context(|| format!("record {:#x}", id.0))
                    .and_then(|line| write_line(&mut out, &line));
            }
        })?;
        result?;
        for hole in &report.holes {
            eprintln!("mqttd store: {}: {hole}", folder.of_shard(shard).display());
            verdict = Verdict::Damaged;
        }
    }
    out.flush()?;
    Ok(verdict)
}

/// Makes a store in `dir` of lines of JSON.
pub(super) fn import(
    dir: &Path,
    file: Option<&Path>,
    wanted: Option<u8>,
) -> anyhow::Result<Verdict> {
    let target = NewStore::plan(dir)?;
    let mut input: Box<dyn BufRead> = match file {
        Some(path) => Box::new(BufReader::new(
            std::fs::File::open(path).with_context(|| path.display().to_string())?,
        )),
        None => Box::new(io::stdin().lock()),
    };
    let mut records = Vec::new();
    let mut shards_before = None;
    let mut text = String::new();
    for number in 1.. {
        text.clear();
        if input.read_line(&mut text)? == 0 {
            break;
        }
        let place = || format!("line {number}");
        let line: Line = serde_json::from_str(&text).with_context(place)?;
        match line.record().with_context(place)? {
            Some(record) => records.push(record),
            None => {
                let Line::Store { format, shards } = line else {
                    bail!("line {number} holds no record");
                };
                ensure!(format == FORMAT, "format {format} is not the {FORMAT} that is known here");
                ensure!((1..=64).contains(&shards), "{shards} are no number of shards");
                shards_before = Some(shards);
            }
        }
    }
    let before = shards_before.context("the line of kind \"store\" is missing")?;
    let shards = wanted.unwrap_or(before);
    let laid = layout::lay_out(records, Some(before), shards);
    target.write(&laid.shards)?;
    for lost in &laid.left_out {
        eprintln!("mqttd store: left out: {lost}");
    }
    eprintln!("{} records in {shards} shards.", laid.count());
    Ok(Verdict::Good)
}

fn write_line(out: &mut impl Write, line: &Line) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")?;
    Ok(())
}
