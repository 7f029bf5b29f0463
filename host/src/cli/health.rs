//! `tidegate health`: asks `/readyz`, for container health checks without a further tool.

use clap::Args;
use hyper::StatusCode;

use super::ask::Target;
use super::layout::clean;
use super::{Failure, say};

/// Arguments of `tidegate health`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
}

/// Succeeds when the host that runs the first file is ready.
pub(super) async fn health(arguments: Arguments) -> Result<(), Failure> {
    let (status, answer) = arguments.target.host()?.get("/readyz").await?;
    let answer = clean(&String::from_utf8_lossy(&answer));
    if status == StatusCode::OK {
        say(&format!("{answer}\n"));
        return Ok(());
    }
    Err(Failure::Running(format!("the host is not ready: {answer}")))
}
