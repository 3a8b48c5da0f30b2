-- The roles of LEDGER_DATABASE_URL, in the database that holds the schema `posthog_export`; Langfuse's own, or another. Run
-- as the owner of that database, who may create roles (CREATEROLE), or as a superuser:
--
--   psql "$LEDGER_ADMIN_URL" -f deploy/sql/ledger.sql
--
-- posthog_export_owner  owns the schema: for `producer migrate`
-- posthog_export_app    reads and writes its tables: for `producer` and `worker`
-- posthog_export_viewer reads its tables: for `producer console`
--
-- All of it is done, or nothing. Who runs it becomes a member of posthog_export_owner, which backup, restore, uninstall and
-- operator.sql need. deploy/sql/operator.sql makes the role of a console that may act, after `producer migrate`.
--
-- Then give each a password: \password posthog_export_owner

\set ON_ERROR_STOP on
begin;

do $$ begin
    if to_regrole('posthog_export_owner') is null then create role posthog_export_owner login; end if;
    if to_regrole('posthog_export_app') is null then create role posthog_export_app login; end if;
    -- 20: two consoles. However many pages are asked for, workers must find a connection.
    if to_regrole('posthog_export_viewer') is null then create role posthog_export_viewer login connection limit 20; end if;
end $$;
alter role posthog_export_viewer set default_transaction_read_only = on;

-- Who is no superuser gives a schema only to a role that he is a member of.
grant posthog_export_owner to current_user;
create schema posthog_export authorization posthog_export_owner;
grant usage on schema posthog_export to posthog_export_app, posthog_export_viewer;
-- For the tables that `producer migrate` makes, now and later. Of the audit and the list of migrations it takes all but reading
-- away again (migrations/0015_not_the_workers.sql).
alter default privileges for role posthog_export_owner in schema posthog_export
    grant select, insert, update, delete on tables to posthog_export_app;
alter default privileges for role posthog_export_owner in schema posthog_export
    grant select on tables to posthog_export_viewer;

commit;
