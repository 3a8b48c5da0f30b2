//! What `status` writes for people: the totals, then the projects that need attention, then the
//! rest.

use chrono::{DateTime, Utc};
use shared::ledger::Arrival;

use super::Report;
use super::history;
use super::line::Line;
use super::runs;
use super::totals::Totals;
use crate::newest::WRITES_ELSEWHERE;
use crate::output::{self, age, agree, count, line, moment};
use crate::standing::Standing;

/// As many projects are all listed: they fit on a screen.
const FEW: usize = 20;
/// Of more projects that need attention, no more are listed than a person reads.
const NAMED: usize = 50;

/// Writes it. `all`: list every project.
pub(super) fn say(report: &Report, all: bool) {
    if report.projects.is_empty() {
        line("No project has a PostHog integration or a run in the ledger.");
        return;
    }
    for text in totals(&report.totals) {
        line(text);
    }
    if let Some(today) = &report.totals.today {
        line(today.words());
    }
    line(newest(report));
    line("");
    let (listed, left_out) = listed(&report.projects, all);
    if !listed.is_empty() {
        projects(&listed, report.now);
    }
    if let Some(left_out) = left_out {
        line(left_out);
    }
    if let Some(arrivals) = report.arrivals.as_ref().filter(|found| !found.is_empty()) {
        line("");
        line("Days in PostHog, as last verified:");
        arrived(arrivals);
    }
    if let Some(of_projects) = &report.runs {
        line("");
        // With the history of a day each of its steps has a line of its own.
        let together = report.days.as_deref().filter(|_| report.claims.is_none());
        runs::say(of_projects, together);
    }
    if let Some(claims) = report.claims.as_ref().filter(|found| !found.is_empty()) {
        line("");
        line("Who worked on these runs:");
        history::say(report.now, claims);
    }
}

/// PURE.
fn totals(totals: &Totals) -> Vec<String> {
    let standings = [
        (
            totals.need_somebody,
            agree(totals.need_somebody, "needs attention", "need attention"),
        ),
        (totals.behind, "behind"),
        (totals.paused, "paused by a person"),
        (totals.up_to_date, "up to date"),
        (totals.disabled, "disabled"),
    ];
    let standings = standings.iter().filter(|(number, _)| *number > 0);
    let standings: Vec<String> = standings.map(|(number, what)| format!("{number} {what}")).collect();
    let states = [
        (totals.completed, "completed"),
        (totals.running, "running"),
        (totals.queued, "queued"),
        (totals.waiting, "waiting"),
        (totals.dead, "dead"),
        (totals.skipped, "skipped"),
        (totals.discarded, "discarded"),
    ];
    let states = states.map(|(number, state)| format!("{number} {state}"));
    let mut lines = vec![
        format!("{}: {}.", count(totals.projects, "project"), standings.join(", ")),
        format!(
            "Runs: {}. Events sent: {}. Rows rejected: {}.",
            states.join(", "),
            totals.events_sent,
            totals.rows_rejected
        ),
    ];
    if let Some(oldest) = totals.oldest_missing_day {
        let without = match totals.days_without_job {
            0 => String::new(),
            number => {
                format!("; {number} without a job yet (`producer enqueue --dry-run --count` counts their events)")
            }
        };
        let held = match totals.days_held_back {
            0 => String::new(),
            number => format!("; {number} held back until you decide (`producer enqueue --project <id> --yes`)"),
        };
        lines.push(format!(
            "Days missing: {}, oldest {oldest}{without}{held}.",
            totals.missing_days
        ));
    }
    if totals.days_not_arrived > 0 {
        lines.push(format!(
            "PostHog does not hold all of {} (`producer verify --from … --to …` tells what).",
            count(totals.days_not_arrived, "exported day")
        ));
    }
    lines
}

fn newest(report: &Report) -> String {
    let found = match report.newest.of_all {
        None => "Newest row: none.".to_owned(),
        Some(newest) => format!("Newest row: {}, {} ago.", moment(newest), age(report.now, newest)),
    };
    if report.newest.is_quiet(report.now) {
        format!("{found} {WRITES_ELSEWHERE}")
    } else {
        found
    }
}

/// The projects to list, those that need attention first, and what is said of the others. PURE.
fn listed(projects: &[Line], all: bool) -> (Vec<&Line>, Option<String>) {
    let mut listed: Vec<&Line> = projects.iter().collect();
    listed.sort_by_key(|line| line.standing);
    if all || projects.len() <= FEW {
        return (listed, None);
    }
    listed.retain(|line| line.standing == Standing::NeedsSomebody);
    let need = listed.len();
    listed.truncate(NAMED);
    let others = count(projects.len() - listed.len(), "other project");
    let left_out = match need {
        0 => "No project needs attention. `--all` lists them all.".to_owned(),
        _ if need > NAMED => format!(
            "… and {} that {} attention. `--all` lists all projects.",
            count(need - NAMED, "other"),
            agree(need - NAMED, "needs", "need")
        ),
        _ => format!("`--all` lists the {others}, too."),
    };
    (listed, Some(left_out))
}

fn projects(listed: &[&Line], now: DateTime<Utc>) {
    let header = [
        "PROJECT",
        "NAME",
        "COMPLETED",
        "RUNNING",
        "QUEUED",
        "WAITING",
        "DEAD",
        "SKIPPED",
        "EVENTS",
        "REJECTED",
        "ARRIVED",
        "NEWEST ROW",
        "LAG",
    ];
    output::table(header, listed.iter().map(|line| line.row(now)));
}

fn arrived(arrivals: &[Arrival]) {
    let row = |arrival: &Arrival| {
        [
            format!("{}/{}", arrival.project_id, arrival.day),
            arrival.verdict.as_str().to_owned(),
            moment(arrival.checked_at),
            match &arrival.failure {
                Some(failure) => format!("{}; the last look decided nothing: {failure}", arrival.says),
                None => arrival.says.clone(),
            },
        ]
    };
    output::table(["DAY", "VERDICT", "VERIFIED", "FOUND"], arrivals.iter().map(row));
}
