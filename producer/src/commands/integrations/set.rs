//! `integrations set`: writes a project's PostHog settings as Langfuse's settings page does. No
//! other command writes a table of Langfuse's.

use std::path::PathBuf;

use clap::Args;
use reqwest::Certificate;
use serde::Serialize;
use shared::egress::Egress;
use shared::ingestion::ingestion_url;
use shared::integration;
use shared::settings::{ExposeSecret, SecretString, Settings, variables};
use sqlx::PgPool;

use super::check_key;
use super::rows::{check_rights, check_table, insert, update};
use crate::config::{self, Key, Server};
use crate::error::CommandError;
use crate::facts::check_project;
use crate::key_check::{self, KeyAnswer};
use crate::output::{self, Exit, line};
use crate::servers;

/// Arguments of `set`.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Args, Clone, Debug)]
pub struct SetArguments {
    /// The project (Langfuse's id)
    #[arg(long, value_name = "ID")]
    pub project: String,
    /// PostHog's host, for example `https://eu.i.posthog.com`
    #[arg(long, value_name = "URL")]
    pub host: Option<String>,
    /// A file that holds the project API key
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Enable the integration
    #[arg(long, conflicts_with = "disable")]
    pub enable: bool,
    /// Disable the integration
    #[arg(long)]
    pub disable: bool,
    /// Do not ask the host whether it knows the key
    #[arg(long)]
    pub no_check: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `set` reads from the environment.
#[derive(Debug)]
pub struct SetConfig {
    settings: Server,
    key: Key,
    egress: Egress,
    ca: Vec<Certificate>,
    api_key: Option<SecretString>,
}

impl SetConfig {
    /// Reads it.
    pub fn read(arguments: &SetArguments, settings: &mut Settings) -> Self {
        let api_key = settings.optional_secret(&variables::POSTHOG_API_KEY);
        // Only to enable or disable, nothing is encrypted.
        let stays = arguments.host.is_none() && arguments.key_file.is_none() && api_key.is_none();
        let needed = !stays || !(arguments.enable || arguments.disable);
        Self {
            settings: config::writable_settings(settings),
            key: Key::read_if(needed, settings),
            egress: Egress::read(settings),
            ca: settings.certificates(&variables::POSTHOG_CA_FILE),
            api_key,
        }
    }
}

/// Executes `set`.
pub async fn execute(arguments: &SetArguments, config: SetConfig) -> Result<Exit, CommandError> {
    let host = arguments
        .host
        .as_deref()
        .map(|host| check_host(host, &config.egress))
        .transpose()?;
    let given = given_key(arguments, config.api_key.clone())?;
    let database = servers::writable(&config.settings).await?;
    check_table(&database).await?;
    check_project(&database, &arguments.project).await?;
    let stored = integration::list(&database, Some(&arguments.project)).await?;
    let exists = !stored.is_empty();
    check_rights(&database, exists, &config.settings).await?;
    let api_key = match given {
        Some(key) => Some(key),
        // Another host often has another key, so it is asked for. To enable or disable needs no
        // key.
        None if !exists || host.is_some() => ask(exists)?,
        None => None,
    };
    let is_new_target = host.is_some() || api_key.is_some();
    let encrypted = api_key
        .map(|api_key| {
            config
                .key
                .get()?
                .encrypt(&check_key(&api_key)?)
                .map_err(CommandError::from)
        })
        .transpose()?;
    let enabled = if arguments.enable {
        Some(true)
    } else if arguments.disable {
        Some(false)
    } else {
        None
    };
    if exists {
        update(
            &database,
            &arguments.project,
            host.as_deref(),
            encrypted.as_deref(),
            enabled,
        )
        .await?;
    } else {
        let (Some(host), Some(encrypted)) = (host, encrypted) else {
            return Err(CommandError::argument(format!(
                "project `{}` has no PostHog integration yet: give --host, and the key by --key-file or POSTHOG_API_KEY",
                arguments.project
            )));
        };
        insert(
            &database,
            &arguments.project,
            &host,
            &encrypted,
            enabled.unwrap_or(true),
        )
        .await?;
    }
    let answer = if arguments.no_check || !is_new_target {
        None
    } else {
        asked(&database, &arguments.project, &config).await
    };
    let report = Report {
        project_id: &arguments.project,
        created: !exists,
        check: answer.as_ref().map(|answer| Check {
            result: answer.word(),
            detail: answer.detail(),
        }),
    };
    if arguments.json {
        output::json(&report);
    } else {
        say(&report, arguments.disable, answer.as_ref());
    }
    Ok(Exit::of(answer.is_none_or(|answer| answer.is_usable())))
}

/// What became of the settings.
#[derive(Debug, Serialize)]
struct Report<'a> {
    project_id: &'a str,
    created: bool,
    /// `None`: the host was not asked
    check: Option<Check>,
}

