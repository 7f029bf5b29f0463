//! Asking a running host over its admin HTTP.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Failure;
use super::layout::clean;
use super::load::Files;
use super::progress::Progress;
use crate::admin::{Answered, Asked};
use crate::lifecycle::Tasks;
use crate::secret::Secret;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for an answer to a question.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest wait for a reload: a plugin that is not in the cache is compiled first, and a stage may drain.
const RELOAD: Duration = Duration::from_secs(600);
/// Longest answer: a hundred reloads of a hundred pipelines, with their details.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Which host is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    #[command(flatten)]
    files: Files,
    /// Asks the host at this address; the file need not be there then. Default: `[admin] listen` of the first file.
    #[arg(long, value_name = "IP:PORT")]
    host: Option<SocketAddr>,
    /// The token to show; in the environment it is not seen by `ps`. Default: `[admin] token` of the first file.
    #[arg(long, value_name = "TOKEN", env = "TIDEGATE_ADMIN_TOKEN", hide_env_values = true, value_parser = secret)]
    token: Option<Secret>,
}

/// What is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Question {
    #[command(flatten)]
    pub(super) target: Target,
    /// Asks for this pipeline only. Default: every one of the host.
    #[arg(long, value_name = "NAME")]
    pub(super) pipeline: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// A running host.
#[derive(Debug)]
pub(super) struct Host {
    address: SocketAddr,
    token: Option<Secret>,
}

#[expect(clippy::unnecessary_wraps, reason = "the form that clap asks for")]
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::from(text))
}

impl Target {
    /// The host that is meant. The file's own `[admin]` counts even where the rest of the file is wrong by now.
    pub(super) fn host(&self) -> Result<Host, Failure> {
        let admin = match (self.files.admin(), self.host) {
            (Ok(admin), _) => Some(admin),
            (Err(_), Some(_)) => None,
            (Err(failure), None) => return Err(failure),
        };
        let (listen, token) = admin.map_or((None, None), |admin| (Some(admin.listen), admin.token));
        let Some(address) = self.host.or(listen) else {
            return Err(Failure::Running("nobody says where the host is; name a file, or `--host`".to_owned()));
        };
        Ok(Host { address, token: self.token.clone().or(token) })
    }
}

impl Question {
    /// Asks for a reload, a rollback or a plan, and waits.
    pub(super) async fn ask(&self, path: &str, force: bool, doing: &str) -> Result<Answered, Failure> {
        let host = self.target.host()?;
        let asked = Asked { pipeline: self.pipeline.clone(), force };
        let body = serde_json::to_vec(&asked).map_err(|error| Failure::Running(error.to_string()))?;
        let progress = Progress::start(doing);
        let (status, answer) = host.send(Method::POST, path, body, RELOAD).await?;
        drop(progress);
        match status {
            StatusCode::OK | StatusCode::CONFLICT => host.read(&answer),
            // Some pipelines have stopped; what the others answered is told all the same.
            StatusCode::SERVICE_UNAVAILABLE => host.read(&answer).map_err(|_| host.refusal(status, &answer)),
            _ => Err(host.refusal(status, &answer)),
        }
    }
}

impl Host {
    /// Asks a question.
    pub(super) async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        self.send(Method::GET, path, Vec::new(), ANSWER).await
    }

    /// What the answer says.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Failure> {
        let failed =
            |error| Failure::Running(format!("{} answered something else than this version expects: {error}", self.name()));
        serde_json::from_slice(answer).map_err(failed)
    }

    /// The host's own reason.
    pub(super) fn refusal(&self, status: StatusCode, answer: &[u8]) -> Failure {
        let reason = serde_json::from_slice::<serde_json::Value>(answer).ok();
        let reason = reason.and_then(|value| value.get("error")?.as_str().map(clean));
        let reason = reason.unwrap_or_else(|| match status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                format!("{status}; is it another program, or an older version?")
            }
            _ => status.to_string(),
        });
        Failure::Running(format!("{} refuses: {reason}", self.name()))
    }

    fn name(&self) -> String {
        format!("the host at {}", self.address)
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>, limit: Duration) -> Result<(StatusCode, Bytes), Failure> {
        let unreachable = |cause: &str| {
            Failure::Running(format!(
                "no host answers at {}: {cause}; is it running, and is this its `[admin] listen`? `tidegate check` checks files alone",
                self.address
            ))
        };
        let stream = timeout(CONNECT, TcpStream::connect(reachable(self.address))).await;
        let stream = stream.map_err(|_| unreachable("the connection takes too long"))?;
        let stream = stream.map_err(|error| unreachable(&error.to_string()))?;
        let lost = |cause: &str| {
            Failure::Running(format!("{} gave no answer: {cause}; `tidegate status` says what it does now", self.name()))
        };
        let answered = timeout(limit, self.exchange(stream, method, path, body)).await;
        let answered = answered.map_err(|_| lost(&format!("it takes longer than {}", humantime::format_duration(limit))))?;
        answered.map_err(|error| lost(&error.to_string()))
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), BoxError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut tasks = Tasks::default();
        tasks.spawn("admin request", async move {
            // How the exchange went is told by its answer.
            drop(connection.await);
        });
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, reachable(self.address).to_string());
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose_str()));
        }
        let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?;
        Ok((status, answer.to_bytes()))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where a listener on every address can be reached from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

#[cfg(test)]
mod tests;
