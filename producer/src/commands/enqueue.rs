//! `enqueue`: publishes a job for every day that is over, holds data and is not in the ledger, of
//! every project whose integration is enabled. Also for days with late rows, and for lost messages.

mod counted;
mod first;
mod report;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use shared::integration::{self, StoredIntegration};
use shared::job::Day;
use shared::ladder::Ladder;
use shared::langfuse::undated;
use shared::ledger::{Ledger, Pause, State};
use shared::settings::Settings;
use shared::topology::Lane;
use sqlx::PgPool;

use crate::config::{self, Horizon, Server};
use crate::day_range::DayRange;
use crate::error::CommandError;
use crate::facts::{self, Effort, counts};
use crate::lock;
use crate::output::Exit;
use crate::pauses;
use crate::plan::{Arrived, FirstExport, Planned, Project, Rules, first_exports, heal, plan, swept_until};
use crate::publish::publish;
use crate::servers::{self, Broker};
use crate::set_aside;
use crate::setup;
use crate::steps::Steps;

use first::LongFirst;
use report::{Left, Report};

/// The lock of the producer that publishes.
const LOCK: &str = "enqueue";

/// How long the steps of a day keep their rows.
const KEEP_STEPS: TimeDelta = TimeDelta::days(7);

/// Arguments of `enqueue`.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Which days [default: every day that is over]
    #[command(flatten)]
    pub days: DayRange,
    /// Only this project; may be repeated [default: every project with an enabled integration]
    #[arg(long = "project", value_name = "ID")]
    pub projects: Vec<String>,
    /// Publish only the parts of today that are over, as EXPORT_EVERY divides it
    #[arg(long, conflicts_with_all = ["day", "from", "to", "count", "yes"])]
    pub steps: bool,
    /// Show what would be published, and publish nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: also count the events that the jobs hold, by project and kind
    #[arg(long, requires = "dry_run")]
    pub count: bool,
    /// Do not ask before the long history of a project is published
    #[arg(long)]
    pub yes: bool,
    /// Whether nobody is there to be asked, even at a terminal
    #[arg(skip)]
    pub unattended: bool,
    /// Do not migrate the ledger and do not declare queues
    #[arg(long)]
    pub no_setup: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `enqueue` reads from the environment.
#[derive(Clone, Debug)]
pub struct Config {
    source: Server,
    pub(crate) ledger: Server,
    broker: Server,
    ladder: Option<Ladder>,
    pub(crate) horizon: Horizon,
    pub(crate) steps: Option<Steps>,
    observations: bool,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            source: config::source(settings),
            ledger: config::ledger(settings),
            broker: config::broker(settings),
            ladder: config::ladder(settings),
            horizon: config::horizon(settings),
            steps: config::steps(settings),
            observations: config::observations(settings),
        }
    }
}

