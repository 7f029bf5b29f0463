//! What is promised, one noun a file.

mod bench;
mod commands;
mod dlq;
mod docker;
mod embedded;
mod fixtures;
mod flow;
mod ground;
mod hostile;
mod lanes;
mod postgres;
mod rabbitmq;
mod redis;
mod replicas;
mod saboteur;
mod swap;
mod windows;
