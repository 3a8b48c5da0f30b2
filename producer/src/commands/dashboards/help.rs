//! What the subcommands' `--help` ends with.

pub(super) const CREATE: &str = "\
Examples:
  producer dashboards create --project clx1abc
  producer dashboards create --project clx1abc --conversion-event 'subscription started'
  producer dashboards create --project clx1abc --dry-run --json

The dashboard \"AI metrics\" is made in the PostHog project to which the Langfuse project's events
go. --conversion-event adds the tiles about conversion. docs/DASHBOARDS.md tells what each tile
answers, and what not.

Run it as often as you like: what is there stays. What you renamed, moved, edited, added or deleted
in PostHog also stays as you left it; --recreate undoes that for the tiles that were made here. A
second run for the same dashboard waits until the first is done, and says so.

Each query is tried once before it is stored. Where PostHog refuses one, a simpler form of it is
taken, or the tile is left out, and you are told. --dry-run prints every request that would change
or try something, and sends none of them.

It needs a personal API key of PostHog with the scopes dashboard:write, insight:write, query:read
and project:read (POSTHOG_PERSONAL_API_KEY, POSTHOG_PERSONAL_API_KEYS_FILE). Without one it asks at
the terminal, and does not show what is typed. `verify` needs less: give it another key.

Exit code: 1 when something could not be done. A tile that is left alone or left out is no failure.

JSON: {project_id, posthog_project, dashboard_id, url, dry_run, tiles: [{tile, kind: tile | heading,
title, insight_id, result: made | changed | kept | left | left_out, why}], notes, requests:
[{method, path, body}]}. `requests` comes with --dry-run only.";

pub(super) const UPDATE: &str = "\
Examples:
  producer dashboards update --project clx1abc --dry-run
  producer dashboards update --project clx1abc

Run it after an upgrade of the producer. It changes the tiles of an earlier release that you left as
they were, and makes those that are new. What you changed in PostHog stays; --recreate undoes that
for the tiles that were made here.

It needs the same key as `create`, and writes the same JSON: see `producer dashboards create
--help`.

Exit code: 1 when something could not be done, or when there is no dashboard.";

pub(super) const SHOW: &str = "\
Examples:
  producer dashboards show --project clx1abc
  producer dashboards show --project clx1abc --json

It changes nothing in PostHog. It needs the same key as `create`.

Exit code: 0 when the dashboard is there, 1 when it is not.

JSON: as that of `create`, and a tile that was never made has the result `missing`.";

pub(super) const DELETE: &str = "\
Examples:
  producer dashboards delete --project clx1abc --dry-run
  producer dashboards delete --project clx1abc

It deletes the tiles that were made here and that nobody changed, and the dashboard itself once
nothing else is on it. It leaves tiles that have an alert, where PostHog tells. What it deleted can
be restored in PostHog. It needs the same key as `create`.

Exit code: 1 when something could not be deleted. A tile that is left alone is no failure.

JSON: as that of `create`, and a tile that was deleted has the result `deleted`.";
