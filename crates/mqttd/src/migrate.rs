//! `mqttd migrate FILE`: what each line of a mosquitto.conf means here, on standard output.

use std::io::Write;
use std::path::Path;

use mqttd_conf::{Disk, Migration, Verdict};

use crate::exit::Exit;

/// Writes one line for each line of the configuration, and a sum. The exit code is that of a start
/// with the file.
pub(crate) fn migrate(config_file: &Path, out: &mut impl Write) -> std::io::Result<Exit> {
    let migration = Migration::of(&Disk, config_file);
    let mut counts = [0_usize; 4];
    for line in &migration.lines {
        let (kind, word, why) = match &line.verdict {
            Verdict::Same => (0, "same", None),
            Verdict::Mapped(why) => (1, "mapped", Some(why)),
            Verdict::Ignored(why) => (2, "ignored", Some(why)),
            Verdict::Refused(why) => (3, "refused", Some(why)),
        };
        counts[kind] += 1;
        write!(out, "{word:<8} {}: {}", line.place, line.text.trim_end())?;
        match why {
            Some(why) => writeln!(out, "  # {why}")?,
            None => writeln!(out)?,
        }
    }
    for error in &migration.others {
        writeln!(out, "refused  {error}")?;
    }
    let [same, mapped, ignored, refused] = counts;
    let refused = refused + migration.others.len();
    writeln!(out, "{same} same, {mapped} mapped, {ignored} ignored, {refused} refused")?;
    Ok(if migration.is_accepted() { Exit::Stopped } else { Exit::Configuration })
}
