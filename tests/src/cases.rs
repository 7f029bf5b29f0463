//! What is promised, one noun a file.

mod ground;
mod postgres;
mod redis;
