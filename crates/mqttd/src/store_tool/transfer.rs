//! `export` and `import`: a store as lines of JSON, and a store from them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use mqttd_core::ids::ShardId;

use super::files::{self, NewStore};
use super::json::{FORMAT, Line};
use super::{Verdict, layout, lines};

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
    let export = match file {
        Some(path) => File::open(path)
            .map_err(anyhow::Error::from)
            .and_then(|file| lines::read(BufReader::new(file)))
            .with_context(|| path.display().to_string())?,
        None => lines::read(io::stdin().lock())?,
    };
    let shards = wanted.unwrap_or(export.shards);
    let laid = layout::lay_out(export.records, Some(export.shards), shards);
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
