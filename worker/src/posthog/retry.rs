//! PURE: an answer, or none → what to do with the body. The only user of `backoff`, which is no
//! longer maintained and has a trap: it follows a server's `retry_after` without a cap, beyond its
//! own time limit. So only its arithmetic is used.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use shared::error_code::ErrorCode;
use shared::posthog::{Answer, CallError};

use crate::watch::outcome::SplitCause;

/// The longest that PostHog, or a proxy before it, can make us wait.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(60);
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(20);
/// Answers are shown to people, who need not read a proxy's whole error page.
const SHOWN: usize = 300;

/// What to do with a body.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// PostHog has it.
    Accepted,
    /// Send the same bytes again after a while.
    Resend(Duration, String),
    /// PostHog refuses the body as it is, with what it said. Split it; a body of one event becomes
    /// a reject.
    Split(SplitCause, String),
    /// No other body of this job would be taken either.
    Stop(SendError),
}

/// Why a job's events cannot be sent.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SendError {
    /// PostHog could not be reached, for longer than the retry budget.
    #[error("PostHog cannot be reached for now: {0}")]
    Unavailable(String),
    /// The answer was 401.
    #[error("PostHog does not know the project's API key: {0}")]
    Unauthorized(String),
    /// The answer was 402.
    #[error("PostHog's billing limit is reached: {0}")]
    BillingLimit(String),
    /// The answer was 3xx, 403, 404, 405 or the like.
    #[error("the host does not take events: {0}")]
    EndpointRefused(String),
    /// The egress guard refuses the host.
    #[error("the host may not be called: {0}")]
    HostNotAllowed(String),
    /// PostHog has refused every event of the run so far.
    #[error("PostHog refuses every event of this run: {0}")]
    MappingRefused(String),
    /// The lease was not renewed in time: another worker may be sending newer rows.
    #[error("the lease was not renewed in time; another worker may have the run")]
    LeaseUncertain,
    /// The job was asked to stop while the body waited for its next try.
    #[error("interrupted")]
    Interrupted,
}

impl SendError {
    /// The stable word for logs, metrics and headers; `None` for an interruption, which is no
    /// failure.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Unavailable(_) => Some(ErrorCode::PosthogUnavailable),
            Self::Unauthorized(_) => Some(ErrorCode::Unauthorized),
            Self::BillingLimit(_) => Some(ErrorCode::BillingLimit),
            Self::EndpointRefused(_) => Some(ErrorCode::EndpointRefused),
            Self::HostNotAllowed(_) => Some(ErrorCode::HostNotAllowed),
            Self::MappingRefused(_) => Some(ErrorCode::MappingRefused),
            Self::LeaseUncertain => Some(ErrorCode::LeaseHeld),
            Self::Interrupted => None,
        }
    }
}

/// The tries of one body: exponential, with jitter, within a time budget.
pub struct Tries {
    backoff: ExponentialBackoff,
    budget: Duration,
}

impl Tries {
    /// The budget begins when the body is sent first.
    pub fn new(budget: Duration) -> Self {
        let backoff = ExponentialBackoff {
            current_interval: FIRST_DELAY,
            initial_interval: FIRST_DELAY,
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_interval: LONGEST_DELAY,
            // `decide` checks the budget itself: its caller owns the clock.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { backoff, budget }
    }

    /// Decides by the status. `elapsed` is the time since this body was sent first; `now` is for a
    /// Retry-After that is a date.
    pub fn decide(&mut self, outcome: Result<Answer, CallError>, elapsed: Duration, now: DateTime<Utc>) -> Step {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(CallError::NotAllowed(why)) => return Step::Stop(SendError::HostNotAllowed(why.to_string())),
            Err(CallError::Transport(why)) => return self.again(why, None, elapsed),
        };
        let said = describe(&answer);
        match answer.status {
            status if status.is_success() => Step::Accepted,
            StatusCode::PAYLOAD_TOO_LARGE => Step::Split(SplitCause::TooLarge, said),
            // PostHog's server of 2024 says "too large" in this way.
            StatusCode::BAD_REQUEST if answer.text.contains("maximum event size exceeded") => {
                Step::Split(SplitCause::TooLarge, said)
            }
            StatusCode::BAD_REQUEST => Step::Split(SplitCause::Refused, said),
            StatusCode::UNAUTHORIZED => Step::Stop(SendError::Unauthorized(said)),
            StatusCode::PAYMENT_REQUIRED => Step::Stop(SendError::BillingLimit(said)),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                self.again(said, retry_after(&answer, now), elapsed)
            }
            status if status.is_server_error() => self.again(said, retry_after(&answer, now), elapsed),
            _ => Step::Stop(SendError::EndpointRefused(said)),
        }
    }

    fn again(&mut self, why: String, asked: Option<Duration>, elapsed: Duration) -> Step {
        let own = self.backoff.next_backoff().unwrap_or(LONGEST_DELAY);
        let delay = own.max(asked.unwrap_or_default().min(RETRY_AFTER_CAP));
        if elapsed + delay > self.budget {
            Step::Stop(SendError::Unavailable(why))
        } else {
            Step::Resend(delay, why)
        }
    }
}

