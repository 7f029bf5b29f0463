//! The whole, against real servers: each test is a sentence about what an operator or a neighbour would see.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

/// The servers, and databases of one's own on them.
mod servers;

/// Names that nobody else uses.
mod names;

/// A queue of one's own, what is put into it and what lies there.
mod broker;

/// What arrived at Redis and PostgreSQL.
mod store;

/// The host under a pipeline of the shipped shape.
mod host;

/// A rig whose files are changed while it runs.
mod trial;

/// What is promised.
mod cases;
