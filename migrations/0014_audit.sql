-- What people did in the console. Expand-only: programs of before do not know it.
create table posthog_export.audit (
    id         bigint      generated always as identity primary key,
    at         timestamptz not null default clock_timestamp(),
    -- Where the request came from.
    address    text        not null,
    action     text        not null,
    -- Null: it concerns several projects, or none.
    project_id text,
    -- A list: the ids of what it was done to.
    subjects   jsonb       not null,
    -- `begun` is written before the deed. A row that stays so says that the console ended in the middle of it.
    state      text        not null default 'begun' check (state in ('begun', 'done', 'failed')),
    result     jsonb,
    ended_at   timestamptz,
    -- The number of a confirmation: a form that is sent twice is one deed.
    once       uuid        unique
);
