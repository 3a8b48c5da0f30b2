-- Projects whose key or host is wrong: their jobs would fail day after day. Expand-only: programs of before do not know it.
create table posthog_export.paused (
    project_id text        primary key,
    -- Fingerprint of the PostHog settings that were wrong; under others the project goes on by itself. Null: a human paused
    -- it, and only a human ends that.
    settings   text,
    error_code text,
    error      text        not null,
    paused_by  text        not null,
    paused_at  timestamptz not null default now()
);
