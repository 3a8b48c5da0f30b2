//! Requeues and discards dead letters, and looks at their messages.

mod ask;
mod look;
mod message;
mod wait;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;

use super::confirm::{confirm, refused};
use super::form::Form;
use super::outcome::Outcome;
use super::{Order, perform};
use crate::console::address::{Prefix, carried};
use crate::console::app::App;
use crate::console::named::decoded;
use crate::dead_letters::{Dealt, Fate, Named, Paused, Shown, Sorted, carry_out, of_ids, paused, sort, states};
use crate::error::CommandError;
use crate::output::{agree, count, share};
use crate::report::Failure;
use ask::{Asked, CARRIED, MARKS, MOST, action, bounded, carries, some};
use look::look;

pub(super) fn routes(prefix: &Prefix) -> Router<Arc<App>> {
    let path = |action: &str| prefix.path(&format!("/dead-letters/{action}"));
    Router::new()
        .route(
            &path("requeue/preview"),
            post(|app, form| preview(app, form, Fate::Requeue)),
        )
        .route(&path("requeue"), post(|app, form| deed(app, form, Fate::Requeue)))
        .route(
            &path("discard/preview"),
            post(|app, form| preview(app, form, Fate::Discard)),
        )
        .route(&path("discard"), post(|app, form| deed(app, form, Fate::Discard)))
        .route(&path("message"), post(message::show))
        .route(&path("queue"), post(wait::show))
}

/// What somebody wants something done to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// The dead runs of a cause
    Cause(String),
    /// The messages of a cause that only the queue has
    CauseInQueue(String),
    /// Those that were marked
    Marked(Marked),
}

/// Dead letters that were marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marked {
    named: Vec<Named>,
    /// How many more there were than are dealt with at once
    others: usize,
    /// What names none
    unread: Vec<String>,
}

impl Wish {
    fn of(form: &Form) -> Self {
        // No cause holds what no database can hold.
        let cause = |field| form.typed(field).map(carried).filter(|cause| !cause.contains('\0'));
        if let Some(cause) = cause("all") {
            return Self::Cause(cause);
        }
        if let Some(cause) = cause("all_in_queue") {
            return Self::CauseInQueue(cause);
        }
        Self::Marked(Marked::of(&form.chosen("id")))
    }
}

impl Marked {
    /// PURE.
    fn of(values: &[&str]) -> Self {
        let mut marked = Self::default();
        for value in values {
            match decoded(value) {
                None => marked.unread.push((*value).to_owned()),
                Some(_) if marked.named.len() == MOST => marked.others += 1,
                Some(named) => marked.named.push(named),
            }
        }
        marked
    }
}

fn nothing(app: &App) -> Response {
    let why = "No dead letter was chosen. Go back, mark some, and try again.";
    refused(app, StatusCode::BAD_REQUEST, "Nothing to do", why)
}

fn away(app: &App, error: &CommandError) -> Response {
    let why = format!("Nothing was done. {error}");
    refused(app, StatusCode::SERVICE_UNAVAILABLE, "Nothing was done", &why)
}

async fn preview(State(app): State<Arc<App>>, form: Form, fate: Fate) -> Response {
    let wish = Wish::of(&form);
    if matches!(&wish, Wish::Marked(marked) if marked.named.is_empty()) {
        return nothing(&app);
    }
    let (sorted, others) = match wished(&app, &form, fate, wish).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let ledger = &form.operator.ledger;
    let asked = async {
        let (taken, cut) = bounded(sorted.taken);
        let (ids, marks) = carries(&taken);
        let ask = Asked {
            fate,
            others: others + cut,
            left: sorted.left,
            lines: ask::lines(&taken),
            ids,
            marks,
            paused: match fate {
                Fate::Requeue => paused(ledger, ask::projects(&taken)).await?,
                Fate::Discard => Paused::default(),
            },
        };
        Ok::<_, CommandError>(ask)
    };
    match asked.await {
        Ok(asked) => confirm(&app, asked.confirm(&app.prefix)),
        Err(error) => away(&app, &error),
    }
}

/// Those that a wish means, sorted by whether it can be done to them; and how many others it means.
/// The queue is looked into only for those that the ledger does not have as dead.
async fn wished(app: &App, form: &Form, fate: Fate, wish: Wish) -> Result<(Sorted, usize), Response> {
    let ledger = &form.operator.ledger;
    match wish {
        Wish::Cause(cause) => {
            let found = ask::of_cause(ledger, fate, &cause).await;
            found.map_err(|error| away(app, &error))
        }
        Wish::CauseInQueue(cause) => {
            let looked = look(app, form, "look_into_queue", Vec::new()).await?;
            let part = looked.part();
            let in_queue = wait::only_in_queue(looked.letters).collect();
            let letters = of_ids(in_queue, |letter| wait::cause(letter) == cause);
            let named: Vec<Named> = letters.iter().map(ask::named).collect();
            Ok((sort(fate, &named, letters, &BTreeMap::new(), part), 0))
        }
        Wish::Marked(Marked { named, others, unread }) => {
            let dead = ask::dead(ledger, &named).await.map_err(|error| away(app, &error))?;
            let mut sorted = if dead.len() == named.len() {
                sort(fate, &named, dead, &BTreeMap::new(), None)
            } else {
                let looked = look(app, form, "look_into_queue", named.clone()).await?;
                let states = states(ledger, &named).await.map_err(|error| away(app, &error))?;
                let part = looked.part();
                sort(fate, &named, looked.letters, &states, part)
            };
            sorted.left.extend(unread.into_iter().map(|id| Failure {
                id,
                error: "this is the id of no dead letter".to_owned(),
            }));
            Ok((sorted, others))
        }
    }
}

