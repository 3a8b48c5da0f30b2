//! The broker: reachable, every exchange and queue there with our arguments, somebody consuming.

use shared::amqp::{CONNECT_TIMEOUT, within};
use shared::topology::{self, JOBS_QUEUE, Ladder, Piece};

use super::finding::Finding;
use crate::config::Server;
use crate::error::CommandError;
use crate::servers::Broker;

pub(super) const MAKE_ANEW: &str =
    "Drain and delete it, then run `producer declare`; arguments cannot be changed in place.";
pub(super) const TOPOLOGY: &str = "broker.topology";

/// Whether somebody else must compare the arguments: this user has no right to declare, which is how the broker compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArgumentsUnknown(pub(super) bool);

pub(super) async fn check(
    server: &Server,
    ladder: &Ladder,
    by_management: bool,
    findings: &mut Vec<Finding>,
) -> ArgumentsUnknown {
    let broker = match Broker::connect(server).await {
        Ok(broker) => broker,
        Err(error) => {
            let advice = "Correct AMQP_URL, or start the broker.";
            findings.push(Finding::problem("broker.reachable", error.to_string(), advice));
            return ArgumentsUnknown(true);
        }
    };
    findings.push(Finding::ok("broker.reachable", "connected and authenticated"));
    let unknown = look(&broker, ladder, by_management, findings)
        .await
        .unwrap_or_else(|error| {
            findings.push(Finding::problem(
                TOPOLOGY,
                error.to_string(),
                "Read the error, and mend it.",
            ));
            ArgumentsUnknown(true)
        });
    broker.close().await;
    unknown
}

async fn look(
    broker: &Broker,
    ladder: &Ladder,
    by_management: bool,
    findings: &mut Vec<Finding>,
) -> Result<ArgumentsUnknown, CommandError> {
    let mut faults = Vec::new();
    let mut may_compare = true;
    for piece in topology::pieces(ladder) {
        faults.extend(compare(broker, &piece, &mut may_compare).await?);
    }
    if faults.is_empty() {
        faults.push(if may_compare {
            Finding::ok(TOPOLOGY, "every exchange and queue is there, with our arguments")
        } else if by_management {
            Finding::ok(TOPOLOGY, "every exchange and queue is there")
        } else {
            Finding::unknown(
                TOPOLOGY,
                "every exchange and queue is there; this user has no configure right, so arguments were not compared",
                "Set AMQP_MANAGEMENT_URL, or run the doctor once as the user who runs `producer declare`.",
            )
        });
    }
    findings.append(&mut faults);
    if let Some(consumers) = broker.consumers(JOBS_QUEUE).await? {
        findings.push(if consumers == 0 {
            let found = format!("nobody consumes `{JOBS_QUEUE}`");
            Finding::warning(
                "broker.consumers",
                found,
                "Start workers, or look why they do not consume (`/readyz`).",
            )
        } else {
            Finding::ok("broker.consumers", format!("`{JOBS_QUEUE}` has {consumers}"))
        });
    }
    Ok(ArgumentsUnknown(!may_compare))
}

/// Declares only what is there: with equal arguments that changes nothing, with others the broker says which differ.
async fn compare(broker: &Broker, piece: &Piece, may_compare: &mut bool) -> Result<Option<Finding>, CommandError> {
    if matches!(piece, Piece::Binding { .. }) {
        return Ok(None);
    }
    // Each on a channel of its own: the broker closes it with every no.
    let channel = broker.channel().await?;
    if !within(CONNECT_TIMEOUT, piece.exists(&channel)).await? {
        let found = format!("there is no {}", piece.name());
        return Ok(Some(Finding::problem(TOPOLOGY, found, "Run `producer declare`.")));
    }
    if !*may_compare {
        return Ok(None);
    }
    let channel = broker.channel().await?;
    let declared = within(CONNECT_TIMEOUT, async { Ok(piece.declare(&channel).await) }).await?;
    Ok(match declared {
        Ok(()) => None,
        Err(error) if topology::is_refused(&error) => {
            *may_compare = false;
            None
        }
        Err(error) => Some(Finding::problem(
            TOPOLOGY,
            format!("{} has other arguments: {error}", piece.name()),
            MAKE_ANEW,
        )),
    })
}
