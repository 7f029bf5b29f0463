//! One connection to the broker, bounded in time whatever the broker does, and cut when it is let go.

use std::fs;
use std::future::Future;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::tcp::{AsyncTcpStream, RustlsConnector, RustlsConnectorConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Settings, address, fault};
use crate::lifecycle;
use crate::source::StageError;

/// Longest wait for the broker's goodbye: what the broker needs to know has been said before.
const GOODBYE: Duration = Duration::from_secs(2);

/// A connection. Dropping it cuts it, and the broker takes back what was not acknowledged.
pub(super) struct Link {
    cutter: Cutter,
    connection: Connection,
    timeout: Duration,
}

/// A second handle on the connection's socket. The client library has a thread a connection that waits for as long as the socket
/// lives: a broker that accepts and never answers would leave one behind with each attempt.
struct Cutter {
    socket: TcpStream,
    /// The client library notices only after a while.
    is_cut: AtomicBool,
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Cutter {
    fn new(socket: TcpStream) -> Self {
        Self { socket, is_cut: AtomicBool::new(false) }
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        if let Err(error) = self.socket.shutdown(Shutdown::Both) {
            tracing::trace!(%error, "the connection was cut by the other side before");
        }
    }
}

impl Link {
    /// Connects, within the settings' timeout. `name` is what the broker shows the connection as.
    pub(super) async fn open(settings: &Settings, name: &str) -> Result<Self, StageError> {
        let uri = address::parse(settings.uri.expose_str())
            .map_err(|problem| fault::for_the_operator("uri", format!("uri {problem}")))?;
        let doing = format!("connecting to {}:{}", uri.authority.host, uri.authority.port);
        // What is half open when the time is up is cut with the future.
        let opened = tokio::time::timeout(settings.timeout, shake_hands(settings, uri, name, &doing)).await;
        opened.unwrap_or_else(|_| Err(fault::silent(&doing, settings.timeout)))
    }

    /// Whether nothing is known to be wrong with the connection.
    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected() && !self.cutter.is_cut.load(Ordering::Relaxed)
    }

    /// Whether the broker has stopped reading from this connection, because its memory or its disk runs out.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Longest wait for an answer.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A new channel.
    pub(super) async fn channel(&self) -> Result<Channel, StageError> {
        self.answer("opening a channel", self.connection.create_channel()).await
    }

    /// Waits for an answer of the broker, within the settings' timeout.
    pub(super) async fn answer<T>(&self, doing: &str, asked: impl Future<Output = lapin::Result<T>>) -> Result<T, StageError> {
        answer(self.timeout, doing, asked).await
    }

    /// Ends the connection at once, for everybody who uses it.
    pub(super) fn cut(&self) {
        self.cutter.cut();
    }

    /// Takes leave of the broker, who has by then taken back what was not acknowledged.
    pub(super) async fn close(self) {
        if !self.is_up() {
            return;
        }
        // Closing has been seen to hang in the client library: what does not close in time is cut by the drop.
        match tokio::time::timeout(GOODBYE, self.connection.close(200, "done".into())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the connection ended before the goodbye"),
            Err(_) => tracing::debug!("the broker did not say goodbye in time"),
        }
    }
}

/// Waits for an answer of the broker.
pub(super) async fn answer<T>(
    limit: Duration,
    doing: &str,
    asked: impl Future<Output = lapin::Result<T>>,
) -> Result<T, StageError> {
    match tokio::time::timeout(limit, asked).await {
        Ok(answered) => answered.map_err(|error| fault::of(doing, &error)),
        Err(_) => Err(fault::silent(doing, limit)),
    }
}

/// TCP and TLS are done before the client library is asked, which keeps something of each attempt that fails in its hands.
async fn shake_hands(settings: &Settings, mut uri: AMQPUri, name: &str, doing: &str) -> Result<Link, StageError> {
    let of_io = |error: io::Error| fault::of_io(doing, &error);
    let of = |error: lapin::Error| fault::of(doing, &error);
    uri.query.heartbeat = Some(u16::try_from(settings.heartbeat.as_secs().max(1)).unwrap_or(u16::MAX));

    let runtime = lapin::runtime::default_runtime().map_err(of)?;
    let host = (uri.authority.host.clone(), uri.authority.port);
    let mut stream = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs(host)).await.map_err(of_io)?;
    let AsyncTcpStream::Plain(plain) = &stream else {
        return Err(fault::new("client", format!("{doing}: not a plain connection")));
    };
    let cutter = Cutter::new(plain.get_ref().as_fd().try_clone_to_owned().map_err(of_io)?.into());
    if uri.scheme == AMQPScheme::AMQPS {
        let connector = connector(settings).await?;
        stream = stream.into_rustls(&connector, &uri.authority.host).await.map_err(of_io)?;
    }

    let stream = Mutex::new(Some(stream));
    let hand_over = async move |_, _| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted).into())
    };
    let connection = Connection::connector(uri, runtime, hand_over, properties(name)).await.map_err(of)?;
    Ok(Link { cutter, connection, timeout: settings.timeout })
}

fn properties(name: &str) -> ConnectionProperties {
    ConnectionProperties::default()
        .with_connection_name(name.into())
        .with_client_property("product".into(), "tidegate".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
}

/// What verifies the broker's certificate. Made for each connection, so that renewed authorities are noticed.
async fn connector(settings: &Settings) -> Result<RustlsConnector, StageError> {
    let ca_file = settings.ca_file.clone();
    let made = lifecycle::blocking(move || {
        let trusted = match &ca_file {
            Some(path) => RustlsConnectorConfig::default().with_parsable_certificates(authorities(&fs::read(path)?)?),
            None => RustlsConnectorConfig::new_with_native_certs()?,
        };
        trusted.connector_with_no_client_auth()
    });
    let doing = || match &settings.ca_file {
        Some(path) => format!("reading the certificate authorities of {}", path.display()),
        None => "reading the system's certificate authorities".to_owned(),
    };
    match made.await {
        Ok(made) => made.map_err(|error: io::Error| fault::for_the_operator("tls", format!("{}: {error}", doing()))),
        Err(_) => Err(fault::new("tls", format!("{}: the work was interrupted", doing()))),
    }
}

fn authorities(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| io::Error::other(error.to_string()))?;
    if certificates.is_empty() {
        return Err(io::Error::other("there is no certificate in it"));
    }
    Ok(certificates)
}
