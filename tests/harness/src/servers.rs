//! All three servers: those that the environment names, and one's own for the others.

use std::env;
use std::thread;

use crate::Result;
use crate::postgres::{Durability, Postgres};
use crate::programs::{Server, ensure, say};
use crate::rabbitmq::RabbitMq;
use crate::redis::Redis;

/// A server: somebody else's by its address, or one's own.
#[derive(Debug)]
pub enum Either<T> {
    /// Named by the environment. Nothing is done to it beyond names of one's own.
    Given(String),
    /// Started here; ends when this is dropped.
    Own(T),
}

impl<T> Either<T> {
    /// The server, where it is one's own.
    #[must_use]
    pub fn own(&self) -> Option<&T> {
        match self {
            Self::Given(_) => None,
            Self::Own(server) => Some(server),
        }
    }
}

/// The three servers that a pipeline meets.
#[derive(Debug)]
pub struct Servers {
    /// `AMQP_URL`, or one's own.
    pub rabbitmq: Either<RabbitMq>,
    /// `REDIS_URL`, or one's own.
    pub redis: Either<Redis>,
    /// `DATABASE_URL`, or one's own.
    pub postgres: Either<Postgres>,
}

impl Servers {
    /// Finds the servers, starts those that the environment does not name, and installs them before where they are missing.
    ///
    /// # Errors
    /// Fails, saying what to install or which variable to set.
    pub fn start(durability: Durability) -> Result<Self> {
        let own: Vec<Server> =
            [Server::RabbitMq, Server::Redis, Server::Postgres].into_iter().filter(|server| given(*server).is_none()).collect();
        ensure(&own)?;
        if !own.is_empty() {
            say(&format!("starting {own:?}"));
        }
        thread::scope(|scope| {
            let rabbitmq = scope.spawn(|| either(Server::RabbitMq, RabbitMq::start));
            let redis = scope.spawn(|| either(Server::Redis, Redis::start));
            let postgres = either(Server::Postgres, || Postgres::start(durability));
            let panicked = "starting a server does not panic";
            Ok(Self { rabbitmq: rabbitmq.join().expect(panicked)?, redis: redis.join().expect(panicked)?, postgres: postgres? })
        })
    }

    /// The variables that name them, for another process.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            (Server::RabbitMq.variable(), self.amqp_url()),
            (Server::Redis.variable(), self.redis_url()),
            (Server::Postgres.variable(), self.database_url()),
        ]
    }

    /// Address of the broker.
    #[must_use]
    pub fn amqp_url(&self) -> String {
        match &self.rabbitmq {
            Either::Given(url) => url.clone(),
            Either::Own(server) => server.url(),
        }
    }

    /// Address of Redis.
    #[must_use]
    pub fn redis_url(&self) -> String {
        match &self.redis {
            Either::Given(url) => url.clone(),
            Either::Own(server) => server.url(),
        }
    }

    /// Address of a database that databases may be made from.
    #[must_use]
    pub fn database_url(&self) -> String {
        match &self.postgres {
            Either::Given(url) => url.clone(),
            Either::Own(server) => server.url(),
        }
    }
}

fn given(server: Server) -> Option<String> {
    env::var(server.variable()).ok().filter(|url| !url.is_empty())
}

fn either<T>(server: Server, start: impl FnOnce() -> Result<T>) -> Result<Either<T>> {
    match given(server) {
        Some(url) => Ok(Either::Given(url)),
        None => start().map(Either::Own),
    }
}
