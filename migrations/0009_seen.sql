-- What metrics and `status` read of steps and of `settled` runs. Expand-only: programs of before do not know it.

-- The steps of one day, of all projects.
create index runs_steps on posthog_export.runs (day, project_id) where run like 'step-%';
-- The condition stands in `ledger_gauges` in the same words.
create index runs_unfinished_settled on posthog_export.runs (asked_at)
    where state in ('queued', 'running', 'waiting') and run = 'settled';

-- When the steps of all projects were last asked for, with all messages confirmed, and how long and how late steps were to be then:
-- one row, and none where the day is exported once (EXPORT_EVERY=1d).
create table posthog_export.last_steps (
    only_row      boolean     primary key default true check (only_row),
    asked_at      timestamptz not null,
    every_seconds integer     not null,
    lag_seconds   integer     not null
);
