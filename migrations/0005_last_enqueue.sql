-- When `producer enqueue` last looked at every day of every project, and had all its messages confirmed: one row. By it a producer
-- that has died is noticed while a backfill or replays keep the workers busy. Expand-only: programs of before do not know it.
create table posthog_export.last_enqueue (
    only_row boolean     primary key default true check (only_row),
    ended_at timestamptz not null
);
