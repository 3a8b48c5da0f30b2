//! `verify`: whether PostHog holds what was exported, day by day; and sends again what it misses.

mod due;
mod hosts;
mod repair;
mod say;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use reqwest::Certificate;
use shared::egress::Egress;
use shared::integration;
use shared::ledger::{Arrival, Verdict};
use shared::settings::variables::POSTHOG_CA_FILE;
use shared::settings::{Settings, parse_duration};

use crate::config::{self, Horizon, Key, Server};
use crate::day_range::DayRange;
use crate::error::CommandError;
use crate::facts::check_project;
use crate::output::Exit;
use crate::posthog_app::{App, PersonalKeys};
use crate::servers;
use crate::set_aside;

use hosts::{Host, Work};
use repair::{Repair, Repaired};

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  producer verify
  producer verify --project clx1abc --from 2024-06-01 --to 2024-06-30
  producer verify --project clx1abc --day 2024-06-01 --json
  producer verify --repair
  producer verify --log --at-most 30m          for cron; `producer schedule` does it by itself
  producer verify --project clx1abc --day 2024-06-01 --posthog-project 12345

PostHog answers 200 also where it drops events: with a wrong key, or above a billing limit. So this
asks PostHog what it holds of each exported day, and compares that with Langfuse's database: first
by hour, and by uuid where hours differ. It reads ids and times only.

Without days it looks at those that are due, of the last 30 days and of those whose last run was
completed within the last 30 days, however old they are: an hour after that run was completed and
their SETTLE_AFTER is over; again after 1, 3, and then each 12 hours while nothing is known or not
everything is there yet; and once a day at those that miss events, whenever they were exported. Of
the last 30 days, what was never looked at comes first, oldest first; a history comes last; several
hosts take turns.

Verdicts:
  arrived   everything is there
  not_yet   something is not there, and the export is not a day old
  missing   something is not there: look at the hours, then --repair
  extra     more is there than the database calls for: rows that were deleted or moved later
  unknown   PostHog could not be asked; the reason is told
Neither a look that fails nor `not_yet` replaces `missing`; what it found is told beside it.

It needs a personal API key of PostHog with the scopes query:read and project:read
(POSTHOG_PERSONAL_API_KEY, POSTHOG_PERSONAL_API_KEYS_FILE).

--repair looks at all days that miss events, too. For those that still do, it publishes a replay of
the kinds of events that are missing, once for a verdict. It refuses where that looks like PostHog's
billing limit, or was done before, unless --force; and always while a run of the day is on its way,
or where the project's host or key has changed since: then `producer replay` sends the whole day.

Exit code: 1 when a day of the range misses events, whenever that was found, or could not be sent
again. Without days the range is everything. A day of which nothing is known is no failure.

JSON: {days: [{project_id, day, run, run_completed_at, verdict, says, expected, missing, extra,
late, copies, weaker, nothing_after, streams, sample, hours: {stream: {hour: [expected, missing]}},
checked_at, repaired_at, looked_at, failure, set_aside}], earlier, left, warnings, repaired:
[{project_id, day, run, refused}]}. `failure` says why this look decided nothing, where an earlier
verdict stays. `earlier` are the days, in the same form, that miss events as an earlier look found,
and were not looked at now.";

/// Arguments of `verify`.
#[derive(Args, Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that is typed")]
pub struct Arguments {
    /// Only this project (Langfuse's id); may be repeated
    #[arg(long = "project", value_name = "ID")]
    pub projects: Vec<String>,
    /// Which days, whatever is known of them [default: those that are due, of the last 30 days or
    /// exported in them]
    #[command(flatten)]
    pub days: DayRange,
    /// Export again what days miss, once for each verdict
    #[arg(long)]
    pub repair: bool,
    /// With --repair: also where it looks like PostHog's billing limit, or was done before
    #[arg(long, requires = "repair")]
    pub force: bool,
    /// The number of the project in PostHog, where the personal API key may not list projects; it is
    /// remembered
    #[arg(long, value_name = "NUMBER", requires = "projects")]
    pub posthog_project: Option<i64>,
    /// After this time, begin with no further day: 30m, 2h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub at_most: Option<Duration>,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
    /// For cron: write log lines in place of a report, and end with exit code 0 whatever was found
    #[arg(long, conflicts_with_all = ["json", "repair"])]
    pub log: bool,
}

/// What `verify` reads from the environment.
#[derive(Debug)]
pub struct Config {
    source: Server,
    ledger: Server,
    broker: Option<Server>,
    key: Key,
    keys: PersonalKeys,
    egress: Egress,
    authorities: Vec<Certificate>,
    horizon: Horizon,
}

