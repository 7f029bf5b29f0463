//! `cargo xtask test`: everything that can be shown to work, shown.

use tidegate_harness::Result;
use tidegate_harness::programs::{Server, ensure, say};

use crate::workspace;

/// Builds what the tests run, and runs them. Arguments go to the test programs: a filter, `--nocapture`.
///
/// The integration tests start the servers that the environment does not name: there they can be paused and killed too.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let missing = [Server::RabbitMq, Server::Redis, Server::Postgres]
        .into_iter()
        .filter(|server| std::env::var_os(server.variable()).is_none());
    ensure(&missing.collect::<Vec<_>>())?;
    workspace::build_plugins()?;
    workspace::build_host()?;
    let mut test = vec!["test", "--workspace", "--no-fail-fast"];
    if !arguments.is_empty() {
        test.push("--");
        test.extend(arguments.iter().map(String::as_str));
    }
    workspace::cargo(&test)?;
    say("\nall tests passed");
    Ok(())
}
