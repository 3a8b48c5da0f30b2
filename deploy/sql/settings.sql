-- The role of SETTINGS_DATABASE_URL, for `producer integrations set`: saves the projects' PostHog settings, and reads no more of
-- Langfuse's tables than which projects there are. Only where somebody shall use that command; no worker and no CronJob needs
-- it. Run once as the owner of Langfuse's tables, in Langfuse's database:
--
--   psql "$LANGFUSE_DATABASE_URL" -f deploy/sql/settings.sql
--
-- Where those tables are not in the schema `public`, add: -v schema=name
--
-- Then give it a password: \password posthog_export_settings

\if :{?schema}
\else
    \set schema public
\endif

create role posthog_export_settings login;

grant usage on schema :"schema" to posthog_export_settings;
grant select (id, name) on :"schema".projects to posthog_export_settings;
grant select (project_id, encrypted_posthog_api_key, posthog_host_name, enabled),
      insert (project_id, encrypted_posthog_api_key, posthog_host_name, enabled),
      update (encrypted_posthog_api_key, posthog_host_name, enabled)
    on :"schema".posthog_integrations to posthog_export_settings;
