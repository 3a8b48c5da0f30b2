//! Looks whether the steps of a day are asked for, where `EXPORT_EVERY` says that there are some.

use chrono::{DateTime, Utc};
use shared::freshness::LastSteps;
use shared::ledger::{Ledger, LedgerError};
use shared::settings::format_duration;

use super::check::Check;
use super::finding::Finding;
use crate::output::{age, moment};
use crate::steps::Steps;

const CHECK: Check = Check::StepsAskedFor;
const ADVICE: &str = "Does `producer schedule` run, or a cron job with `producer enqueue --steps`, with this EXPORT_EVERY? \
                      Its log says what fails.";

pub(super) async fn check(steps: &Steps, ledger: &Ledger) -> Finding {
    match look(ledger).await {
        Ok((now, last)) => judge(steps, now, last),
        Err(error) => Finding::error(CHECK, &error),
    }
}

async fn look(ledger: &Ledger) -> Result<(DateTime<Utc>, Option<LastSteps>), LedgerError> {
    Ok((ledger.now().await?, ledger.last_steps().await?))
}

/// One border may be missed by a restart; the next one makes up for it. PURE.
fn judge(steps: &Steps, now: DateTime<Utc>, last: Option<LastSteps>) -> Finding {
    let every = format_duration(steps.every());
    let Some(last) = last else {
        let found = format!("EXPORT_EVERY is {every}, and steps were never asked for");
        return Finding::warning(CHECK, found, ADVICE);
    };
    let found = format!(
        "EXPORT_EVERY is {every}; steps were last asked for at {}, {} ago",
        moment(last.asked),
        age(now, last.asked)
    );
    if now > steps.next(steps.next(last.asked)) {
        Finding::warning(CHECK, found, ADVICE)
    } else {
        Finding::ok(CHECK, found)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;

    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_border_may_be_missed_and_two_may_not() {
        let hour = Duration::from_secs(3_600);
        let steps = Steps::new(hour, hour / 2).unwrap().unwrap();
        let moment = |text: &str| format!("2024-06-0{text}:00Z").parse::<DateTime<Utc>>().unwrap();
        let last = |text: &str| LastSteps {
            asked: moment(text),
            every: TimeDelta::hours(1),
            lag: TimeDelta::minutes(30),
        };
        for (ended, now, status) in [
            ("1T09:31", "1T09:31", Status::Ok),
            ("1T09:31", "1T10:40", Status::Ok),
            ("1T09:31", "1T11:31", Status::Warning),
            // No border is due between 23:30 and 01:30.
            ("1T23:31", "2T01:29", Status::Ok),
            ("1T23:31", "2T02:29", Status::Ok),
            ("1T23:31", "2T02:31", Status::Warning),
            ("1T12:31", "2T12:00", Status::Warning),
        ] {
            let found = judge(&steps, moment(now), Some(last(ended)));
            assert_eq!(found.status, status, "{ended} {now}: {}", found.found);
        }
        let never = judge(&steps, moment("1T09:00"), None);
        assert!(
            never.status == Status::Warning && never.found.contains("EXPORT_EVERY is 1h"),
            "{}",
            never.found
        );
    }
}