/// Executes the command.
pub async fn execute(arguments: &Arguments, config: &Config) -> Result<Exit, CommandError> {
    if arguments.steps {
        let Some(steps) = &config.steps else {
            return Err(CommandError::argument(
                "--steps: EXPORT_EVERY is 1d, so a day has no steps; set it to 15m to 12h, for example EXPORT_EVERY=1h",
            ));
        };
        return steps::execute(arguments, config, steps).await;
    }
    let (from, to) = arguments.days.bounds()?;
    let opened = Opened::new(arguments, config).await?;
    let Opened {
        source, ledger, broker, ..
    } = &opened;
    // Held until the last job is recorded. A second producer waits, and then finds everything in
    // the ledger.
    let mut lock = None;
    if !arguments.dry_run {
        lock = Some(lock::take(ledger, LOCK).await?);
    }
    let rules = async || {
        Ok::<_, CommandError>(Rules {
            now: ledger.now().await?,
            horizon: config.horizon,
            from,
            to,
            observations: config.observations,
        })
    };
    let mut now = rules().await?;
    let mut found = opened.everything(&now, &arguments.projects).await?;
    let mut long = LongFirst::default();
    long.look(source, std::mem::take(&mut found.first), arguments, now.observations)
        .await?;
    while long.is_question()
        && let Some(held) = lock.take()
    {
        // No other producer waits for a person. What it did meanwhile is read anew, and what the
        // question did not name is a question of its own.
        held.release().await?;
        long.ask()?;
        lock = Some(lock::take(ledger, LOCK).await?);
        now = rules().await?;
        found = opened.everything(&now, &arguments.projects).await?;
        long.look(source, std::mem::take(&mut found.first), arguments, now.observations)
            .await?;
    }
    let held = found.hold_back(&long);
    if !arguments.dry_run && !found.over.is_empty() {
        let ended = ledger.forget_pauses(&found.over).await?;
        tracing::info!(projects = ?ended, "deleted the pauses that no longer hold");
    }
    let mut report = Report::new(&now, &found.jobs, found.left, long, arguments.dry_run);
    if arguments.count {
        report.counted(counts::count(source, &found.jobs).await?);
    }
    report.announce(arguments.json);
    if !arguments.dry_run {
        let publisher = broker.publisher().await?;
        let sent = publish(&publisher, ledger, &found.jobs).await?;
        if sent.failed.is_empty()
            && let Some(swept) = found.swept
        {
            let looked = now.window();
            let (held, swept): (Vec<_>, Vec<_>) = swept.into_iter().partition(|(id, _)| held.contains(id));
            ledger.record_swept(&swept, &looked).await?;
            // Days that were held back hold data and have no run: the next enqueue looks at them again.
            let nothing = looked.end().next()..=*looked.end();
            ledger.record_swept(&held, &nothing).await?;
            if arguments.projects.is_empty() {
                ledger.record_enqueued().await?;
                if config.steps.is_none() {
                    ledger.forget_steps().await?;
                }
            }
        }
        report.published(sent);
        fold(ledger, &now).await;
        set_aside::look(source, ledger).await;
    }
    if let Some(lock) = lock {
        lock.release().await?;
    }
    opened.broker.close().await;
    report.finish(arguments.json);
    Ok(Exit::of(report.all_confirmed()))
}

/// Folds old steps. A failure takes nothing back that was published: the next enqueue tries again.
async fn fold(ledger: &Ledger, rules: &Rules) {
    match ledger.fold_steps(Day::of(rules.now - KEEP_STEPS)).await {
        Ok(0) => {}
        Ok(steps) => tracing::info!(steps, "folded old steps into the daily runs of their days"),
        Err(error) => tracing::warn!(%error, "old steps were not folded; the next enqueue tries again"),
    }
}

/// What to publish, and what to record once it is published.
struct Found {
    jobs: Vec<Planned>,
    /// The days from before the nightly export of their project began
    first: Vec<FirstExport>,
    /// Projects whose late rows were looked for, and up to when each. `None` when only some days were
    /// looked at.
    swept: Option<Vec<(String, DateTime<Utc>)>>,
    /// What no job is published for
    left: Left,
    /// Pauses that no longer hold, of any project
    over: Vec<Pause>,
}

impl Found {
    /// Leaves out the days that wait for somebody's decision. Answers whose they are.
    fn hold_back(&mut self, long: &LongFirst) -> BTreeSet<String> {
        self.jobs.retain(|planned| !long.holds(planned));
        long.held_back().map(|export| export.project_id.clone()).collect()
    }
}

/// The servers, set up.
struct Opened {
    source: PgPool,
    ledger: Ledger,
    broker: Broker,
    /// Whether the ledger has its schema. A dry run does not create it: the ledger then counts as
    /// empty.
    migrated: bool,
}

impl Opened {
    async fn new(arguments: &Arguments, config: &Config) -> Result<Self, CommandError> {
        let source = servers::source(&config.source).await?;
        let ledger = servers::ledger_unchecked(&config.ledger).await?;
        let broker = Broker::connect(&config.broker).await?;
        if !arguments.no_setup
            && !arguments.dry_run
            && let Some(ladder) = &config.ladder
        {
            setup::prepare(&ledger, &broker, ladder)
                .await
                .map_err(|error| error.of_ledger(config.ledger.instead_of))?;
        }
        let migrated = match ledger.is_migrated().await {
            Ok(migrated) => migrated,
            Err(error) => return Err(CommandError::from(error).of_ledger(config.ledger.instead_of)),
        };
        if !migrated && !arguments.dry_run {
            return Err(CommandError::NotMigrated.of_ledger(config.ledger.instead_of));
        }
        Ok(Self {
            source,
            ledger,
            broker,
            migrated,
        })
    }

