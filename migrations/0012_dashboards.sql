-- The dashboards that `producer dashboards` made in PostHog. Expand-only: programs of before do not know them.
create table posthog_export.dashboards (
    project_id       text        not null,
    -- The address of PostHog's app, and the number of the project there.
    app              text        not null,
    posthog_project  bigint      not null,
    dashboard_id     bigint      not null,
    name             text        not null,
    -- The event that counts as a conversion.
    conversion_event text,
    -- Fingerprints of name and description: what we wrote, and what PostHog showed of it then. A change of the second is the user's.
    -- Null: it was found there, and nobody knows who changed what.
    written          text,
    shown            text,
    made_at          timestamptz not null default clock_timestamp(),
    primary key (project_id, app, posthog_project)
);

create table posthog_export.dashboard_tiles (
    project_id      text   not null,
    app             text   not null,
    posthog_project bigint not null,
    -- The tile's key in the definition.
    tile            text   not null,
    -- Its number on the dashboard; that of its insight, which a text tile has not.
    tile_id         bigint not null,
    insight_id      bigint,
    -- As above: of name, description and query, or of the text.
    written         text,
    shown           text,
    -- Whether it stands where it should; from then on its place is the user's.
    placed          boolean not null,
    primary key (project_id, app, posthog_project, tile),
    foreign key (project_id, app, posthog_project)
        references posthog_export.dashboards on update cascade on delete cascade
);
