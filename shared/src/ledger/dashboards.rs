//! The dashboards that were made in PostHog, and what their tiles looked like when we left them.

use serde::Serialize;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::Ledger;
use super::error::LedgerError;
use super::statement::answered;

/// Which dashboard: a Langfuse project's in one PostHog project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DashboardKey {
    /// Langfuse's project
    pub project_id: String,
    /// The address of PostHog's app
    pub app: String,
    /// The project's number there
    pub posthog_project: i64,
}

/// A dashboard, as we left it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct KnownDashboard {
    /// Its number
    pub dashboard_id: i64,
    /// Its title
    pub name: String,
    /// The event that counts as a conversion
    pub conversion_event: Option<String>,
    /// Fingerprint of what we wrote; none where it was found
    pub written: Option<String>,
    /// Fingerprint of what PostHog showed of that
    pub shown: Option<String>,
}

/// A tile, as we left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct KnownTile {
    /// Its key in the definition
    pub tile: String,
    /// Its number on the dashboard
    pub tile_id: i64,
    /// The number of its insight; a text tile has none
    pub insight_id: Option<i64>,
    /// Fingerprint of what we wrote; none where it was found
    pub written: Option<String>,
    /// Fingerprint of what PostHog showed of that
    pub shown: Option<String>,
    /// Whether it was put in its place
    pub placed: bool,
}

impl Ledger {
    /// The dashboard, if one was made, and its tiles.
    pub async fn dashboard(&self, key: &DashboardKey) -> Result<Option<(KnownDashboard, Vec<KnownTile>)>, LedgerError> {
        let dashboard = sqlx::query_as(
            "-- ledger_dashboard
             select dashboard_id, name, conversion_event, written, shown from posthog_export.dashboards
             where project_id = $1 and app = $2 and posthog_project = $3",
        )
        .bind(&key.project_id)
        .bind(&key.app)
        .bind(key.posthog_project);
        let Some(dashboard) = answered(dashboard.fetch_optional(&self.pool)).await? else {
            return Ok(None);
        };
        let tiles = sqlx::query_as(
            "-- ledger_dashboard_tiles
             select tile, tile_id, insight_id, written, shown, placed from posthog_export.dashboard_tiles
             where project_id = $1 and app = $2 and posthog_project = $3
             order by tile",
        )
        .bind(&key.project_id)
        .bind(&key.app)
        .bind(key.posthog_project);
        let tiles = answered(tiles.fetch_all(&self.pool)).await?;
        Ok(Some((dashboard, tiles)))
    }

    /// Remembers a dashboard.
    pub async fn record_dashboard(&self, key: &DashboardKey, dashboard: &KnownDashboard) -> Result<(), LedgerError> {
        answered(write_dashboard(key, dashboard).execute(&self.pool)).await?;
        Ok(())
    }

    /// Remembers another dashboard than before, with these tiles and no others.
    pub async fn replace_dashboard(
        &self,
        key: &DashboardKey,
        dashboard: &KnownDashboard,
        tiles: &[KnownTile],
    ) -> Result<(), LedgerError> {
        let replaced = async {
            let mut tx = self.pool.begin().await?;
            write_dashboard(key, dashboard).execute(&mut *tx).await?;
            let former = sqlx::query(
                "-- ledger_forget_dashboard_tiles
                 delete from posthog_export.dashboard_tiles
                 where project_id = $1 and app = $2 and posthog_project = $3",
            );
            let former = former.bind(&key.project_id).bind(&key.app).bind(key.posthog_project);
            former.execute(&mut *tx).await?;
            for tile in tiles {
                write_tile(key, tile).execute(&mut *tx).await?;
            }
            tx.commit().await
        };
        answered(replaced).await
    }

    /// Remembers a tile of a dashboard that is remembered.
    pub async fn record_dashboard_tile(&self, key: &DashboardKey, tile: &KnownTile) -> Result<(), LedgerError> {
        answered(write_tile(key, tile).execute(&self.pool)).await?;
        Ok(())
    }

    /// Forgets a dashboard and its tiles: it was deleted.
    pub async fn forget_dashboard(&self, key: &DashboardKey) -> Result<(), LedgerError> {
        let gone = sqlx::query(
            "-- ledger_forget_dashboard
             delete from posthog_export.dashboards where project_id = $1 and app = $2 and posthog_project = $3",
        )
        .bind(&key.project_id)
        .bind(&key.app)
        .bind(key.posthog_project);
        answered(gone.execute(&self.pool)).await?;
        Ok(())
    }

    /// Forgets a tile: it was deleted.
    pub async fn forget_dashboard_tile(&self, key: &DashboardKey, tile: &str) -> Result<(), LedgerError> {
        let gone = sqlx::query(
            "-- ledger_forget_dashboard_tile
             delete from posthog_export.dashboard_tiles
             where project_id = $1 and app = $2 and posthog_project = $3 and tile = $4",
        )
        .bind(&key.project_id)
        .bind(&key.app)
        .bind(key.posthog_project)
        .bind(tile);
        answered(gone.execute(&self.pool)).await?;
        Ok(())
    }
}

type Statement<'a> = Query<'a, Postgres, PgArguments>;

fn write_dashboard<'a>(key: &'a DashboardKey, dashboard: &'a KnownDashboard) -> Statement<'a> {
    sqlx::query(
        "-- ledger_record_dashboard
         insert into posthog_export.dashboards
           (project_id, app, posthog_project, dashboard_id, name, conversion_event, written, shown)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (project_id, app, posthog_project) do update
         set dashboard_id = excluded.dashboard_id, name = excluded.name,
             conversion_event = excluded.conversion_event, written = excluded.written, shown = excluded.shown",
    )
    .bind(&key.project_id)
    .bind(&key.app)
    .bind(key.posthog_project)
    .bind(dashboard.dashboard_id)
    .bind(&dashboard.name)
    .bind(&dashboard.conversion_event)
    .bind(&dashboard.written)
    .bind(&dashboard.shown)
}

fn write_tile<'a>(key: &'a DashboardKey, tile: &'a KnownTile) -> Statement<'a> {
    sqlx::query(
        "-- ledger_record_dashboard_tile
         insert into posthog_export.dashboard_tiles
           (project_id, app, posthog_project, tile, tile_id, insight_id, written, shown, placed)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (project_id, app, posthog_project, tile) do update
         set tile_id = excluded.tile_id, insight_id = excluded.insight_id, written = excluded.written,
             shown = excluded.shown, placed = excluded.placed",
    )
    .bind(&key.project_id)
    .bind(&key.app)
    .bind(key.posthog_project)
    .bind(&tile.tile)
    .bind(tile.tile_id)
    .bind(tile.insight_id)
    .bind(&tile.written)
    .bind(&tile.shown)
    .bind(tile.placed)
}
