//! The sentences in logs that tests wait for. They are not about a job's end, so there is no
//! `outcome` to wait for.
//!
//! Each is a part of a message in the product's source, and a test holds that it is still there.
//! When somebody rewords a message, that test fails at once, instead of the fault suite after
//! minutes.

/// A worker has the health endpoints up.
pub const SERVING: &str = "serving /livez";
/// A worker has a session with the broker.
pub const CONSUMING: &str = "consuming";
/// A worker's session with the broker is over; it begins another one.
pub const SESSION_ENDED: &str = "the session with RabbitMQ ended";
/// The broker takes no messages from this connection.
pub const PUBLISHING_BLOCKED: &str = "RabbitMQ blocks publishing";
/// The broker's port speaks no TLS.
pub const NO_TLS: &str = "no TLS";
/// The ledger's schema is missing or too old.
pub const LEDGER_TOO_OLD: &str = "run `producer migrate`";
/// A run was taken over from a worker whose lease had run out.
pub const TAKEN_OVER: &str = "taken over: the lease";
/// The ledger could not record a failure.
pub const LEDGER_NOT_TOLD: &str = "the ledger was not told";
/// A worker was asked to stop.
pub const STOPPING: &str = "stopping: no new delivery";
/// The broker went away while a worker stopped.
pub const LOST_WHILE_STOPPING: &str = "RabbitMQ was lost while stopping";
/// A worker waits for a ledger that it may write to.
pub const READ_ONLY: &str = "the ledger takes no writes";
/// `producer schedule` is at work, and waits.
pub const NEXT_ENQUEUE: &str = "waiting for the next enqueue";
/// `producer schedule` waits for another one to end.
pub const STANDING_BY: &str = "standing by";
/// An enqueue of `producer schedule` failed.
pub const ENQUEUE_FAILED: &str = "the enqueue failed; trying again";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The text of every source file below.
    fn source(directory: &Path) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                text += &source(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &std::fs::read_to_string(path).unwrap();
            }
        }
        text
    }

    #[test]
    fn every_line_is_one_that_a_program_writes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let product: String = ["shared", "worker", "producer"]
            .iter()
            .map(|name| source(&root.join(name).join("src")))
            .collect();
        // A literal that goes on in the next line is one text.
        let mut lines = product.split("\\\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let product = lines.fold(first, |text, line| text + line.trim_start());
        for line in [
            SERVING,
            CONSUMING,
            SESSION_ENDED,
            PUBLISHING_BLOCKED,
            NO_TLS,
            LEDGER_TOO_OLD,
            TAKEN_OVER,
            LEDGER_NOT_TOLD,
            STOPPING,
            LOST_WHILE_STOPPING,
            NEXT_ENQUEUE,
            STANDING_BY,
            ENQUEUE_FAILED,
        ] {
            assert!(
                product.contains(line),
                "no program writes {line:?}; look for what it says now"
            );
        }
    }
}
