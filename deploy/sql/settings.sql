-- The role of SETTINGS_DATABASE_URL, for `producer integrations set`: saves the projects' PostHog settings, and reads no more of
-- Langfuse's tables than which projects there are. Only where somebody shall use that command; no worker and no CronJob needs
-- it. Run in Langfuse's database as the owner of Langfuse's tables, who may create roles (CREATEROLE), or as a superuser. Where
-- nobody is both: docs/INSTALL.md, "Managed PostgreSQL".
--
--   psql "$LANGFUSE_DATABASE_URL" -f deploy/sql/settings.sql
--
-- Where those tables are not in the schema `public`, add: -v schema=name
--
-- It may be run again. Then give it a password: \password posthog_export_settings

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
set local search_path to :"schema";
do $$
declare
    wanted record;
    lacking text;
begin
    for wanted in select * from (values
        ('select', 'projects', 'id, name'),
        ('select', 'posthog_integrations', 'project_id, encrypted_posthog_api_key, posthog_host_name, enabled'),
        ('insert', 'posthog_integrations', 'project_id, encrypted_posthog_api_key, posthog_host_name, enabled'),
        ('update', 'posthog_integrations', 'encrypted_posthog_api_key, posthog_host_name, enabled')
    ) as list (may, named, columns)
    loop
        execute format('grant %s (%s) on %I to posthog_export_settings', wanted.may, wanted.columns, wanted.named);
        -- PostgreSQL only warns when somebody grants what he may not give on. Nothing is granted then.
        select string_agg(name, ', ') into lacking from regexp_split_to_table(wanted.columns, '\s*,\s*') as name
        where not has_column_privilege('posthog_export_settings', quote_ident(wanted.named), name, wanted.may);
        if lacking is not null then
            raise exception 'posthog_export_settings was not given the right to % % of %', wanted.may, lacking, wanted.named
                using hint = 'Run this file as the owner of Langfuse''s tables: docs/INSTALL.md, "Managed PostgreSQL".';
        end if;
    end loop;
    if not has_schema_privilege('posthog_export_settings', current_schema(), 'usage') then
        raise exception 'posthog_export_settings was not given the right to use the schema %', current_schema()
            using hint = 'Run this file as the owner of the schema: docs/INSTALL.md, "Managed PostgreSQL".';
    end if;
end $$;

commit;
