-- When somebody first asked for a run. `queued_at` says when its message was last published. Expand-only: programs of before
-- leave it to the default.
alter table posthog_export.runs add column asked_at timestamptz not null default now();

-- What a worker reads every half minute for its metrics; each answer is the first entry of an index. The conditions stand in
-- `ledger_gauges` in the same words.
create index runs_unfinished_daily on posthog_export.runs (day)
    where state in ('queued', 'running', 'waiting') and (asked_at at time zone 'UTC')::date <= day + 1;
create index runs_unfinished_backfill on posthog_export.runs (asked_at)
    where state in ('queued', 'running', 'waiting') and (asked_at at time zone 'UTC')::date > day + 1;
create index runs_completed on posthog_export.runs (completed_at) where state = 'completed';
