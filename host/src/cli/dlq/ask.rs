//! Asking before something is done that cannot be undone.

use std::io::{IsTerminal, Write, stderr, stdin};

use crate::cli::Failure;

/// Whether to go on: yes where `--yes` says so, else by asking. Nobody can be asked without a terminal.
pub(super) fn may(question: &str, yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return Err(Failure::Usage(format!("{question} There is no terminal to ask on: say it with --yes")));
    }
    let failed = |error| Failure::Running(format!("the answer cannot be read: {error}"));
    write!(stderr(), "{question} [y/N] ").map_err(failed)?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
