//! What is promised, one noun a file.

mod embedded;
mod fixtures;
mod flow;
mod ground;
mod hostile;
mod postgres;
mod rabbitmq;
mod redis;
mod saboteur;
