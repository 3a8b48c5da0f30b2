//! The line: from a delivery to its settlement.

pub mod consumer;
pub mod ending;
pub mod error;
pub mod export;
pub mod gate;
pub mod lease;
pub mod pause;
pub mod settle;
pub mod settlement;
pub mod stop;
pub mod stream;
pub mod together;
