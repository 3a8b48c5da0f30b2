//! Langfuse's table of PostHog settings, as `integrations set` writes it.

use shared::settings::variables;
use sqlx::PgPool;

use crate::config::Server;
use crate::error::CommandError;

/// Refuses a database without Langfuse's table of integrations.
pub(super) async fn check_table(database: &PgPool) -> Result<(), CommandError> {
    let there: Option<String> =
        sqlx::query_scalar("-- integrations_table\nselect to_regclass('posthog_integrations')::text")
            .fetch_one(database)
            .await?;
    there
        .map(|_| ())
        .ok_or_else(|| CommandError::Columns(vec!["posthog_integrations".to_owned()]))
}

/// Refuses a role that may only read, before a key is asked for.
pub(super) async fn check_rights(database: &PgPool, exists: bool, server: &Server) -> Result<(), CommandError> {
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
    let variable = server.variable;
    let whose = match server.instead_of {
        Some(unset) => format!("{unset} is not set, so {variable} is used, and its role `{role}`"),
        None => format!("the role `{role}` of {variable}"),
    };
    Err(CommandError::Setting(format!(
        "{whose} may not write the projects' PostHog settings. Set {} to a role that may, and to a primary: \
         deploy/sql/settings.sql makes posthog_export_settings",
        variables::SETTINGS_DATABASE_URL.name
    )))
}

/// Makes the row of a project that has none.
pub(super) async fn insert(
    database: &PgPool,
    project: &str,
    host: &str,
    key: &str,
    enabled: bool,
) -> Result<(), CommandError> {
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

/// Changes what is given of a project's row.
pub(super) async fn update(
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
