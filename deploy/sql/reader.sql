-- The role of DATABASE_URL: reads what is exported of Langfuse's tables, and nothing else: no `input`, no `output`.
-- Run in Langfuse's database as the owner of Langfuse's tables, who may create roles (CREATEROLE), or as a superuser. Where
-- nobody is both: docs/INSTALL.md, "Managed PostgreSQL".
--
--   psql "$LANGFUSE_DATABASE_URL" -f deploy/sql/reader.sql
--
-- Where those tables are not in the schema `public`, add: -v schema=name
--
-- It may be run again. Then give it a password: \password posthog_export_reader

\set ON_ERROR_STOP on
\if :{?schema}
\else
    \set schema public
\endif
begin;

do $$ begin
    -- 80: docs/SCALE.md, "Connections".
    if to_regrole('posthog_export_reader') is null then create role posthog_export_reader login connection limit 80; end if;
    -- A second fence; the programs ask for the same by themselves. Once it is set, nobody needs the right to alter roles.
    if not exists (select from pg_db_role_setting
                   where setrole = to_regrole('posthog_export_reader') and setdatabase = 0
                       and 'default_transaction_read_only=on' = any (setconfig)) then
        alter role posthog_export_reader set default_transaction_read_only = on;
    end if;
end $$;

grant usage on schema :"schema" to posthog_export_reader;
set local search_path to :"schema";
do $$
declare
    wanted record;
    lacking text;
begin
    for wanted in select * from (values
        ('projects', 'id, name, created_at'),
        ('traces', 'id, project_id, timestamp, name, user_id, session_id, release, version, tags, metadata, created_at, updated_at'),
        ('observations', 'id, project_id, trace_id, type, start_time, end_time, completion_start_time, name, version, model,
            internal_model, level, unit, prompt_tokens, completion_tokens, total_tokens, input_cost, output_cost, total_cost,
            calculated_total_cost, created_at, updated_at'),
        ('scores', 'id, project_id, trace_id, timestamp, name, value, string_value, data_type, comment, source, observation_id,
            created_at, updated_at'),
        ('models', 'project_id, model_name, unit, start_date, input_price, output_price, total_price'),
        ('posthog_integrations', 'project_id, encrypted_posthog_api_key, posthog_host_name, enabled')
    ) as list (named, columns)
    loop
        execute format('grant select (%s) on %I to posthog_export_reader', wanted.columns, wanted.named);
        -- PostgreSQL only warns when somebody grants what he may not give on. Nothing is granted then.
        select string_agg(name, ', ') into lacking from regexp_split_to_table(wanted.columns, '\s*,\s*') as name
        where not has_column_privilege('posthog_export_reader', quote_ident(wanted.named), name, 'select');
        if lacking is not null then
            raise exception 'posthog_export_reader was not given the right to read % of %', lacking, wanted.named
                using hint = 'Run this file as the owner of Langfuse''s tables: docs/INSTALL.md, "Managed PostgreSQL".';
        end if;
    end loop;
    if not has_schema_privilege('posthog_export_reader', current_schema(), 'usage') then
        raise exception 'posthog_export_reader was not given the right to use the schema %', current_schema()
            using hint = 'Run this file as the owner of the schema: docs/INSTALL.md, "Managed PostgreSQL".';
    end if;
end $$;

commit;
