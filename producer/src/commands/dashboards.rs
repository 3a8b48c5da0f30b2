//! `dashboards`: the dashboard "AI metrics" in a project's PostHog, made through PostHog's public
//! API.

mod accept;
mod help;
mod look;
mod make;
mod maker;
mod place;
mod remove;
mod say;
mod wire;

use clap::{Args, Subcommand};
use reqwest::{Certificate, Url};
use shared::egress::Egress;
use shared::integration::{self, Integration};
use shared::ledger::{DashboardKey, Ledger};
use shared::settings::Settings;
use shared::settings::variables::POSTHOG_CA_FILE;

use crate::config::{self, Key, Server};
use crate::dashboards::definition::Definition;
use crate::dashboards::plan::Mode;
use crate::error::CommandError;
use crate::facts::check_project;
use crate::lock;
use crate::output::{self, Exit};
use crate::posthog_app::{App, AppError, PersonalKeys};
use crate::posthog_project::{self, Found};
use crate::servers;

use say::Report;
use wire::Wire;

/// What to do with the dashboard.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Make the dashboard; if it is there, make the tiles that are new
    #[command(after_help = help::CREATE)]
    Create(Making),
    /// Bring the dashboard to this release; what you changed stays as it is
    #[command(after_help = help::UPDATE)]
    Update(Making),
    /// Show the dashboard's link, and what became of each tile
    #[command(after_help = help::SHOW)]
    Show(Looking),
    /// Delete what was made here and is unchanged
    #[command(after_help = help::DELETE)]
    Delete(Deleting),
}

/// Which dashboard.
#[derive(Args, Clone, Debug, Default)]
pub struct Which {
    /// The project (Langfuse's id)
    #[arg(long, value_name = "ID")]
    pub project: String,
    /// The number of the project in PostHog, where the personal API key may not list projects; it is
    /// remembered
    #[arg(long, value_name = "NUMBER")]
    pub posthog_project: Option<i64>,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `create` and `update`.
#[derive(Args, Clone, Debug, Default)]
pub struct Making {
    /// Which dashboard
    #[command(flatten)]
    pub which: Which,
    /// The event that counts as a conversion; it is remembered
    #[arg(long, value_name = "NAME")]
    pub conversion_event: Option<String>,
    /// The dashboard's title [default: AI metrics]; it is remembered
    #[arg(long, value_name = "TITLE")]
    pub name: Option<String>,
    /// Undo your changes in PostHog to the tiles that were made here
    #[arg(long)]
    pub recreate: bool,
    /// Print the requests, and send none that changes or tries something
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `show`.
#[derive(Args, Clone, Debug, Default)]
pub struct Looking {
    /// Which dashboard
    #[command(flatten)]
    pub which: Which,
}

/// Arguments of `delete`.
#[derive(Args, Clone, Debug, Default)]
pub struct Deleting {
    /// Which dashboard
    #[command(flatten)]
    pub which: Which,
    /// Print the requests, and send none that changes something
    #[arg(long)]
    pub dry_run: bool,
}

/// What the commands read from the environment.
#[derive(Debug)]
pub struct Config {
    source: Server,
    ledger: Server,
    key: Key,
    keys: PersonalKeys,
    egress: Egress,
    authorities: Vec<Certificate>,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            source: config::source(settings),
            ledger: config::ledger(settings),
            key: Key::read(settings),
            keys: PersonalKeys::read(settings),
            egress: Egress::read(settings),
            authorities: settings.certificates(&POSTHOG_CA_FILE),
        }
    }
}

