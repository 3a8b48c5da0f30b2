//! Where in the app a path leads to.

use super::super::behavior::Route;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Projects,
    OwnKey,
    Project(i64),
    Query(i64),
    Dashboards(i64),
    Dashboard(i64, i64),
    TextTile(i64, i64),
    Insights(i64),
    Insight(i64, i64),
}

impl Path {
    pub(super) fn of(path: &str) -> Option<Self> {
        let path = path.trim_matches('/').strip_prefix("api/")?;
        let parts: Vec<&str> = path.split('/').collect();
        Some(match parts[..] {
            ["projects"] => Self::Projects,
            ["personal_api_keys", "@current"] => Self::OwnKey,
            ["projects", project] => Self::Project(project.parse().ok()?),
            ["projects", project, ref within @ ..] => Self::within(project.parse().ok()?, within)?,
            _ => return None,
        })
    }

    fn within(project: i64, parts: &[&str]) -> Option<Self> {
        Some(match parts {
            ["query"] => Self::Query(project),
            ["dashboards"] => Self::Dashboards(project),
            ["dashboards", id] => Self::Dashboard(project, id.parse().ok()?),
            ["dashboards", id, "create_text_tile"] => Self::TextTile(project, id.parse().ok()?),
            ["insights"] => Self::Insights(project),
            ["insights", id] => Self::Insight(project, id.parse().ok()?),
            _ => return None,
        })
    }

    pub(super) fn project(self) -> Option<i64> {
        match self {
            Self::Projects | Self::OwnKey => None,
            Self::Project(project)
            | Self::Query(project)
            | Self::Dashboards(project)
            | Self::Dashboard(project, _)
            | Self::TextTile(project, _)
            | Self::Insights(project)
            | Self::Insight(project, _) => Some(project),
        }
    }

    pub(super) fn route(self) -> Route {
        match self {
            Self::Projects => Route::Projects,
            Self::OwnKey => Route::OwnKey,
            Self::Project(_) => Route::Project,
            Self::Query(_) => Route::Query,
            Self::Dashboards(_) => Route::Dashboards,
            Self::Dashboard(..) | Self::TextTile(..) => Route::Dashboard,
            Self::Insights(_) => Route::Insights,
            Self::Insight(..) => Route::Insight,
        }
    }

    /// What it is answered to, beside the scope of the key that asks.
    pub(super) fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Projects | Self::OwnKey | Self::Project(_) => &["GET"],
            Self::Query(_) | Self::TextTile(..) => &["POST"],
            Self::Dashboards(_) | Self::Insights(_) => &["GET", "POST"],
            Self::Dashboard(..) | Self::Insight(..) => &["GET", "PATCH"],
        }
    }

    /// The scope that it wants of a key.
    pub(super) fn scope(self, is_reading: bool) -> &'static str {
        match (self, is_reading) {
            (Self::Projects | Self::OwnKey | Self::Project(_), _) => "project:read",
            (Self::Query(_), _) => "query:read",
            (Self::Dashboards(_) | Self::Dashboard(..) | Self::TextTile(..), true) => "dashboard:read",
            (Self::Dashboards(_) | Self::Dashboard(..) | Self::TextTile(..), false) => "dashboard:write",
            (Self::Insights(_) | Self::Insight(..), true) => "insight:read",
            (Self::Insights(_) | Self::Insight(..), false) => "insight:write",
        }
    }
}