async fn deed(State(app): State<Arc<App>>, form: Form, fate: Fate) -> Response {
    let (ids, marks) = (words(&form.carried(CARRIED)), words(&form.carried(MARKS)));
    let named: Option<Vec<Named>> = ids.iter().map(|id| decoded(id)).collect();
    // A preview makes no such form, and what is left out without a word would pass for done.
    let Some(named) = named.filter(|named| !named.is_empty() && named.len() <= MOST && named.len() == marks.len())
    else {
        return nothing(&app);
    };
    let shown: Shown = named.iter().map(|one| one.id.clone()).zip(marks).collect();
    let order = Order {
        action: action(fate),
        project: ask::project(&named),
        subjects: named.iter().map(|one| one.id.clone()).collect(),
    };
    let operator = Arc::clone(&form.operator);
    let deed = async move {
        let done = carry_out(fate, &named, &shown, &operator.ledger, &operator.broker).await?;
        Ok(outcome(fate, named.len(), done))
    };
    perform(&app, &form, order, deed).await
}

/// What stands between spaces. PURE.
fn words(carried: &[String]) -> Vec<String> {
    let words = carried.iter().flat_map(|field| field.split(' '));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What came of it. PURE.
fn outcome(fate: Fate, asked: usize, done: Dealt) -> Outcome {
    let word = match fate {
        Fate::Requeue => "requeued",
        Fate::Discard => "discarded",
    };
    let number = done.done.len();
    let mut outcome = if number == 0 {
        Outcome::failed(match asked {
            1 => format!("The dead letter was not {word}."),
            _ => format!("None of {} was {word}.", count(asked, "dead letter")),
        })
    } else if number == 1 && asked == 1 {
        Outcome::done(format!("The dead letter was {word}."))
    } else {
        let were = agree(number, "was", "were");
        Outcome::done(format!("{} {were} {word}.", share(number, asked, "dead letter")))
    };
    if !done.resumed.is_empty() {
        let says = &mut outcome.result.says;
        says.push_str(&format!(
            " Resumed, since a failure had paused them: {}.",
            some(&done.resumed)
        ));
    }
    outcome = outcome.count(word, number);
    if let Some(error) = &done.broke_off {
        let Outcome { worked, result } = Outcome::of(error);
        outcome.worked |= worked;
        outcome.result.unsure = !outcome.worked && result.unsure;
        outcome.result.says.push_str(&format!(" It broke off: {}", result.says));
        outcome.result.counts.extend(result.counts);
        let reached = number + done.failed.len() + done.left.len();
        outcome = outcome.count("not finished", asked.saturating_sub(reached));
    }
    for failure in done.failed {
        outcome = outcome.left(failure.id, format!("{}; it is still a dead letter", failure.error));
    }
    for failure in done.left {
        outcome = outcome.left(failure.id, failure.error);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_beyond_the_most_at_once_or_names_nothing_is_counted() {
        let values: Vec<String> = (0..MOST + 5)
            .map(|number| format!("p{number}/2024-06-01/daily"))
            .collect();
        let mut values: Vec<&str> = values.iter().map(String::as_str).collect();
        values.insert(3, "p/yesterday/daily");
        let marked = Marked::of(&values);
        assert_eq!((marked.named.len(), marked.others), (MOST, 5));
        assert_eq!(marked.unread, ["p/yesterday/daily"]);
    }

    #[test]
    fn an_outcome_names_what_was_left_and_fails_only_when_nothing_was_done() {
        let failure = |id: &str| Failure {
            id: id.to_owned(),
            error: "gone".to_owned(),
        };
        let part = Dealt {
            done: vec!["a".to_owned()],
            failed: vec![failure("b")],
            left: vec![failure("c")],
            resumed: vec!["p".to_owned()],
            broke_off: None,
        };
        let part = outcome(Fate::Requeue, 3, part);
        assert!(part.worked);
        assert_eq!(
            part.result.says,
            "1 of 3 dead letters was requeued. Resumed, since a failure had paused them: p."
        );
        assert_eq!((part.result.counts["requeued"], part.result.counts["left out"]), (1, 2));
        assert_eq!(part.result.left[0].why, "gone; it is still a dead letter");
        let none = Dealt {
            left: vec![failure("c")],
            ..Dealt::default()
        };
        let none = outcome(Fate::Discard, 1, none);
        assert!(!none.worked);
        assert_eq!(none.result.says, "The dead letter was not discarded.");
    }

    #[test]
    fn an_error_in_the_middle_takes_nothing_away_of_what_was_done() {
        let broken = Dealt {
            done: vec!["a".to_owned(), "b".to_owned()],
            resumed: vec!["p".to_owned()],
            broke_off: Some(CommandError::refused("the queue is away")),
            ..Dealt::default()
        };
        let broken = outcome(Fate::Requeue, 5, broken);
        assert!(broken.worked && !broken.result.unsure);
        assert_eq!(
            broken.result.says,
            "2 of 5 dead letters were requeued. Resumed, since a failure had paused them: p. It broke off: the queue is away"
        );
        assert_eq!(
            (broken.result.counts["requeued"], broken.result.counts["not finished"]),
            (2, 3)
        );
        let nothing = Dealt {
            broke_off: Some(CommandError::refused("the queue is away")),
            ..Dealt::default()
        };
        assert!(!outcome(Fate::Requeue, 5, nothing).worked);
    }
}