impl Config {
    /// Reads it. The broker is needed only where something may be published.
    pub fn read(repair: bool, settings: &mut Settings) -> Self {
        Self {
            source: config::source(settings),
            ledger: config::ledger(settings),
            broker: repair.then(|| config::broker(settings)),
            key: Key::read(settings),
            keys: PersonalKeys::read(settings),
            egress: Egress::read(settings),
            authorities: settings.certificates(&POSTHOG_CA_FILE),
            horizon: config::horizon(settings),
        }
    }

    /// Reads it where there is a personal API key, and nothing else where there is none.
    pub fn read_where_wanted(settings: &mut Settings) -> Option<Self> {
        let wanted = !PersonalKeys::read(settings).is_empty();
        wanted.then(|| Self::read(false, settings))
    }

    /// Whether there is a personal API key. Without one nothing is verified.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Report {
    /// What stands of the days that were looked at
    days: Vec<Arrival>,
    /// Days that miss events, as an earlier look found, and that were not looked at now
    earlier: Vec<Arrival>,
    /// What a host said that holds for all its days, or of its key
    warnings: Vec<String>,
    /// Days that are due and were not begun in time
    left: usize,
    repaired: Vec<Repaired>,
    /// Whether days were asked for
    asked: bool,
}

/// Whether this look has found something out: PostHog was asked, and answered. PURE.
fn was_judged(day: &Arrival) -> bool {
    day.verdict != Verdict::Unknown && day.failure.is_none()
}

/// Executes the command.
pub async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, CommandError> {
    let report = verify(arguments, config).await?;
    if arguments.log {
        say::log(&report);
        return Ok(Exit::Done);
    }
    say::say(arguments, &report);
    let mut standing = report.days.iter().chain(&report.earlier);
    let is_missing = standing.any(|day| day.verdict == Verdict::Missing);
    let is_done = report.repaired.iter().all(Repaired::is_well);
    Ok(Exit::of(!is_missing && is_done))
}

/// Verifies what is due, for nobody in particular: what needs attention goes to the log.
pub async fn execute_unattended(at_most: Duration, config: &Config) -> Result<(), CommandError> {
    let arguments = Arguments {
        at_most: Some(at_most),
        ..Arguments::default()
    };
    say::log(&verify(&arguments, config).await?);
    Ok(())
}

async fn verify(arguments: &Arguments, config: &Config) -> Result<Report, CommandError> {
    if !config.has_keys() {
        return Err(CommandError::Setting(
            "there is no personal API key to ask PostHog with: set POSTHOG_PERSONAL_API_KEY (for us.posthog.com and \
             eu.posthog.com) or POSTHOG_PERSONAL_API_KEYS_FILE (a line `host key` for each other host)"
                .to_owned(),
        ));
    }
    if arguments.posthog_project.is_some() && arguments.projects.len() != 1 {
        return Err(CommandError::argument("--posthog-project needs exactly one --project"));
    }
    let source = servers::source(&config.source).await?;
    let ledger = servers::ledger(&config.ledger).await?;
    for project in &arguments.projects {
        check_project(&source, project).await?;
    }
    let app = App::new(config.keys.clone(), config.egress.clone(), config.authorities.clone())?;
    set_aside::look(&source, &ledger).await;
    let range = due::Days::new(arguments, &ledger).await?;
    let due = due::due(arguments, config.horizon, &ledger, range).await?;
    let integrations = integration::list(&source, None).await?;
    let integrations: BTreeMap<&str, _> = integrations
        .iter()
        .map(|stored| (stored.project_id.as_str(), stored))
        .collect();
    let work = Work {
        source: &source,
        ledger: &ledger,
        app: &app,
        posthog_project: arguments.posthog_project,
        until: arguments.at_most.map(|most| Instant::now() + most),
        refused: std::sync::Mutex::default(),
    };
    let hosts = Host::of(due, &integrations, config.key.get()?, &config.keys);
    let mut report = work.all(hosts).await;
    report.asked = arguments.days.bounds()? != (None, None);
    report
        .days
        .sort_by(|a, b| (a.day, &a.project_id).cmp(&(b.day, &b.project_id)));
    // Also the days that were found just now.
    set_aside::look(&source, &ledger).await;
    report.earlier = due::earlier(arguments, &ledger, range, &report.days).await?;
    if let (true, Some(broker)) = (arguments.repair, &config.broker) {
        let repair = Repair {
            source: &source,
            ledger: &ledger,
            broker,
            key: config.key.get()?,
            force: arguments.force,
        };
        report.repaired = repair.all(&report).await;
        for day in &mut report.days {
            let is_day = |sent: &&Repaired| sent.project_id == day.project_id && sent.day == day.day;
            let sent = report.repaired.iter().find(is_day).and_then(|sent| sent.at);
            day.repaired_at = sent.or(day.repaired_at);
        }
    }
    Ok(report)
}
