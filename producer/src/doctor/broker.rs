//! Checks the broker: can it be reached, does every exchange and queue exist with our arguments,
//! does anybody consume?

use shared::amqp::{CONNECT_TIMEOUT, in_words, within};
use shared::ladder::Ladder;
use shared::topology::{self, DEAD_LETTER_QUEUE, JOBS_QUEUE, Piece};

use super::check::Check;
use super::finding::{Checked, Finding};
use crate::config::Server;
use crate::error::CommandError;
use crate::output::{agree, count};
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
    let mut absent = Vec::new();
    let mut arguments = QueueArguments::Compared;
    let pieces = topology::pieces(ladder);
    let declared = pieces.iter().filter(|piece| !matches!(piece, Piece::Binding { .. }));
    let number = declared.clone().count();
    for piece in declared {
        match compare(broker, piece, &mut arguments).await? {
            Compared::Absent => absent.push(piece.name()),
            Compared::Differs(finding) => faults.push(finding),
            Compared::Alike => {}
        }
    }
    faults.extend(missing(&absent, number));
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
    if let Some(letters) = broker.depth(DEAD_LETTER_QUEUE).await? {
        findings.push(dead_letters(letters));
    }
    if let Some(consumers) = broker.consumers(JOBS_QUEUE).await? {
        findings.push(if consumers == 0 {
            let found = format!("nobody consumes `{JOBS_QUEUE}`: no worker is ready");
            Finding::warning(
                Check::BrokerConsumers,
                found,
                "Start a worker. If one runs, its `/readyz` says why it does not consume.",
            )
        } else {
            let found = format!("`{JOBS_QUEUE}` has {}", count(consumers, "consumer"));
            Finding::ok(Check::BrokerConsumers, found)
        });
    }
    Ok(arguments)
}

/// One finding for all that is absent. PURE.
fn missing(absent: &[String], all: usize) -> Option<Finding> {
    let found = match absent.len() {
        0 => return None,
        number if number == all => "no exchange and no queue of ours is declared".to_owned(),
        _ => format!("there is no {}", absent.join(", no ")),
    };
    Some(Finding::problem(
        Check::BrokerTopology,
        found,
        "Run `producer declare`.",
    ))
}

/// PURE.
fn dead_letters(letters: u32) -> Finding {
    const CHECK: Check = Check::BrokerDeadLetters;
    if letters == 0 {
        return Finding::ok(CHECK, "no dead letter waits");
    }
    let wait = agree(letters, "waits", "wait");
    let found = format!("{} {wait} for a person", count(letters, "dead letter"));
    Finding::warning(
        CHECK,
        found,
        "`producer dead-letters list` says why, and what to do about each.",
    )
}

/// What a comparison with the broker's queue or exchange says.
enum Compared {
    Alike,
    Absent,
    Differs(Finding),
}

/// Declares a queue or exchange that exists. With our arguments that changes nothing; with others
/// the broker's error says which differ.
async fn compare(broker: &Broker, piece: &Piece, arguments: &mut QueueArguments) -> Result<Compared, CommandError> {
    // The broker closes a channel with each error, so each request has its own.
    let channel = broker.channel().await?;
    if !within(CONNECT_TIMEOUT, piece.exists(&channel)).await? {
        return Ok(Compared::Absent);
    }
    if *arguments == QueueArguments::NotCompared {
        return Ok(Compared::Alike);
    }
    let channel = broker.channel().await?;
    let declared = within(CONNECT_TIMEOUT, async { Ok(piece.declare(&channel).await) }).await?;
    Ok(match declared {
        Ok(()) => Compared::Alike,
        Err(error) if topology::is_refused(&error) => {
            *arguments = QueueArguments::NotCompared;
            Compared::Alike
        }
        Err(error) => Compared::Differs(Finding::problem(
            Check::BrokerTopology,
            format!("{} has other arguments: {}", piece.name(), in_words(&error)),
            MAKE_ANEW,
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_one_finding() {
        let names = |number: usize| (0..number).map(|n| format!("queue `{n}`")).collect::<Vec<_>>();
        assert!(missing(&[], 24).is_none());
        let some = missing(&names(2), 24).unwrap();
        assert_eq!(some.found, "there is no queue `0`, no queue `1`");
        let all = missing(&names(24), 24).unwrap();
        assert!(all.found.len() < 60, "{}", all.found);
    }

    #[test]
    fn dead_letters_are_counted() {
        assert_eq!(dead_letters(1).found, "1 dead letter waits for a person");
        assert_eq!(dead_letters(3).found, "3 dead letters wait for a person");
    }
}
