//! Text to plan, with every problem at once.

mod plan;

pub use plan::*;
