//! A Redis of one's own: on a free port of the loopback interface, without snapshots, its data in a scratch folder (append-only, so
//! that a restart keeps them).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::programs::{Server, ensure};
use crate::scratch::Scratch;
use crate::service::{Recipe, Service, free_port};

/// The server. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Redis {
    /// Its process: stop it, kill it, pause it.
    pub service: Service,
    port: u16,
}

impl Redis {
    /// Starts one, which may lose what it was given in the last two seconds before it is killed.
    ///
    /// # Errors
    /// Fails when Redis is not installed, or does not come up.
    pub fn start() -> Result<Self> {
        Self::start_syncing("everysec")
    }

    /// Starts one that answers once what it was given is in its file.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_durable() -> Result<Self> {
        Self::start_syncing("always")
    }

    fn start_syncing(when: &'static str) -> Result<Self> {
        ensure(&[Server::Redis])?;
        let (program, scratch, port) = (Server::Redis.folder()?.join("redis-server"), Scratch::new("redis")?, free_port()?);
        let folder = scratch.path().to_owned();
        let command = move || {
            let mut command = Command::new(&program);
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
            command.args(["--appendfsync", when]);
            command.arg("--dir").arg(&folder);
            command
        };
        let recipe = Recipe {
            name: "redis",
            command: Box::new(command),
            stop_signal: "TERM",
            is_ready: Box::new(move || answers(port).unwrap_or(false)),
        };
        let mut service = Service::new(scratch, recipe);
        service.start()?;
        Ok(Self { service, port })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

fn answers(port: u16) -> std::io::Result<bool> {
    let timeout = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG")
}
