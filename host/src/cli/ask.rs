//! Asking a running host over its admin HTTP.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Failure;
use super::load::Files;
use crate::admin::{Answered, Asked};
use crate::lifecycle::Tasks;
use crate::secret::Secret;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for an answer to a question.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest wait for a reload: a plugin that is not in the cache is compiled first, and a stage may drain.
const RELOAD: Duration = Duration::from_secs(600);

/// Whom to ask.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    #[command(flatten)]
    pub(super) files: Files,
    /// Asks the host at this address. Default: `[admin] listen` of the first file.
    #[arg(long, value_name = "IP:PORT")]
    pub(super) host: Option<SocketAddr>,
    /// Asks for this pipeline only. Default: every one of the host.
    #[arg(long, value_name = "NAME")]
    pub(super) pipeline: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// A running host.
pub(super) struct Host {
    address: SocketAddr,
    token: Option<Secret>,
}

impl Target {
    /// The host that is meant. The file's own `[admin]` counts even where the rest of the file is wrong by now.
    pub(super) fn host(&self) -> Result<Host, Failure> {
        let admin = self.files.admin()?;
        Ok(Host { address: self.host.unwrap_or(admin.listen), token: admin.token })
    }

    /// Asks for a reload, a rollback or a plan.
    pub(super) async fn ask(&self, path: &str, force: bool) -> Result<Answered, Failure> {
        let host = self.host()?;
        let asked = Asked { pipeline: self.pipeline.clone(), force };
        let body = serde_json::to_vec(&asked).map_err(|error| Failure::Running(error.to_string()))?;
        let (status, answer) = host.send(Method::POST, path, body, RELOAD).await?;
        match status {
            StatusCode::OK | StatusCode::CONFLICT => host.read(&answer),
            _ => Err(host.refused(status, &answer)),
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
        let failed = |error| Failure::Running(format!("the host at {} answered something else: {error}", self.address));
        serde_json::from_slice(answer).map_err(failed)
    }

    /// The host's own reason.
    pub(super) fn refused(&self, status: StatusCode, answer: &[u8]) -> Failure {
        let reason = serde_json::from_slice::<serde_json::Value>(answer).ok();
        let reason = reason.and_then(|value| value.get("error")?.as_str().map(str::to_owned));
        let reason = reason.unwrap_or_else(|| status.to_string());
        Failure::Running(format!("the host at {} refuses: {reason}", self.address))
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>, limit: Duration) -> Result<(StatusCode, Bytes), Failure> {
        let failed = |cause: String| {
            Failure::Running(format!(
                "no answer from a host at {}: {cause}; is it running, and is this its `[admin] listen`? `tidegate check` checks files alone",
                self.address
            ))
        };
        let stream = timeout(CONNECT, TcpStream::connect(reachable(self.address))).await;
        let stream = stream.map_err(|_| failed("the connection takes too long".to_owned()))?;
        let stream = stream.map_err(|error| failed(error.to_string()))?;
        let exchange = self.exchange(stream, method, path, body);
        let answered = timeout(limit, exchange).await.map_err(|_| failed(format!("it takes longer than {limit:?}")))?;
        answered.map_err(|error| failed(error.to_string()))
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
        Ok((status, response.into_body().collect().await?.to_bytes()))
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
