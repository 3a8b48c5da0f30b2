//! Checks the broker: can it be reached, does every exchange and queue exist with our arguments,
//! does anybody consume?

use shared::amqp::{CONNECT_TIMEOUT, within};
use shared::ladder::Ladder;
use shared::topology::{self, JOBS_QUEUE, Piece};

use super::check::Check;
use super::finding::{Checked, Finding};
use crate::config::Server;
use crate::error::CommandError;
use crate::servers::Broker;

pub(super) const MAKE_ANEW: &str =
    "Drain and delete it, then run `producer declare`; arguments cannot be changed in place.";

/// Whether the arguments of the queues have been compared with ours. The broker compares them when
/// a queue is declared. A user without the right to declare cannot have them compared that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueArguments {
    Compared,
    NotCompared,
}

/// The handle says whether the management API must compare the arguments of the queues.
pub(super) async fn check(server: &Server, ladder: &Ladder, has_management: bool) -> Checked<QueueArguments> {
    let broker = match Broker::connect(server).await {
        Ok(broker) => broker,
        Err(error) => {
            let advice = "Correct AMQP_URL, or start the broker.";
            return Checked {
                handle: QueueArguments::NotCompared,
                findings: vec![Finding::problem(Check::BrokerReachable, error.to_string(), advice)],
            };
        }
    };
    let mut findings = vec![Finding::ok(Check::BrokerReachable, "connected and authenticated")];
    let looked = look(&broker, ladder, has_management, &mut findings).await;
    let arguments = looked.unwrap_or_else(|error| {
        findings.push(Finding::error(Check::BrokerTopology, &error));
        QueueArguments::NotCompared
    });
    broker.close().await;
    Checked {
        handle: arguments,
        findings,
    }
}

async fn look(
    broker: &Broker,
    ladder: &Ladder,
    has_management: bool,
    findings: &mut Vec<Finding>,
) -> Result<QueueArguments, CommandError> {
    let mut faults = Vec::new();
    let mut arguments = QueueArguments::Compared;
    for piece in topology::pieces(ladder) {
        faults.extend(compare(broker, &piece, &mut arguments).await?);
    }
    if faults.is_empty() {
        faults.push(if arguments == QueueArguments::Compared {
            Finding::ok(
                Check::BrokerTopology,
                "every exchange and queue is there, with our arguments",
            )
        } else if has_management {
            Finding::ok(Check::BrokerTopology, "every exchange and queue is there")
        } else {
            Finding::unknown(
                Check::BrokerTopology,
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
                Check::BrokerConsumers,
                found,
                "Start workers, or look why they do not consume (`/readyz`).",
            )
        } else {
            Finding::ok(Check::BrokerConsumers, format!("`{JOBS_QUEUE}` has {consumers}"))
        });
    }
    Ok(arguments)
}

/// Declares a queue or exchange that exists. With our arguments that changes nothing; with others
/// the broker's error says which differ.
async fn compare(
    broker: &Broker,
    piece: &Piece,
    arguments: &mut QueueArguments,
) -> Result<Option<Finding>, CommandError> {
    if matches!(piece, Piece::Binding { .. }) {
        return Ok(None);
    }
    // The broker closes a channel with each error, so each request has its own.
    let channel = broker.channel().await?;
    if !within(CONNECT_TIMEOUT, piece.exists(&channel)).await? {
        let found = format!("there is no {}", piece.name());
        return Ok(Some(Finding::problem(
            Check::BrokerTopology,
            found,
            "Run `producer declare`.",
        )));
    }
    if *arguments == QueueArguments::NotCompared {
        return Ok(None);
    }
    let channel = broker.channel().await?;
    let declared = within(CONNECT_TIMEOUT, async { Ok(piece.declare(&channel).await) }).await?;
    Ok(match declared {
        Ok(()) => None,
        Err(error) if topology::is_refused(&error) => {
            *arguments = QueueArguments::NotCompared;
            None
        }
        Err(error) => Some(Finding::problem(
            Check::BrokerTopology,
            format!("{} has other arguments: {error}", piece.name()),
            MAKE_ANEW,
        )),
    })
}
