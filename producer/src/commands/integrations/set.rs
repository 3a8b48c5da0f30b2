//! `integrations set`: writes a project's PostHog settings as Langfuse's settings page does. No
//! other command writes a table of Langfuse's.

use std::path::PathBuf;

use clap::Args;
use shared::egress::Egress;
use shared::ingestion::ingestion_url;
use shared::integration;
use shared::settings::{ExposeSecret, SecretString, Settings, variables};
use sqlx::PgPool;

use super::check_key;
use crate::config::{self, Key, Server};
use crate::error::CommandError;
use crate::facts::check_project;
use crate::output::{self, Exit, line};
use crate::servers;

/// Arguments of `set`.
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
}

/// What `set` reads from the environment.
#[derive(Debug)]
pub struct SetConfig {
    settings: Server,
    key: Key,
    egress: Egress,
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
    let given = given_key(arguments, config.api_key)?;
    let database = servers::writable(&config.settings).await?;
    check_table(&database).await?;
    check_project(&database, &arguments.project).await?;
    let stored = integration::list(&database, Some(&arguments.project)).await?;
    let exists = !stored.is_empty();
    check_rights(&database, exists, config.settings.variable).await?;
    let api_key = match given {
        Some(key) => Some(key),
        // Another host often has another key, so it is asked for. To enable or disable needs no
        // key.
        None if !exists || host.is_some() => ask(exists)?,
        None => None,
    };
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
            return Err(CommandError::refused(format!(
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
    line(format!(
        "{} the PostHog integration of project {}. `producer integrations check --project {}` asks PostHog whether it knows the key.",
        if exists { "Changed" } else { "Created" },
        arguments.project,
        arguments.project
    ));
    Ok(Exit::Done)
}

/// Refuses a host that the worker could not use. It is stored as it was typed, as Langfuse does.
fn check_host(host: &str, egress: &Egress) -> Result<String, CommandError> {
    let host = host.trim();
    let url = ingestion_url(host).map_err(|why| CommandError::refused(format!("--host: {why}")))?;
    egress
        .check_url(&url)
        .map_err(|why| CommandError::refused(format!("--host: {why}")))?;
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
        .map_err(|error| CommandError::refused(format!("--key-file: cannot read {}: {error}", path.display())))?;
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

async fn check_table(database: &PgPool) -> Result<(), CommandError> {
    let there: Option<String> =
        sqlx::query_scalar("-- integrations_table\nselect to_regclass('posthog_integrations')::text")
            .fetch_one(database)
            .await?;
    there
        .map(|_| ())
        .ok_or_else(|| CommandError::Columns(vec!["posthog_integrations".to_owned()]))
}

/// Refuses a role that may only read, before a key is asked for.
async fn check_rights(database: &PgPool, exists: bool, variable: &str) -> Result<(), CommandError> {
    let (role, may, read_only): (String, bool, bool) = sqlx::query_as(
        "-- integrations_rights
         select current_user::text,
                has_any_column_privilege('posthog_integrations', 'update')
                    and ($1 or has_any_column_privilege('posthog_integrations', 'insert')),
                current_setting('transaction_read_only')::boolean",
    )
    .bind(exists)
    .fetch_one(database)
    .await?;
    if may && !read_only {
        return Ok(());
    }
    Err(CommandError::Setting(format!(
        "the role `{role}` of {variable} may not write the projects' PostHog settings. Set {} to a role that may, \
         and to a primary: deploy/sql/settings.sql makes posthog_export_settings",
        variables::SETTINGS_DATABASE_URL.name
    )))
}

async fn insert(database: &PgPool, project: &str, host: &str, key: &str, enabled: bool) -> Result<(), CommandError> {
    sqlx::query(
        "-- integrations_insert
         insert into posthog_integrations (project_id, posthog_host_name, encrypted_posthog_api_key, enabled)
         values ($1, $2, $3, $4)
         on conflict (project_id) do update
         set posthog_host_name = excluded.posthog_host_name, enabled = excluded.enabled,
             encrypted_posthog_api_key = excluded.encrypted_posthog_api_key",
    )
    .bind(project)
    .bind(host)
    .bind(key)
    .bind(enabled)
    .execute(database)
    .await?;
    Ok(())
}

async fn update(
    database: &PgPool,
    project: &str,
    host: Option<&str>,
    key: Option<&str>,
    enabled: Option<bool>,
) -> Result<(), CommandError> {
    sqlx::query(
        "-- integrations_update
         update posthog_integrations
         set posthog_host_name = coalesce($2, posthog_host_name), enabled = coalesce($4, enabled),
             encrypted_posthog_api_key = coalesce($3, encrypted_posthog_api_key)
         where project_id = $1",
    )
    .bind(project)
    .bind(host)
    .bind(key)
    .bind(enabled)
    .execute(database)
    .await?;
    Ok(())
}
