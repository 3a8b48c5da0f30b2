-- The role of DATABASE_URL: reads what is exported of Langfuse's tables, and nothing else: no `input` or `output` of a trace. Run once as the owner of Langfuse's tables, in Langfuse's database:
--
--   psql "$LANGFUSE_DATABASE_URL" -f deploy/sql/reader.sql
--
-- Then give it a password: \password posthog_export_reader

create role posthog_export_reader login
    -- A second fence; the programs ask for the same by themselves.
    connection limit 50;
alter role posthog_export_reader set default_transaction_read_only = on;

grant usage on schema public to posthog_export_reader;
grant select (id, name, created_at) on public.projects to posthog_export_reader;
grant select (id, project_id, timestamp, name, user_id, session_id, release, version, tags, metadata, created_at)
    on public.traces to posthog_export_reader;
-- Whole tables: the statements that read them name them as a whole.
grant select on public.observations, public.scores to posthog_export_reader;
grant select (project_id, model_name, unit, start_date, input_price, output_price, total_price)
    on public.models to posthog_export_reader;
grant select (project_id, encrypted_posthog_api_key, posthog_host_name, enabled) on public.posthog_integrations
    to posthog_export_reader;
