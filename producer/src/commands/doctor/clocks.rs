//! Clocks: leases and days go by the databases', so a difference matters between them and whoever reads the logs.

use chrono::{DateTime, TimeDelta, Utc};
use shared::ledger::Ledger;
use shared::settings::format_duration;
use sqlx::PgPool;

use super::check::Check;
use super::finding::Finding;

const CHECK: Check = Check::Clocks;
/// Times in logs and ledger no longer agree to the eye.
const NOTICED: TimeDelta = TimeDelta::seconds(5);
/// Near the claim's tolerance of five minutes, past which a finished day counts as unfinished.
const WRONG: TimeDelta = TimeDelta::minutes(2);

/// The clocks of the databases. One that does not answer is named by another check.
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

/// How far a database's clock is ahead of ours, the way there and back taken out.
async fn of_database(pool: &PgPool) -> Result<TimeDelta, sqlx::Error> {
    let asked = Utc::now();
    let theirs: DateTime<Utc> = sqlx::query_scalar("-- doctor_clock\nselect clock_timestamp()")
        .fetch_one(pool)
        .await?;
    let round = Utc::now() - asked;
    Ok(theirs - (asked + round / 2))
}

/// PURE.
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