/// The wait that the answer asks for: a number of seconds, or an HTTP date.
fn retry_after(answer: &Answer, now: DateTime<Utc>) -> Option<Duration> {
    let text = answer.retry_after.as_deref()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    (date.to_utc() - now).to_std().ok()
}

fn describe(answer: &Answer) -> String {
    let text: String = answer
        .text
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect();
    format!("it answered {} {text}", answer.status).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[expect(clippy::unnecessary_wraps, reason = "an outcome, as `decide` takes it")]
    fn answer(status: u16, text: &str, retry_after: Option<&str>) -> Result<Answer, CallError> {
        Ok(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            text: text.into(),
            retry_after: retry_after.map(str::to_owned),
        })
    }

    fn now() -> DateTime<Utc> {
        "2024-06-01T00:00:00Z".parse().unwrap()
    }

    fn decide(outcome: Result<Answer, CallError>) -> Step {
        Tries::new(Duration::from_secs(120)).decide(outcome, Duration::ZERO, now())
    }

    fn delay(step: &Step) -> Duration {
        match step {
            Step::Resend(delay, _) => *delay,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_status_has_its_step() {
        for status in [200, 201, 204] {
            assert_eq!(decide(answer(status, "", None)), Step::Accepted);
        }
        for status in [408, 429, 500, 502, 503, 504, 520] {
            assert!(matches!(decide(answer(status, "", None)), Step::Resend(..)), "{status}");
        }
        assert!(matches!(
            decide(answer(413, "", None)),
            Step::Split(SplitCause::TooLarge, _)
        ));
        assert!(matches!(
            decide(answer(400, "maximum event size exceeded", None)),
            Step::Split(SplitCause::TooLarge, _)
        ));
        assert!(matches!(
            decide(answer(400, "event submitted without a distinct_id", None)),
            Step::Split(SplitCause::Refused, _)
        ));
        assert!(matches!(
            decide(answer(401, "", None)),
            Step::Stop(SendError::Unauthorized(_))
        ));
        assert!(matches!(
            decide(answer(402, "", None)),
            Step::Stop(SendError::BillingLimit(_))
        ));
        for status in [301, 302, 307, 308, 403, 404, 405, 410, 415] {
            assert!(
                matches!(
                    decide(answer(status, "", None)),
                    Step::Stop(SendError::EndpointRefused(_))
                ),
                "{status}"
            );
        }
        assert!(matches!(
            decide(Err(CallError::Transport("reset".into()))),
            Step::Resend(..)
        ));
    }

    #[test]
    fn retry_after_is_honoured_within_the_cap() {
        assert!(delay(&decide(answer(429, "", Some("7")))) >= Duration::from_secs(7));
        assert!(delay(&decide(answer(429, "", Some("Sat, 01 Jun 2024 00:00:09 GMT")))) >= Duration::from_secs(9));
        assert_eq!(delay(&decide(answer(503, "", Some("999999999999")))), RETRY_AFTER_CAP);
        for nonsense in ["-1", "soon", "Sat, 01 Jun 2020 00:00:00 GMT", ""] {
            assert!(
                delay(&decide(answer(429, "", Some(nonsense)))) <= Duration::from_secs(1),
                "{nonsense}"
            );
        }
    }

    #[test]
    fn what_posthog_said_is_kept_short_and_on_one_line() {
        let Step::Split(SplitCause::Refused, said) = decide(answer(400, &format!("a\nb{}", "x".repeat(5_000)), None))
        else {
            panic!()
        };
        assert!(said.len() < 400 && !said.contains('\n'), "{said}");
    }

    proptest! {
        #[test]
        fn delays_grow_stay_capped_and_the_budget_ends_them(budget in 1_u64..600, retry_after in proptest::option::of(0_u64..10_000)) {
            let mut tries = Tries::new(Duration::from_secs(budget));
            let mut elapsed = Duration::ZERO;
            for round in 0..10_000 {
                let text = retry_after.map(|s| s.to_string());
                match tries.decide(answer(429, "", text.as_deref()), elapsed, now()) {
                    Step::Resend(delay, why) => {
                        prop_assert!(why.contains("429"), "{why}");
                        prop_assert!(delay <= RETRY_AFTER_CAP);
                        prop_assert!(delay >= FIRST_DELAY / 2);
                        elapsed += delay;
                        prop_assert!(elapsed <= Duration::from_secs(budget));
                    }
                    Step::Stop(SendError::Unavailable(_)) => return Ok(()),
                    other => prop_assert!(false, "{round}: {other:?}"),
                }
            }
            prop_assert!(false, "a steady 429 must end");
        }
    }
}
