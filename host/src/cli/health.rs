//! `tidegate health`: asks `/readyz`, for container health checks without a further tool.

use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::load::Files;
use super::{Failure, say};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `tidegate health`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
}

/// Succeeds when the host that runs the first file is ready.
pub(super) async fn health(arguments: Arguments) -> Result<(), Failure> {
    let loaded = arguments.files.load()?;
    let Some(first) = loaded.first() else { return Err(Failure::Running("no pipeline file is named".to_owned())) };
    let listen = first.plan.admin.listen;
    let answer = timeout(PATIENCE, ask(listen)).await;
    let failed = |cause: &str| Failure::Running(format!("the host at {listen} did not answer: {cause}"));
    let answer = answer.map_err(|_| failed("time ran out"))?.map_err(|error| failed(&error.to_string()))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    if answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200") {
        say(&format!("{body}\n"));
        return Ok(());
    }
    Err(Failure::Running(format!("the host at {listen} is not ready: {body}")))
}

/// One HTTP/1.0 request, whose answer ends with the connection.
async fn ask(mut listen: std::net::SocketAddr) -> std::io::Result<String> {
    if listen.ip().is_unspecified() {
        listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let mut stream = TcpStream::connect(listen).await?;
    stream.write_all(format!("GET /readyz HTTP/1.0\r\nHost: {listen}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
