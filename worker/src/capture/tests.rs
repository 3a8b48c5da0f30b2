use std::time::Duration;

use shared::egress::Egress;
use shared::job::ExportJob;
use shared::ledger::Lease;
use testkit::posthog::FakePosthog;
use tokio::time::Instant;
use url::Url;

use super::*;
use crate::batch::{Limits, Preamble, pack};
use crate::event::ProjectContext;
use crate::hosts::Hosts;
use crate::rows::{Row, ScoreRow};

const LENGTH: Duration = Duration::from_secs(60);

/// A lease that was asked for so long ago.
fn held(ago: Duration) -> Held {
    let lease = Lease::wanted(&ExportJob::daily("p", "2024-06-01".parse().unwrap()), "daily");
    Held::new(lease, LENGTH, Instant::now().checked_sub(ago).unwrap())
}

fn body() -> Body {
    let row = Row::Score(ScoreRow {
        id: "row".into(),
        time: "2024-06-01T00:00:00".parse().unwrap(),
        ..ScoreRow::default()
    });
    let limits = Limits {
        events: 10,
        bytes: 10_000,
    };
    let (project, preamble) = (ProjectContext::new("p", None), Preamble::new("phc_key", false));
    pack(&[row], true, &project, &preamble, limits).remove(0).body.unwrap()
}

#[tokio::test]
async fn nothing_is_sent_under_a_lease_that_may_be_somebody_elses() {
    let posthog = FakePosthog::start().await;
    posthog.known_key("phc_key");
    let egress: Egress = "127.0.0.0/8".parse().unwrap();
    let capture = Capture {
        posthog: Posthog::new(egress, 2).unwrap(),
        in_flight: Arc::new(Semaphore::new(2)),
        send_timeout: Duration::from_secs(10),
        retry_budget: Duration::from_secs(20),
    };
    let host = Url::parse(&posthog.url()).unwrap();
    let place = Hosts::new(2).enter(&host).unwrap();
    let (tally, stop) = (Tally::default(), CancellationToken::new());
    let send = |held: Held| {
        let (capture, place, tally, stop) = (&capture, &place, &tally, &stop);
        async move {
            let admitted = capture.admit(&Arc::new(Semaphore::new(1)), place, body()).await?;
            capture.send(place, Stream::Score, admitted, tally, &held, stop).await
        }
    };
    let refused = send(held(LENGTH)).await;
    assert!(matches!(refused, Err(SendError::LeaseUncertain)), "{refused:?}");
    assert!(posthog.batches().is_empty());
    assert_eq!(send(held(Duration::ZERO)).await.unwrap().events, 1);
    assert_eq!(posthog.batches().len(), 1);
}