/// Executes the command.
pub async fn execute(command: &Command, config: &Config) -> Result<Exit, CommandError> {
    let (which, dry_run) = match command {
        Command::Create(making) | Command::Update(making) => (&making.which, making.dry_run),
        Command::Show(looking) => (&looking.which, false),
        Command::Delete(deleting) => (&deleting.which, deleting.dry_run),
    };
    let ledger = servers::ledger(&config.ledger).await?;
    let integration = integration_of(which, config).await?;
    let (app, found) = find(which, &ledger, config, &integration).await?;
    let place = &found.place;
    let definition = Definition::ai_metrics()
        .map_err(|error| CommandError::refused(format!("the dashboard's definition cannot be read: {error}")))?;
    let work = Work {
        ledger: &ledger,
        definition: &definition,
        key: DashboardKey {
            project_id: which.project.clone(),
            app: place.app.as_str().trim_end_matches('/').to_owned(),
            posthog_project: place.project,
        },
    };
    // Two at a time would make everything twice.
    let lock = match command {
        Command::Show(_) => None,
        _ if dry_run => None,
        _ => Some(lock::take(&ledger, &work.lock()).await?),
    };
    let mut wire = Wire::new(&app, place, dry_run);
    let report = match command {
        Command::Create(making) => make::execute(&work, &mut wire, making, Mode::Create).await?,
        Command::Update(making) => make::execute(&work, &mut wire, making, Mode::Update).await?,
        Command::Show(_) => look::execute(&work, &wire).await?,
        Command::Delete(_) => remove::execute(&work, &mut wire).await?,
    };
    if !dry_run {
        found.remember(&ledger, &integration).await?;
    }
    if let Some(lock) = lock {
        lock.release().await?;
    }
    let exit = Exit::of(!matches!(command, Command::Show(_)) || report.dashboard_id.is_some());
    say::say(which.json, &report, &wire.into_requests());
    Ok(exit)
}

/// What the subcommands share.
struct Work<'a> {
    ledger: &'a Ledger,
    definition: &'a Definition,
    key: DashboardKey,
}

impl Work<'_> {
    /// Two PostHogs of one project do not wait for each other.
    fn lock(&self) -> String {
        let DashboardKey {
            project_id,
            app,
            posthog_project,
        } = &self.key;
        format!("dashboards {project_id} {app} {posthog_project}")
    }

    fn report(&self, dry_run: bool) -> Report {
        Report::new(&self.key, dry_run)
    }
}

/// The app with a key for it, and the project there.
async fn find(
    which: &Which,
    ledger: &Ledger,
    config: &Config,
    integration: &Integration,
) -> Result<(App, Found), CommandError> {
    let url = config.keys.app(&integration.host);
    let keys = match config.keys.of(&url) {
        Some(_) => config.keys.clone(),
        None => ask_key(&url)?,
    };
    let app = App::new(keys, config.egress.clone(), config.authorities.clone())?;
    let find = async || posthog_project::find(&app, ledger, &url, integration, which.posthog_project).await;
    let mut found = find().await??;
    // A number that is remembered may be another project's by now.
    if which.posthog_project.is_none()
        && let Err(error) = found.has_key(&app, integration).await
    {
        if !error.is_of_project() {
            return Err(error.into());
        }
        let former = found.place.project;
        found.look_again(&app, ledger, integration).await?;
        found = find().await??;
        if found.place.project == former {
            return Err(error.into());
        }
    }
    Ok((app, found))
}

async fn integration_of(which: &Which, config: &Config) -> Result<Integration, CommandError> {
    let source = servers::source(&config.source).await?;
    check_project(&source, &which.project).await?;
    let stored = integration::list(&source, Some(&which.project)).await?;
    let stored = stored.first().ok_or_else(|| {
        CommandError::refused(format!(
            "project `{}` has no PostHog integration; `producer integrations set` writes one",
            which.project
        ))
    })?;
    let opened = stored.open(config.key.get()?);
    opened.map_err(|fault| CommandError::refused(fault.to_string()))
}

/// Asks at the terminal for a key that may go to this host only.
fn ask_key(url: &Url) -> Result<PersonalKeys, CommandError> {
    // The whole address: the key is sent to exactly that one, be it http.
    let prompt = format!("Personal API key (phx_…) of PostHog at {url}: ");
    match output::ask_secret(&prompt)? {
        Some(key) => PersonalKeys::typed(url, &key).map_err(CommandError::argument),
        None => Err(AppError::NoKey(url.host_str().unwrap_or_default().to_owned()).into()),
    }
}
