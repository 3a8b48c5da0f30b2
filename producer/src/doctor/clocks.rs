//! Checks the clocks. The databases' clocks decide when a lease runs out and when a day is over, so
//! a wrong one does harm; and times in logs must agree with them.

use chrono::{DateTime, TimeDelta, Utc};
use shared::ledger::Ledger;
use shared::settings::format_duration;
use sqlx::PgPool;

use super::check::Check;
use super::finding::Finding;

const CHECK: Check = Check::Clocks;
/// From here on a person notices that times in logs and ledger differ.
const NOTICED: TimeDelta = TimeDelta::seconds(5);
/// From here on it is a problem. The claim tolerates five minutes; beyond that, a day that is over
/// counts as not over.
const WRONG: TimeDelta = TimeDelta::minutes(2);

/// Checks the databases' clocks. Another check names a database that does not answer.
pub(super) async fn check(source: &PgPool, ledger: Option<&Ledger>) -> Vec<Finding> {
    let pools = [
        ("the clock of DATABASE_URL", Some(source)),
        ("the clock of the ledger's database", ledger.map(Ledger::pool)),
    ];
    let mut findings = Vec::new();
    for (whose, pool) in pools {
        if let Some(pool) = pool
            && let Ok(ahead) = of_database(pool).await
        {
            findings.push(judge(whose, ahead));
        }
    }
    findings
}

/// How far a database's clock is ahead of ours. The time that the question took is accounted for.
async fn of_database(pool: &PgPool) -> Result<TimeDelta, sqlx::Error> {
    let asked = Utc::now();
    let theirs: DateTime<Utc> = sqlx::query_scalar("-- doctor_clock\nselect clock_timestamp()")
        .fetch_one(pool)
        .await?;
    let round = Utc::now() - asked;
    Ok(theirs - (asked + round / 2))
}

/// Judges how far a clock is ahead of this machine's. PURE.
pub(super) fn judge(whose: &str, ahead: TimeDelta) -> Finding {
    let size = ahead.abs();
    let direction = if ahead < TimeDelta::zero() {
        "behind"
    } else {
        "ahead of"
    };
    let seconds = (size + TimeDelta::milliseconds(500)).num_seconds().unsigned_abs();
    let length = format_duration(std::time::Duration::from_secs(seconds));
    let found = format!("{whose} is {length} {direction} this machine's clock");
    if size >= WRONG {
        Finding::problem(
            CHECK,
            found,
            "Let both take their time from NTP: days and leases are judged by these clocks.",
        )
    } else if size >= NOTICED {
        Finding::warning(CHECK, found, "Let both take their time from NTP.")
    } else {
        Finding::ok(CHECK, format!("{whose} agrees with this machine's clock"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn small_differences_pass_and_large_ones_do_not() {
        for (seconds, status) in [
            (0, Status::Ok),
            (-4, Status::Ok),
            (5, Status::Warning),
            (-119, Status::Warning),
            (-120, Status::Problem),
            (600, Status::Problem),
        ] {
            let finding = judge("it", TimeDelta::seconds(seconds));
            assert_eq!(finding.status, status, "{}", finding.found);
        }
        assert!(judge("it", TimeDelta::seconds(-120)).found.contains("2m behind"));
    }
}
