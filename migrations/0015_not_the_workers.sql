-- What the role of workers and the producer only reads: the audit, and the list of migrations. deploy/sql/ledger.sql gives it every
-- table; who takes over a worker must neither erase or make up what was done in the console, nor make all programs believe that
-- the ledger is another. Expand-only: no program of before writes either with that role. Where one role owns the schema and runs
-- everything, nothing changes.
do $$ begin
    if to_regrole('posthog_export_app') is not null and current_user <> 'posthog_export_app' then
        revoke insert, update, delete on posthog_export.audit, posthog_export._sqlx_migrations from posthog_export_app;
    end if;
end $$;
