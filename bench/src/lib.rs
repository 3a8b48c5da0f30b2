//! `cargo bench-export`: the worker, its peer and the database's own limit, side by side.
//!
//! [`run`] sets everything up and measures; [`contestants`] are what is measured; [`verify`] is why
//! a number can be believed. [`fleet`] is the part with many small projects, [`console`] that with the
//! console's pages. [`sample`], [`targets`], [`table`] and [`report`] are PURE: measurements in, tables
//! out; [`plot`] draws pictures of a file that was kept.

pub mod arguments;
pub mod console;
pub mod contestants;
pub mod database;
pub mod fleet;
pub mod fresh;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod plot;
pub mod receiver;
pub mod report;
pub mod run;
pub mod sample;
pub mod table;
pub mod targets;
pub mod verify;
