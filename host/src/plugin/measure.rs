//! What a step costs: time in the sandbox as the running host has it, instructions, bytes that cross the boundary, memory.
//!
//! A [`Work`] is a step with samples, ready to be given again and again. Time is taken on an ordinary engine; instructions are counted on an
//! [`Engine::counting`](super::Engine::counting), where the same work gives the same number however busy the machine is.

mod gauge;
mod tally;
mod time;
mod work;

pub use gauge::{Gauge, Traffic};
pub use tally::{Outcome, Tally};
pub use time::{Spread, nanoseconds};
pub use work::{Call, Work};
