-- The role of LEDGER_DATABASE_URL for `producer console --allow-actions`: it reads the ledger, and writes what actions write and
-- no more. No other but the owner writes the table `audit`. Run after `producer migrate`, since it names single tables, as the
-- one who ran ledger.sql (may create roles, and is a member of posthog_export_owner), or as a superuser; again after an upgrade
-- whose notes say so:
--
--   psql "$LEDGER_ADMIN_URL" -f deploy/sql/operator.sql
--
-- Then give it a password: \password posthog_export_operator

\set ON_ERROR_STOP on
begin;

do $$ begin
    if to_regrole('posthog_export_operator') is null then create role posthog_export_operator login; end if;
end $$;

grant usage on schema posthog_export to posthog_export_operator;
grant select on all tables in schema posthog_export to posthog_export_operator;
alter default privileges for role posthog_export_owner in schema posthog_export
    grant select on tables to posthog_export_operator;

-- What was done is never taken away, and of a row that is there only the end is written.
grant insert (address, action, project_id, subjects, once), update (state, result, ended_at)
    on posthog_export.audit to posthog_export_operator;
-- Pause, resume.
grant insert, update, delete on posthog_export.paused to posthog_export_operator;
-- Runs of replays, requeue, discard. What running jobs have sent is the workers' alone.
grant insert, update on posthog_export.runs to posthog_export_operator;
-- A run that is discarded after its lease ran out: its last claim ends in the same statement.
grant update (ended_at, ended_as) on posthog_export.claims to posthog_export_operator;

commit;
