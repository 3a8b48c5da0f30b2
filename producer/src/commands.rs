//! The commands: a file or a folder for each. They do not import each other; what they share is
//! beside this folder.

pub mod console;
pub mod dashboards;
pub mod dead_letters;
pub mod declare;
pub mod doctor;
pub mod enqueue;
pub mod integrations;
pub mod migrate;
pub mod projects;
pub mod replay;
pub mod schedule;
pub mod status;
pub mod verify;
