use std::time::Duration;

use shared::egress::Egress;
use shared::topology::Lane;
use testkit::posthog::{Behavior, FakePosthog, Rule};
use url::Url;

use super::*;
use crate::langfuse::rows::{Row, ScoreRow};
use crate::posthog::batch::{Limits, Preamble, pack};
use crate::posthog::event::ProjectContext;
use crate::posthog::hosts::Hosts;

const LENGTH: Duration = Duration::from_secs(60);

/// Until when the lease is certain that was asked for so long ago.
fn asked(ago: Duration) -> watch::Receiver<Instant> {
    watch::channel((Instant::now() + LENGTH).checked_sub(ago).unwrap()).1
}

fn body(events: usize) -> Body {
    let row = |number| {
        Row::Score(ScoreRow {
            id: format!("row {number}").into(),
            time: "2024-06-01T00:00:00".parse().unwrap(),
            ..ScoreRow::default()
        })
    };
    let rows: Vec<Row> = (0..events).map(row).collect();
    let limits = Limits {
        events: 10,
        bytes: 10_000,
    };
    let (project, preamble) = (ProjectContext::new("p", None, None), Preamble::new("phc_key", false));
    pack(&rows, true, &project, &preamble, limits).remove(0).body.unwrap()
}

/// What a body meets on its way.
struct Way {
    posthog: FakePosthog,
    capture: Capture,
    hosts: Hosts,
    tally: Tally,
    stop: CancellationToken,
}

impl Way {
    async fn new() -> Self {
        let posthog = FakePosthog::start().await;
        posthog.known_key("phc_key");
        let egress: Egress = "127.0.0.0/8".parse().unwrap();
        let capture = Capture {
            posthog: Posthog::new(egress, 2).unwrap(),
            in_flight: Arc::new(Semaphore::new(2)),
            send_timeout: Duration::from_secs(10),
            retry_budget: Duration::from_secs(20),
        };
        Self {
            posthog,
            capture,
            hosts: Hosts::new(2, None),
            tally: Tally::default(),
            stop: CancellationToken::new(),
        }
    }

    fn enter(&self) -> Option<Place> {
        self.hosts.enter(&Url::parse(&self.posthog.url()).unwrap(), Lane::Jobs)
    }

    async fn send(
        &self,
        place: &Place,
        body: Body,
        is_first: bool,
        lease_until: watch::Receiver<Instant>,
    ) -> Result<Accepted, SendError> {
        let bodies = Arc::new(Semaphore::new(1));
        let sender = Sender {
            capture: &self.capture,
            place,
            stream: Stream::Score,
            bodies: &bodies,
            tally: &self.tally,
            lease_until,
            stop: &self.stop,
        };
        let admitted = sender.admit(body, is_first).await?;
        let sent = sender.send(admitted).await;
        assert_eq!(
            bodies.available_permits(),
            1,
            "the body is at its end, its place is not free"
        );
        sent
    }
}

#[tokio::test]
async fn nothing_is_sent_under_a_lease_that_may_be_somebody_elses() {
    let way = Way::new().await;
    let place = way.enter().unwrap();
    let refused = way.send(&place, body(1), true, asked(LENGTH)).await;
    assert!(matches!(refused, Err(SendError::LeaseUncertain)), "{refused:?}");
    assert!(way.posthog.batches().is_empty());
    let sent = way.send(&place, body(1), true, asked(Duration::ZERO)).await;
    assert_eq!(sent.unwrap().events, 1);
    assert_eq!(way.posthog.batches().len(), 1);
}

#[tokio::test]
async fn a_stop_ends_the_taking_apart_of_a_body_that_is_not_its_streams_first() {
    let way = Way::new().await;
    let place = way.enter().unwrap();
    way.posthog.script(Rule::always(Behavior::MaxEventsPerBatch(1)));
    way.stop.cancel();
    let ended = way.send(&place, body(4), false, asked(Duration::ZERO)).await;
    assert!(matches!(ended, Err(SendError::Interrupted)), "{ended:?}");
    assert_eq!(
        way.posthog.batches().len(),
        1,
        "what was admitted is sent, and no half of it"
    );
    let sent = way.send(&place, body(4), true, asked(Duration::ZERO)).await;
    assert_eq!(sent.unwrap().events, 4);
}

#[tokio::test]
async fn a_failing_host_takes_any_number_of_jobs_again_once_it_has_accepted_a_body() {
    let way = Way::new().await;
    let place = way.enter().unwrap();
    place.gave_up();
    assert!(way.enter().is_none());
    way.send(&place, body(1), true, asked(Duration::ZERO)).await.unwrap();
    assert!(way.enter().is_some());
}

#[tokio::test]
async fn every_try_and_every_part_of_a_body_counts_for_the_pace() {
    let way = Way {
        hosts: Hosts::new(2, Some(1)),
        ..Way::new().await
    };
    let place = way.enter().unwrap();
    way.posthog.script(Rule::always(Behavior::MaxEventsPerBatch(1)));
    way.send(&place, body(2), true, asked(Duration::ZERO)).await.unwrap();
    // Two events as a whole, and each of them once more.
    let owed = place.owed().as_secs_f64();
    assert!((3.0..4.0).contains(&owed), "{owed}");
}

#[tokio::test]
async fn a_body_that_waits_long_is_told_in_the_log_once_and_a_short_wait_is_not() {
    let way = Way::new().await;
    let place = way.enter().unwrap();
    // It ends at the first wait: what counts is how long that would be.
    way.stop.cancel();
    for (seconds, told) in [(1, false), (7, true)] {
        way.posthog.script(Rule::next(1, Behavior::retry_after(429, seconds)));
        let ended = way.send(&place, body(1), true, asked(Duration::ZERO)).await;
        assert!(matches!(ended, Err(SendError::Interrupted)), "{ended:?}");
        assert_eq!(way.tally.told.load(Ordering::Relaxed), told, "{seconds} s");
    }
}
