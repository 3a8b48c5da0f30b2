-- The role of SETTINGS_DATABASE_URL, for `producer integrations set`: saves the projects' PostHog settings, and reads no more of
-- Langfuse's tables than which projects there are. Only where somebody shall use that command; no worker and no CronJob needs
-- it. Run in Langfuse's database as the owner of Langfuse's tables, who may create roles (CREATEROLE), or as a superuser:
--
--   psql "$LANGFUSE_DATABASE_URL" -f deploy/sql/settings.sql
--
-- Where those tables are not in the schema `public`, add: -v schema=name
--
-- Then give it a password: \password posthog_export_settings

\set ON_ERROR_STOP on
\if :{?schema}
\else
    \set schema public
\endif
begin;

do $$ begin
    if to_regrole('posthog_export_settings') is null then create role posthog_export_settings login; end if;
end $$;

grant usage on schema :"schema" to posthog_export_settings;
grant select (id, name) on :"schema".projects to posthog_export_settings;
grant select (project_id, encrypted_posthog_api_key, posthog_host_name, enabled),
      insert (project_id, encrypted_posthog_api_key, posthog_host_name, enabled),
      update (encrypted_posthog_api_key, posthog_host_name, enabled)
    on :"schema".posthog_integrations to posthog_export_settings;

commit;
