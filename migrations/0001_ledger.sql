-- The ledger: what was exported, what is on its way, what was refused. Forward-only; the schema itself is created by
-- the migrator, and so is its table of migrations, which lives inside (never in `public`, which belongs to Langfuse).

create table posthog_export.runs (
    project_id       text        not null,
    day              date        not null,
    run              text        not null,
    state            text        not null default 'queued'
        check (state in ('queued', 'running', 'waiting', 'completed', 'dead', 'skipped', 'discarded')),
    -- Failures since a cursor last moved; interruptions are not counted.
    attempt          integer     not null default 0,
    -- How often a worker died with this run since a cursor last moved.
    takeovers        integer     not null default 0,
    -- Who may write: every save and settlement carries the token.
    lease_token      uuid,
    lease_expires_at timestamptz,
    worker           text,
    -- Host and fingerprint of the key; when it changes, what was sent before says nothing.
    target           text,
    -- The filter of a partial run; null: all.
    events           text[],
    created_after    timestamptz,
    error_code       text,
    error            text,
    first_failed_at  timestamptz,
    retry_at         timestamptz,
    queued_at        timestamptz not null default now(),
    -- When the cursors were last at the beginning: rows created after it may be missing from the run.
    started_at       timestamptz,
    completed_at     timestamptz,
    updated_at       timestamptz not null default now(),
    primary key (project_id, day, run)
);

-- What should be moving, and what needs a human; completed rows, the great majority, stay out of it.
create index runs_unfinished on posthog_export.runs (state, project_id, day) where state <> 'completed';

create table posthog_export.streams (
    project_id  text        not null,
    day         date        not null,
    run         text        not null,
    stream      text        not null check (stream in ('trace', 'generation', 'score')),
    -- Keyset position of the last row whose batch was accepted; null: at the beginning.
    cursor_time timestamp,
    cursor_id   text collate "C",
    done        boolean     not null default false,
    -- Absolute counts of the run, so that saving twice changes nothing.
    sent        bigint      not null default 0,
    rejected    bigint      not null default 0,
    batches     bigint      not null default 0,
    bytes       bigint      not null default 0,
    updated_at  timestamptz not null default now(),
    primary key (project_id, day, run, stream),
    foreign key (project_id, day, run) references posthog_export.runs on delete cascade,
    check ((cursor_time is null) = (cursor_id is null))
);

-- Rows that PostHog will never accept.
create table posthog_export.rejects (
    project_id  text        not null,
    day         date        not null,
    run         text        not null,
    stream      text        not null,
    row_id      text        not null,
    reason      text        not null,
    created_at  timestamptz not null default now(),
    foreign key (project_id, day, run) references posthog_export.runs on delete cascade
);

-- Hashed, because an id may be longer than a B-tree entry can hold.
create unique index rejects_row on posthog_export.rejects (project_id, day, run, stream, md5(row_id));
