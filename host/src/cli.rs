//! What a person types.

pub mod import;
