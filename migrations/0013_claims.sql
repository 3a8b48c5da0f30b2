-- One row for each claim of a run: which worker had it, from when to when, and how that ended. Expand-only: a worker of before
-- writes none, and a claim that it follows ends with the next claim that is written.
create table posthog_export.claims (
    project_id  text        not null,
    day         date        not null,
    run         text        not null,
    -- From 1 on. Of a run with many, the first 50 and the latest 50 are kept.
    number      integer     not null,
    -- The lease that the claim was given.
    lease_token uuid        not null,
    worker      text        not null,
    -- All log lines of the claim carry it.
    trace_id    text,
    -- Which attempt it was, from 1 on since a cursor last moved.
    attempt     integer     not null,
    claimed_at  timestamptz not null default clock_timestamp(),
    -- Null: at work. When the row of the run holds another lease or none, nobody wrote down the end.
    ended_at    timestamptz,
    -- taken_over: its lease ran out, and the next claim came. lost: nobody wrote down the end.
    ended_as    text
        check (ended_as in ('completed', 'handed_back', 'waiting', 'skipped', 'dead', 'discarded', 'taken_over', 'lost')),
    error_code  text,
    error       text,
    primary key (project_id, day, run, number),
    foreign key (project_id, day, run) references posthog_export.runs on delete cascade,
    check ((ended_at is null) = (ended_as is null))
)
-- A worker keeps the plans of its statements. One that was made for a table of a few rows would read all of it, each time, while a
-- first backfill fills it; so its few rows are not counted before they are many.
with (autovacuum_analyze_threshold = 2000, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_insert_threshold = 2000);
