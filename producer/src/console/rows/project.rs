//! What a project's page shows of the ledger.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use shared::job::Day;
use shared::ledger::{Counts, Ledger, LedgerError, Pause, ProjectDays, RunRow, StepsOfDay, Summary, Verdict};

use super::told;

/// No more runs are listed.
pub(in crate::console) const LISTED: usize = 100;

/// Which part of a project is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::console) struct Part {
    /// This year of the calendar; else that of the newest run
    pub(in crate::console) year: Option<i32>,
    /// The runs of this day; else the newest ones
    pub(in crate::console) day: Option<Day>,
    /// The steps of that day are listed from the beginning
    pub(in crate::console) steps: bool,
}

/// The rows.
#[derive(Debug)]
pub(in crate::console) struct Rows {
    pub(in crate::console) now: DateTime<Utc>,
    pub(in crate::console) year: i32,
    /// The years that have a run
    pub(in crate::console) years: (i32, i32),
    pub(in crate::console) summary: Option<Summary>,
    pub(in crate::console) pause: Option<Pause>,
    pub(in crate::console) days: ProjectDays,
    pub(in crate::console) counts: BTreeMap<Day, Counts>,
    pub(in crate::console) verdicts: BTreeMap<Day, Verdict>,
    pub(in crate::console) unfinished: Vec<RunRow>,
    pub(in crate::console) runs: Vec<RunRow>,
    /// The steps of each day that has some; the newest days first
    pub(in crate::console) steps: Vec<StepsOfDay>,
    /// Those of the chosen day, each
    pub(in crate::console) of_day: Vec<RunRow>,
}

/// Reads them.
pub(in crate::console) async fn read(ledger: Ledger, id: String, part: Part) -> Result<Rows, String> {
    told(&ledger, rows(&ledger, &id, part).await).await
}

async fn rows(ledger: &Ledger, id: &str, part: Part) -> Result<Rows, LedgerError> {
    let listed = i64::try_from(LISTED).unwrap_or(i64::MAX);
    let ids = [id.to_owned()];
    let (now, known) = tokio::try_join!(ledger.now(), ledger.first_and_last_day(id))?;
    let today = Day::of(now);
    let (first, last) = known.unwrap_or((today, today));
    let last = last.max(today);
    let newest = known.map_or(today, |(_, newest)| newest);
    let year = chosen(part, newest).clamp(first.0.year(), last.0.year());
    let (from, to) = (edge(year, 1, 1, first), edge(year, 12, 31, last));
    let of_day = async {
        match part.day {
            Some(day) => ledger.steps_of_day(id, day, listed).await,
            None => Ok(Vec::new()),
        }
    };
    let (mut summaries, mut pauses, mut days, counts, verdicts, unfinished, runs, steps, of_day) = tokio::try_join!(
        ledger.summaries(&ids),
        ledger.pauses(),
        ledger.runs_of_days(&ids, from, to),
        ledger.counts_by_day(id, from, to),
        ledger.verdicts_by_day(id, from, to),
        ledger.unfinished_of(id, listed),
        ledger.newest_runs(id, part.day, listed),
        ledger.steps_by_day(id, first, listed),
        of_day,
    )?;
    Ok(Rows {
        now,
        year,
        years: (first.0.year(), last.0.year()),
        summary: summaries.pop(),
        pause: pauses.remove(id),
        days: days.pop().unwrap_or_default(),
        counts: counts.into_iter().collect(),
        verdicts: verdicts.into_iter().collect(),
        unfinished,
        runs,
        steps,
        of_day,
    })
}

/// The year that was asked for, that of the day, or that of the newest run: a project of which only
/// old days were exported shows these. PURE.
fn chosen(part: Part, newest: Day) -> i32 {
    part.year.unwrap_or_else(|| part.day.unwrap_or(newest).0.year())
}

fn edge(year: i32, month: u32, day: u32, otherwise: Day) -> Day {
    NaiveDate::from_ymd_opt(year, month, day).map_or(otherwise, Day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_opens_at_its_newest_run() {
        let day = |text: &str| -> Day { text.parse().unwrap() };
        let asked = |year: Option<i32>, of: Option<&str>| Part {
            year,
            day: of.map(day),
            steps: false,
        };
        let newest = day("2024-06-01");
        assert_eq!(chosen(asked(None, None), newest), 2024);
        assert_eq!(chosen(asked(None, Some("2023-05-05")), newest), 2023);
        assert_eq!(chosen(asked(Some(2022), Some("2023-05-05")), newest), 2022);
    }
}
