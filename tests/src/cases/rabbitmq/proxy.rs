//! A wire to the broker that can be cut, or go silent.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate::lifecycle::{Stop, Tasks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};

use crate::servers::amqp_url;

pub(super) struct Proxy {
    address: SocketAddr,
    silent: Arc<watch::Sender<bool>>,
    cut: Arc<Mutex<Stop>>,
    _tasks: Tasks,
}

impl Proxy {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (silent, cut) = (Arc::new(watch::Sender::new(false)), Arc::new(Mutex::new(Stop::new())));
        let (for_all, until) = (Arc::clone(&silent), Arc::clone(&cut));
        let mut tasks = Tasks::default();
        tasks.spawn("proxy", async move {
            let mut wires = Tasks::default();
            while let Ok((near, _)) = listener.accept().await {
                let (silent, cut) = (for_all.subscribe(), until.lock().await.clone());
                wires.spawn("wire", async move { cut.run_until_cancelled(join(near, silent)).await.unwrap_or_default() });
            }
        });
        Self { address, silent, cut, _tasks: tasks }
    }

    /// The broker's address by this wire.
    pub(super) fn url(&self) -> String {
        let url = amqp_url();
        let host = host();
        url.replacen(&host, &self.address.to_string(), 1)
    }

    /// Connections stay open, and nothing goes through.
    pub(super) fn fall_silent(&self) {
        self.silent.send_replace(true);
    }

    /// What comes goes through again.
    pub(super) fn speak(&self) {
        self.silent.send_replace(false);
    }

    /// Ends every connection there is.
    pub(super) async fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().await).cancel();
    }
}

fn host() -> String {
    let url = amqp_url();
    let rest = url.split_once("://").unwrap().1;
    let authority = rest.split('/').next().unwrap();
    authority.rsplit('@').next().unwrap().to_owned()
}

async fn join(near: TcpStream, silent: watch::Receiver<bool>) {
    let Ok(far) = TcpStream::connect(host()).await else { return };
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass(near_read, far_write, silent.clone()) => {}
        () = pass(far_read, near_write, silent) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut silent: watch::Receiver<bool>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count) = from.read(&mut bytes).await {
        if count == 0 || silent.wait_for(|silent| !silent).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
