-- What PostHog held of a day when `producer verify` last looked. Expand-only: programs of before do not know it.
create table posthog_export.arrivals (
    project_id       text        not null,
    day              date        not null,
    -- The last completed run of the day, as the verdict found it; a later one makes the day due again.
    run              text        not null,
    run_completed_at timestamptz not null,
    verdict          text        not null check (verdict in ('arrived', 'not_yet', 'missing', 'extra', 'unknown')),
    -- Why nothing is known, or the verdict as a sentence.
    says             text        not null,
    -- Events that must be there, those of them that are not, those that nothing calls for, those that may be there or not, and
    -- copies that are not folded.
    expected         bigint      not null default 0,
    missing          bigint      not null default 0,
    extra            bigint      not null default 0,
    late             bigint      not null default 0,
    copies           bigint      not null default 0,
    -- Only counts could be compared.
    weaker           boolean     not null default false,
    -- From this hour of the day on everything is missing.
    nothing_after    smallint,
    -- The streams that miss events, and some of their rows.
    streams          text[]      not null default '{}',
    sample           text[]      not null default '{}',
    -- Missing events by hour, `{"trace": {"19": [expected, missing]}}`.
    hours            jsonb       not null default '{}',
    checked_at       timestamptz not null default clock_timestamp(),
    -- When a replay of what is missing was published for this verdict.
    repaired_at      timestamptz,
    primary key (project_id, day)
);

-- The few that need somebody.
create index arrivals_missing on posthog_export.arrivals (day) where verdict = 'missing';

-- Which PostHog project a target is: host and fingerprint of the key, as in `runs.target`.
create table posthog_export.posthog_projects (
    target          text        primary key,
    posthog_project bigint      not null,
    found_at        timestamptz not null default clock_timestamp()
);
