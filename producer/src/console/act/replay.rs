//! Exports days of a project again. The preview says which days hold data and about how many events
//! they are; its form carries these days, and the deed sends no others.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use shared::job::{Day, Stream};

use super::confirm::confirm;
use super::form::Form;
use super::outcome::Outcome;
use super::preview::{self, Asked, LARGEST};
use super::project::{Now, Shown, unreadable};
use super::{Order, perform};
use crate::console::address::Prefix;
use crate::console::app::App;
use crate::console::operator::Operator;
use crate::error::CommandError;
use crate::output::count;
use crate::replays;

pub(super) fn routes(prefix: &Prefix) -> Router<Arc<App>> {
    Router::new()
        .route(&prefix.path("/projects/{id}/replay/preview"), post(show))
        .route(&prefix.path("/projects/{id}/replay"), post(replay))
}

/// The kinds of events that were chosen. None: those of EVENTS.
fn events(form: &Form) -> Result<Vec<Stream>, CommandError> {
    let words = form.chosen("events").into_iter();
    words.map(|word| word.parse().map_err(CommandError::Refused)).collect()
}

fn day(form: &Form, field: &str) -> Result<Day, CommandError> {
    let typed = form.typed(field).unwrap_or_default();
    let refused = |_| CommandError::refused(format!("`{field}` is no day; write it like 2024-06-01"));
    typed.parse().map_err(refused)
}

async fn show(State(app): State<Arc<App>>, Path(piece): Path<String>, form: Form) -> Response {
    let now = match Now::of(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let asked = || {
        Ok::<_, CommandError>(Asked {
            from: day(&form, "from")?,
            to: day(&form, "to")?,
            events: events(&form)?,
        })
    };
    let found = match asked() {
        Ok(asked) => preview::look(&form.operator, &now, asked).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => confirm(&app, found.asks(now.ask(&app, "replay", "Replay days of"))),
        Err(error) => unreadable(&app, &error),
    }
}

async fn replay(State(app): State<Arc<App>>, Path(piece): Path<String>, form: Form) -> Response {
    let now = match Now::of(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let events = match events(&form) {
        Ok(events) => events,
        Err(error) => return unreadable(&app, &error),
    };
    let days = match days(&form.carried("day")) {
        Ok(days) => days,
        Err(error) => return unreadable(&app, &error),
    };
    let order = Order {
        action: "replay",
        project: Some(now.id.clone()),
        subjects: days.iter().map(Day::to_string).collect(),
    };
    let (operator, shown) = (Arc::clone(&form.operator), Shown::of(&form));
    let deed = async move {
        match shown.still(&operator, &now.id).await? {
            Ok(now) => send(&operator, &now.id, days, &events).await,
            Err(outcome) => Ok(outcome),
        }
    };
    perform(&app, &form, order, deed).await
}

/// The days of a confirmation. A preview makes no form with other days, so one that has them was made
/// by somebody else. PURE.
fn days(carried: &[String]) -> Result<BTreeSet<Day>, CommandError> {
    let days: BTreeSet<Day> = carried
        .iter()
        .map(|day| day.parse())
        .collect::<Result<_, _>>()
        .map_err(|_| CommandError::refused("the form carries what is no day; begin again"))?;
    let between = |(first, last): (&Day, &Day)| usize::try_from((last.0 - first.0).num_days()).unwrap_or(0);
    if days.first().zip(days.last()).map_or(0, between) >= LARGEST {
        return Err(CommandError::refused(format!(
            "the form's days span more than {LARGEST} days; begin again"
        )));
    }
    Ok(days)
}

/// Sends those of the days that still hold data.
async fn send(
    operator: &Operator,
    id: &str,
    wanted: BTreeSet<Day>,
    events: &[Stream],
) -> Result<Outcome, CommandError> {
    let (Some(first), Some(last)) = (wanted.first().copied(), wanted.last().copied()) else {
        return Ok(Outcome::failed("Nothing was done: no day was chosen."));
    };
    let clock = operator.ledger.now().await?;
    replays::must_be_over(last, clock)?;
    let scope = replays::scope(events, operator.observations);
    let (found, _) = replays::days(&operator.source, id, (first, last), &scope, clock).await?;
    let (held, gone): (BTreeSet<Day>, BTreeSet<Day>) = wanted.into_iter().partition(|day| found.contains(day));
    let jobs = replays::jobs(id, held, &scope);
    if jobs.is_empty() {
        return Ok(Outcome::failed(
            "Nothing was done: none of the days holds data any more.",
        ));
    }
    let published = replays::send(&operator.broker, &operator.ledger, &jobs).await?;
    let says = format!(
        "{} published; workers take them in turn. The project's page shows the runs.",
        count(published.confirmed, "job")
    );
    let begin = if published.confirmed > 0 {
        Outcome::done(says)
    } else {
        Outcome::failed("Nothing was published.")
    };
    let mut outcome = begin.count("jobs published", published.confirmed);
    for day in gone {
        outcome = outcome.left(day.to_string(), "it holds no data any more");
    }
    for failure in published.failed {
        outcome = outcome.left(failure.id, failure.error);
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_carries_days_only_and_no_more_than_a_preview_shows() {
        let of = |days: &[&str]| days_of(days).map(|days| days.len()).map_err(|error| error.to_string());
        assert_eq!(of(&[]), Ok(0));
        assert_eq!(of(&["2024-06-02", "2024-06-01", "2024-06-02"]), Ok(2));
        assert_eq!(of(&["2024-01-01", "2024-12-31"]), Ok(2), "366 days");
        for bad in [
            &["2024-06-01", "x"][..],
            &["\0"],
            &["0001-01-01", "2024-06-01"],
            &["2024-01-01", "2025-01-01"],
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }

    fn days_of(days: &[&str]) -> Result<BTreeSet<Day>, CommandError> {
        super::days(&days.iter().map(|day| (*day).to_owned()).collect::<Vec<_>>())
    }
}
