//! Man pages and shell completions, from the same tables as the parser.

use std::io::{self, Write};

use clap::ValueEnum;
use clap_complete::Shell;

use crate::args::Tool;

/// What `--generate` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Generate {
    Man,
    Bash,
    Zsh,
    Fish,
}

/// Writes it to `out`.
///
/// # Errors
/// Writing fails.
pub fn write<T: Tool>(what: Generate, out: &mut impl Write) -> io::Result<()> {
    let mut command = T::command();
    let shell = match what {
        Generate::Man => return clap_mangen::Man::new(command).render(out),
        Generate::Bash => Shell::Bash,
        Generate::Zsh => Shell::Zsh,
        Generate::Fish => Shell::Fish,
    };
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    out.write_all(&script)
}
