//! Checks how old the newest row of the enabled projects is.

use chrono::Utc;
use shared::integration;
use sqlx::PgPool;

use super::check::Check;
use super::finding::Finding;
use crate::newest::{WRITES_ELSEWHERE, newest};
use crate::output::{age, count, moment};

const CHECK: Check = Check::DatabaseNewestRow;

/// Nothing when no integration is enabled: another check says that.
pub(super) async fn check(source: &PgPool) -> Option<Finding> {
    look(source)
        .await
        .unwrap_or_else(|error| Some(Finding::error(CHECK, &error)))
}

async fn look(source: &PgPool) -> Result<Option<Finding>, sqlx::Error> {
    let mut enabled = integration::list(source, None).await?;
    enabled.retain(|stored| stored.enabled);
    if enabled.is_empty() {
        return Ok(None);
    }
    let ids: Vec<String> = enabled.into_iter().map(|stored| stored.project_id).collect();
    let now = Utc::now();
    let newest = newest(source, &ids, now).await?;
    let whose = count(ids.len(), "enabled project");
    let found = match newest.of_all {
        None => format!("there is no row of {whose}"),
        Some(at) => format!("the newest row of {whose} is from {}, {} ago", moment(at), age(now, at)),
    };
    Ok(Some(if newest.is_quiet(now) {
        Finding::warning(CHECK, found, WRITES_ELSEWHERE)
    } else {
        Finding::ok(CHECK, found)
    }))
}