    async fn everything(&self, rules: &Rules, asked: &[String]) -> Result<Found, CommandError> {
        let integrations = integration::list(&self.source, None).await?;
        let all = if self.migrated {
            self.ledger.pauses().await?
        } else {
            BTreeMap::new()
        };
        let over = pauses::over(&all, &integrations);
        let known = pauses::holding(all, &integrations);
        let ids = enabled(integrations, asked)?
            .into_iter()
            .map(|stored| stored.project_id);
        let (paused, enabled): (Vec<String>, Vec<String>) = ids.partition(|id| known.contains_key(id));
        let undated = undated(&self.source, &enabled, rules.observations).await?;
        // Before the days are looked at: what arrives meanwhile is for the next enqueue.
        let until = facts::sweep_until(&self.source, rules).await?;
        let ledger = self.migrated.then_some(&self.ledger);
        let projects = facts::projects(&self.source, ledger, rules, &enabled, Effort::Whole).await?;
        if !self.migrated {
            let jobs = plan(rules, &projects, &Arrived::default(), Vec::new());
            let left = Left::new(rules, &projects, paused, undated);
            return Ok(Found {
                first: first_exports(rules, &projects, &jobs),
                jobs,
                swept: None,
                left,
                over,
            });
        }
        let last = self.ledger.sweeps().await?;
        let arrived = facts::late(&self.source, &last, rules, &projects).await?;
        let stuck = self.stuck(rules, asked).await?;
        let whole = rules.from.is_none() && rules.to.is_none();
        let jobs = plan(rules, &projects, &arrived, stuck);
        let swept = |project: &Project| {
            let last = last.get(&project.id).map(|sweep| sweep.until);
            (project.id.clone(), swept_until(rules, project, &arrived, until, last))
        };
        Ok(Found {
            first: first_exports(rules, &projects, &jobs),
            jobs,
            swept: whole.then(|| projects.iter().map(swept).collect()),
            left: Left::new(rules, &projects, paused, undated),
            over,
        })
    }

    /// Jobs whose message seems to be lost. Those of disabled and paused projects are among them:
    /// the worker marks them as skipped.
    async fn stuck(&self, rules: &Rules, asked: &[String]) -> Result<Vec<Planned>, CommandError> {
        let mut unfinished = Vec::new();
        for state in [State::Running, State::Waiting, State::Queued] {
            let filter = shared::ledger::Filter {
                projects: asked.to_vec(),
                state: Some(state),
                from: rules.from,
                to: rules.to,
            };
            unfinished.extend(self.ledger.list(&filter).await?);
        }
        Ok(heal(&unfinished, rules.now, self.queues_are_empty().await?))
    }

    async fn queues_are_empty(&self) -> Result<bool, CommandError> {
        let mut waiting = 0;
        for lane in Lane::ALL {
            waiting += self.broker.depth(lane.queue()).await?.unwrap_or(0);
        }
        Ok(waiting == 0)
    }
}

/// The enabled integrations: all, or those of the projects asked for. It is an error when one of
/// those has none. PURE.
fn enabled(mut enabled: Vec<StoredIntegration>, asked: &[String]) -> Result<Vec<StoredIntegration>, CommandError> {
    enabled.retain(|stored| stored.enabled);
    CommandError::refuse_unknown(
        asked,
        |id| enabled.iter().any(|stored| stored.project_id == id),
        |unknown| {
            format!("no project with an enabled PostHog integration: {unknown}; see `producer integrations list`")
        },
    )?;
    enabled.retain(|stored| asked.is_empty() || asked.contains(&stored.project_id));
    Ok(enabled)
}
