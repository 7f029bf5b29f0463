//! A RabbitMQ of one's own: a node with its own name, ports, cookie and port mapper, so that it meets no other node on the machine.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::failure::While;
use crate::programs::{Server, ensure};
use crate::scratch::Scratch;
use crate::service::{Recipe, Service, free_port};
use crate::{Failure, Result};

/// The server. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct RabbitMq {
    /// Its process: stop it, kill it, pause it.
    pub service: Service,
    node: Node,
    /// Erlang's port mapper. The node would start one that outlives it.
    _mapper: Service,
}

#[derive(Clone, Debug)]
struct Node {
    programs: PathBuf,
    folder: PathBuf,
    name: String,
    port: u16,
    distribution_port: u16,
    mapper_port: u16,
}

impl RabbitMq {
    /// Starts one. It takes several seconds.
    ///
    /// # Errors
    /// Fails when RabbitMQ is not installed, or does not come up.
    pub fn start() -> Result<Self> {
        ensure(&[Server::RabbitMq])?;
        let scratch = Scratch::new("rabbitmq")?;
        let node = Node::new(Server::RabbitMq.folder()?, scratch.path())?;
        let mapper = node.start_mapper()?;
        let (program, server, port) = (node.programs.join("rabbitmq-server"), node.clone(), node.port);
        let recipe = Recipe {
            name: "rabbitmq",
            command: Box::new(move || server.environment(Command::new(&program))),
            stop_signal: "TERM",
            is_ready: Box::new(move || greets(port).unwrap_or(false)),
        };
        let mut service = Service::new(scratch, recipe);
        service.start()?;
        Ok(Self { service, node, _mapper: mapper })
    }

    /// Its address, virtual host `/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.node.port)
    }

    /// Runs `rabbitmqctl` (about a second) and gives what it prints.
    ///
    /// # Errors
    /// Fails when it does.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.node.environment(Command::new(self.node.programs.join("rabbitmqctl")));
        let output = command.arg("-q").args(arguments).output().doing("starting rabbitmqctl")?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(Failure::new(format!("rabbitmqctl {} ended with {}: {out}{err}", arguments.join(" "), output.status)))
    }

    /// How many messages of a queue are ready, and how many are out with consumers and not acknowledged. Of a quorum queue these numbers
    /// may be some seconds old.
    ///
    /// # Errors
    /// Fails when there is no such queue, or `rabbitmqctl` fails.
    pub fn depth(&self, queue: &str) -> Result<(u64, u64)> {
        let table = self.ctl(&["--no-table-headers", "list_queues", "name", "messages_ready", "messages_unacknowledged"])?;
        let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| row.first() == Some(&queue));
        let number = |index: usize| row.as_ref().and_then(|row| row.get(index)?.parse().ok());
        number(1).zip(number(2)).ok_or_else(|| Failure::new(format!("rabbitmqctl lists no queue `{queue}`:\n{table}")))
    }

    /// Closes every client's connection, as an operator can.
    ///
    /// # Errors
    /// Fails when `rabbitmqctl` does.
    pub fn close_connections(&self) -> Result<()> {
        self.ctl(&["close_all_connections", "closed by a test"]).map(drop)
    }
}

impl Node {
    fn new(programs: PathBuf, folder: &Path) -> Result<Self> {
        let (port, distribution_port, mapper_port) = (free_port()?, free_port()?, free_port()?);
        let node = Self {
            programs,
            folder: folder.to_owned(),
            name: format!("tidegate-{port}@localhost"),
            port,
            distribution_port,
            mapper_port,
        };
        let settings = format!(
            "listeners.tcp.default = 127.0.0.1:{port}\nloopback_users = none\nlog.console = true\nlog.console.level = warning\nlog.file = false\n\
             disk_free_limit.absolute = 50MB\n"
        );
        fs::write(folder.join("rabbitmq.conf"), settings).doing("writing rabbitmq.conf")?;
        fs::write(folder.join("enabled_plugins"), "[].\n").doing("writing enabled_plugins")?;
        Ok(node)
    }

    fn environment(&self, mut command: Command) -> Command {
        let folder = &self.folder;
        command.current_dir(folder).env("HOME", folder).env("ERL_EPMD_PORT", self.mapper_port.to_string());
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("RABBITMQ_NODENAME", &self.name);
        command.env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1").env("RABBITMQ_NODE_PORT", self.port.to_string());
        command.env("RABBITMQ_DIST_PORT", self.distribution_port.to_string());
        command.env("RABBITMQ_CONF_ENV_FILE", folder.join("none.conf")).env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"));
        command.env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins")).env("RABBITMQ_PID_FILE", folder.join("pid"));
        command.env("RABBITMQ_MNESIA_BASE", folder.join("mnesia")).env("RABBITMQ_LOG_BASE", folder.join("logs"));
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        command
    }

    fn start_mapper(&self) -> Result<Service> {
        let port = self.mapper_port;
        let command = move || {
            let mut command = Command::new("epmd");
            command.args(["-port", &port.to_string()]).env("ERL_EPMD_ADDRESS", "127.0.0.1");
            command
        };
        let is_ready = move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        let recipe = Recipe { name: "epmd", command: Box::new(command), stop_signal: "TERM", is_ready: Box::new(is_ready) };
        let mut mapper = Service::new(Scratch::new("epmd")?, recipe);
        mapper.start()?;
        Ok(mapper)
    }
}

/// Whether the broker opens the conversation: it answers the protocol header with a method frame.
fn greets(port: u16) -> std::io::Result<bool> {
    let timeout = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    Ok(first == [1])
}
