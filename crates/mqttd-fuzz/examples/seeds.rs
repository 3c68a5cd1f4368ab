//! Writes the seeds of all entries to `FOLDER/ENTRY/`, for cargo-fuzz to begin with.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = env::args().nth(1).ok_or_else(|| io::Error::other("usage: seeds FOLDER"))?;
    for (name, _, seeds) in mqttd_fuzz::ENTRIES {
        let folder = Path::new(&folder).join(name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in [seeds(), mqttd_fuzz::corpus(name)].concat().into_iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