/// What the host said to the key.
#[derive(Debug, Serialize)]
struct Check {
    result: &'static str,
    detail: Option<String>,
}

/// Asks the host whether it knows the key that is stored now. The settings are stored, so whatever
/// keeps it from being asked is an answer, too.
async fn asked(database: &PgPool, project: &str, config: &SetConfig) -> Option<KeyAnswer> {
    let asked = async {
        let stored = integration::list(database, Some(project)).await?;
        key_check::ask(&stored, config.key.get()?, &config.egress, &config.ca).await
    };
    match asked.await {
        Ok(answers) => answers.into_iter().next(),
        Err(error) => Some(KeyAnswer::NoAnswer(error.to_string())),
    }
}

fn say(report: &Report<'_>, disabled: bool, answer: Option<&KeyAnswer>) {
    let project = report.project_id;
    let done = if report.created { "Created" } else { "Changed" };
    line(format!("{done} the PostHog integration of project {project}."));
    if disabled {
        line("It is disabled: no more days of the project are exported.");
    } else {
        line(after(project, answer));
    }
}

/// What the host said, and what to do next. PURE.
fn after(project: &str, answer: Option<&KeyAnswer>) -> String {
    let detail = answer.and_then(KeyAnswer::detail).unwrap_or_default();
    match answer {
        None => format!("`producer integrations check --project {project}` asks PostHog whether it knows the key."),
        Some(KeyAnswer::Known) => "PostHog knows the key.".to_owned(),
        Some(KeyAnswer::Refused) => {
            format!("PostHog does NOT know the key: it would drop all events of the project. {detail}")
        }
        Some(KeyAnswer::NotAsked(_)) => format!("It CANNOT be used: {detail}"),
        Some(KeyAnswer::CannotTell(_) | KeyAnswer::NoAnswer(_)) => format!(
            "It is not known whether PostHog knows the key: {detail}. `producer integrations check --project {project}` \
             asks again."
        ),
    }
}

/// Refuses a host that the worker could not use. It is stored as it was typed, as Langfuse does.
fn check_host(host: &str, egress: &Egress) -> Result<String, CommandError> {
    let host = host.trim();
    let url = ingestion_url(host).map_err(|why| CommandError::argument(format!("--host: {why}")))?;
    egress
        .check_url(&url)
        .map_err(|why| CommandError::argument(format!("--host: {why}")))?;
    Ok(host.to_owned())
}

fn given_key(
    arguments: &SetArguments,
    from_environment: Option<SecretString>,
) -> Result<Option<SecretString>, CommandError> {
    let Some(path) = &arguments.key_file else {
        return Ok(from_environment);
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| CommandError::argument(format!("--key-file: cannot read {}: {error}", path.display())))?;
    Ok(Some(SecretString::from(text)))
}

fn ask(exists: bool) -> Result<Option<SecretString>, CommandError> {
    let prompt = if exists {
        "PostHog project API key (empty: keep the present one): "
    } else {
        "PostHog project API key: "
    };
    let typed = output::ask_secret(prompt)?;
    Ok(typed.filter(|key| !exists || !key.expose_secret().trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_check::Unusable;
    use shared::error_code::ErrorCode;

    #[test]
    fn what_the_host_said_comes_with_what_to_do_next() {
        let why = "no answer within 10 s".to_owned();
        let not_asked = KeyAnswer::NotAsked(Unusable {
            code: ErrorCode::HostNotAllowed,
            reason: why.clone(),
        });
        for (answer, said) in [
            (None, "`producer integrations check --project p`"),
            (Some(KeyAnswer::Known), "PostHog knows the key."),
            (
                Some(KeyAnswer::Refused),
                "does NOT know the key: it would drop all events",
            ),
            (Some(KeyAnswer::Refused), "Correct the project's API key"),
            (
                Some(KeyAnswer::NoAnswer(why.clone())),
                "within 10 s. `producer integrations check",
            ),
            (Some(KeyAnswer::CannotTell(why.clone())), "asks again"),
            (Some(not_asked), "CANNOT be used: no answer"),
        ] {
            let text = after("p", answer.as_ref());
            assert!(text.contains(said), "{text}");
        }
    }
}
