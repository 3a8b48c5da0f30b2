-- The role of DATABASE_URL: reads what is exported of Langfuse's tables, and nothing else: no `input`, no `output`.
-- Run in Langfuse's database as the owner of Langfuse's tables, who may create roles (CREATEROLE), or as a superuser:
--
--   psql "$LANGFUSE_DATABASE_URL" -f deploy/sql/reader.sql
--
-- Where those tables are not in the schema `public`, add: -v schema=name
--
-- Then give it a password: \password posthog_export_reader

\set ON_ERROR_STOP on
\if :{?schema}
\else
    \set schema public
\endif
begin;

do $$ begin
    if to_regrole('posthog_export_reader') is null then create role posthog_export_reader login connection limit 50; end if;
end $$;
-- A second fence; the programs ask for the same by themselves.
alter role posthog_export_reader set default_transaction_read_only = on;

grant usage on schema :"schema" to posthog_export_reader;
grant select (id, name, created_at) on :"schema".projects to posthog_export_reader;
grant select (id, project_id, timestamp, name, user_id, session_id, release, version, tags, metadata, created_at,
              updated_at)
    on :"schema".traces to posthog_export_reader;
grant select (id, project_id, trace_id, type, start_time, end_time, completion_start_time, name, version, model, internal_model,
              level, unit, prompt_tokens, completion_tokens, total_tokens, input_cost, output_cost, total_cost,
              calculated_total_cost, created_at, updated_at)
    on :"schema".observations to posthog_export_reader;
grant select (id, project_id, trace_id, timestamp, name, value, string_value, data_type, comment, source, observation_id,
              created_at, updated_at)
    on :"schema".scores to posthog_export_reader;
grant select (project_id, model_name, unit, start_date, input_price, output_price, total_price)
    on :"schema".models to posthog_export_reader;
grant select (project_id, encrypted_posthog_api_key, posthog_host_name, enabled) on :"schema".posthog_integrations
    to posthog_export_reader;

commit;
