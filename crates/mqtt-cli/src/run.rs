//! From argv to an exit code: what all three tools do before and after their work.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::{env, io};

use crate::args::{self, Persona, Stop, Tool};
use crate::exit::{Exit, Failure};

/// Reads the command line, runs `work` on a runtime of one thread and reports how it went.
pub fn main<T, F>(work: impl FnOnce(T, Persona) -> F) -> ExitCode
where
    T: Tool,
    F: Future<Output = Result<Exit, Failure>>,
{
    let mut argv = env::args_os().map(|word| word.into_string());
    let name = argv.next().and_then(Result::ok);
    let persona = Persona::of(&name.unwrap_or_else(|| T::FILES[0].to_owned()));
    let words: Result<Vec<String>, _> = argv.collect();
    let Ok(words) = words else {
        return usage(&persona, "An argument is not valid UTF-8.");
    };
    let cli = match args::read::<T>(&persona, &words) {
        Ok(cli) => cli,
        Err(Stop::Print(text, code)) => {
            // A reader that has seen enough of the help is no mistake.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::from(code as u8);
        }
        Err(Stop::Usage(text)) => return usage(&persona, &text),
    };
    if let Some(what) = cli.general().generate {
        let manual = crate::manual::of(T::FILES[0]);
        let manual = manual.expect("manual.rs has every tool, which tests/manual.rs checks");
        return match crate::generate::write(what, manual, &mut io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => report(&Failure::new(format!("Error: {error}")), false),
        };
    }
    let is_quiet = cli.general().quiet;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(work(cli, persona));
            // A thread may still sit in a read of stdin; nobody waits for it.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::new(format!("Error: {error}"))),
    };
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => report(&failure, is_quiet),
    }
}

fn report(failure: &Failure, is_quiet: bool) -> ExitCode {
    if !is_quiet && !failure.text.is_empty() {
        // Without stderr there is nobody to tell.
        let _ = writeln!(io::stderr(), "{}", failure.text);
    }
    ExitCode::from(failure.exit.code())
}

fn usage(persona: &Persona, text: &str) -> ExitCode {
    report(&Failure::usage(persona, text), false)
}

/// Resolves when the user or the system wants the tool to end (SIGINT, SIGTERM).
///
/// # Errors
/// The signals can't be caught.
pub fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error| Failure::new(format!("Error: signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
