-- The roles of LEDGER_DATABASE_URL, in the database that holds the schema `posthog_export`; Langfuse's own, or another. Run
-- once as a superuser or the owner of that database:
--
--   psql "$LEDGER_ADMIN_URL" -f deploy/sql/ledger.sql
--
-- posthog_export_owner  owns the schema: for `producer migrate`
-- posthog_export_app    reads and writes its tables: for `producer` and `worker`
-- posthog_export_viewer reads its tables: for `producer console`
--
-- deploy/sql/operator.sql makes the role of a console that may act, after `producer migrate`.
--
-- Then give each a password: \password posthog_export_owner

create role posthog_export_owner login;
create role posthog_export_app login;
-- Two consoles. However many pages are asked for, workers must find a connection.
create role posthog_export_viewer login connection limit 20;
alter role posthog_export_viewer set default_transaction_read_only = on;

create schema posthog_export authorization posthog_export_owner;
grant usage on schema posthog_export to posthog_export_app, posthog_export_viewer;
-- For the tables that `producer migrate` makes, now and later.
alter default privileges for role posthog_export_owner in schema posthog_export
    grant select, insert, update, delete on tables to posthog_export_app;
alter default privileges for role posthog_export_owner in schema posthog_export
    grant select on tables to posthog_export_viewer;
