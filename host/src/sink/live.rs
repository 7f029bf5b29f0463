//! A live view as a sink: server-sent events for whoever looks.

use std::net::SocketAddr;

/// Settings of `[sinks.NAME.live]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address to listen on. Default: `127.0.0.1:9620`.
    pub listen: SocketAddr,
    /// How many of the newest messages a viewer who comes late still sees, 0 to 100000. Default: 100.
    pub replay: usize,
}
