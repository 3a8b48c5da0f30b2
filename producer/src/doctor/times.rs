//! Checks the times in Langfuse's tables: the time zone in which a default would write them, rows
//! whose time lies on no day, and rows that were "created" in the future.

use shared::integration;
use shared::langfuse::undated;
use sqlx::PgPool;

use super::check::Check;
use super::finding::Finding;
use crate::report;

/// A time zone that a server, a database or a role gives to a session that asks for none.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
struct Zone {
    /// As in `database "langfuse"`
    whose: String,
    /// As in `Europe/Berlin`
    name: String,
    /// Hours east of UTC, in winter and in summer
    winter: f64,
    summer: f64,
}

/// Checks the times of a database. Another check names what is missing in it.
pub(super) async fn check(source: &PgPool, observations: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = look(source, observations, &mut findings).await {
        findings.push(Finding::error(Check::DatabaseTimes, &error));
    }
    findings
}

async fn look(source: &PgPool, observations: bool, findings: &mut Vec<Finding>) -> Result<(), sqlx::Error> {
    findings.extend(judge(&zones(source).await?));
    let advice = "Correct or delete them in Langfuse: no job can export them.";
    let before = findings.len();
    let enabled = integration::list(source, None)
        .await?
        .into_iter()
        .filter(|stored| stored.enabled);
    let ids: Vec<String> = enabled.map(|stored| stored.project_id).collect();
    for found in report::undated(&undated(source, &ids, observations).await?) {
        findings.push(Finding::warning(Check::DatabaseTimes, found, advice));
    }
    findings.extend(ahead(source).await?);
    if findings.len() == before {
        let found = "every row to export lies on a day, and none was created in the future";
        findings.push(Finding::ok(Check::DatabaseTimes, found));
    }
    Ok(())
}

/// The time zones that plain sessions get in this database. Our own session always asks for UTC, so
/// it cannot tell. The server's configuration is shown only to roles that may read it, and counts
/// where the database sets nothing else.
async fn zones(source: &PgPool) -> Result<Vec<Zone>, sqlx::Error> {
    const OF_ROLES: &str = "-- doctor_timezones
        select d.whose, d.zone as name,
               extract(epoch from timestamp '2024-01-15' at time zone 'UTC' at time zone d.zone - timestamp '2024-01-15')::float8
                 / 3600 as winter,
               extract(epoch from timestamp '2024-07-15' at time zone 'UTC' at time zone d.zone - timestamp '2024-07-15')::float8
                 / 3600 as summer
        from (select concat_ws(' in ', case when s.setrole <> 0 then 'role ' || quote_ident(pg_get_userbyid(s.setrole)) end,
                               case when s.setdatabase <> 0 then 'database ' || quote_ident(current_database())
                                    when s.setrole <> 0 then 'every database' else 'every role' end) as whose,
                     substr(c, strpos(c, '=') + 1) as zone
              from pg_db_role_setting s cross join unnest(s.setconfig) c
              where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
                and lower(split_part(c, '=', 1)) = 'timezone') d
        order by 1";
    const OF_SERVER: &str = "-- doctor_server_timezone
        select 'the server''s configuration' as whose, f.setting as name,
               extract(epoch from timestamp '2024-01-15' at time zone 'UTC' at time zone f.setting - timestamp '2024-01-15')::float8
                 / 3600 as winter,
               extract(epoch from timestamp '2024-07-15' at time zone 'UTC' at time zone f.setting - timestamp '2024-07-15')::float8
                 / 3600 as summer
        from pg_file_settings f where lower(f.name) = 'timezone' and f.applied
          and not exists (select 1 from pg_db_role_setting s cross join unnest(s.setconfig) c
            where s.setrole = 0 and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
              and lower(split_part(c, '=', 1)) = 'timezone')";
    let mut zones: Vec<Zone> = sqlx::query_as(OF_ROLES).fetch_all(source).await?;
    let may_read = "-- doctor_may_read_configuration
        select has_table_privilege('pg_file_settings', 'select')
           and has_function_privilege('pg_show_all_file_settings()', 'execute')";
    if sqlx::query_scalar(may_read).fetch_one(source).await? {
        zones.extend(sqlx::query_as::<_, Zone>(OF_SERVER).fetch_all(source).await?);
    }
    Ok(zones)
}

/// What the time zones mean for rows whose `created_at` is filled by the column's default. PURE.
fn judge(zones: &[Zone]) -> Vec<Finding> {
    const CHECK: Check = Check::DatabaseTimezone;
    let wrong = zones.iter().filter(|zone| zone.winter != 0.0 || zone.summer != 0.0);
    let findings: Vec<Finding> = wrong
        .map(|zone| {
            let harm = if zone.winter < 0.0 || zone.summer < 0.0 {
                "rows that arrive late are missed"
            } else {
                "days are exported twice"
            };
            Finding::warning(
                CHECK,
                format!(
                    "{} sets the time zone {}: where a default fills created_at, {harm}",
                    zone.whose, zone.name
                ),
                "Langfuse itself writes UTC. For anything else that writes its tables, let the owner set timezone to UTC there.",
            )
        })
        .collect();
    if findings.is_empty() {
        return vec![Finding::ok(
            CHECK,
            "no database or role sets another time zone than UTC",
        )];
    }
    findings
}

/// Rows that were "created" more than a minute from now. `clock_timestamp()` may change within a
/// statement, so no index would serve it, and each table would be read to its end.
async fn ahead(source: &PgPool) -> Result<Vec<Finding>, sqlx::Error> {
    const STATEMENTS: [(&str, &str); 3] = [
        (
            "traces",
            "-- doctor_traces_ahead
             select count(*) from (select 1 from traces
               where created_at > (now() at time zone 'UTC') + interval '1 minute' limit 1001) r",
        ),
        (
            "observations",
            "-- doctor_observations_ahead
             select count(*) from (select 1 from observations
               where created_at > (now() at time zone 'UTC') + interval '1 minute' limit 1001) r",
        ),
        (
            "scores",
            "-- doctor_scores_ahead
             select count(*) from (select 1 from scores
               where created_at > (now() at time zone 'UTC') + interval '1 minute' limit 1001) r",
        ),
    ];
    let mut findings = Vec::new();
    for (table, statement) in STATEMENTS {
        let rows: i64 = sqlx::query_scalar(statement).fetch_one(source).await?;
        if rows > 0 {
            let number = match rows {
                1 => "1 row has".to_owned(),
                2..=1000 => format!("{rows} rows have"),
                _ => "over 1000 rows have".to_owned(),
            };
            findings.push(Finding::warning(
                Check::DatabaseTimes,
                format!("{table}: {number} a created_at in the future"),
                "They may be exported twice. Look at the clock and the time zone of what writes them.",
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn only_a_zone_that_is_utc_all_year_passes() {
        for (zone, winter, summer, harm) in [
            ("UTC", 0.0, 0.0, None),
            ("Europe/London", 0.0, 1.0, Some("exported twice")),
            ("America/New_York", -5.0, -4.0, Some("are missed")),
        ] {
            let found = judge(&[Zone {
                whose: "role langfuse in every database".to_owned(),
                name: zone.to_owned(),
                winter,
                summer,
            }]);
            assert_eq!(found.len(), 1);
            let status = harm.map_or(Status::Ok, |_| Status::Warning);
            assert_eq!(found[0].status, status, "{zone}");
            assert!(found[0].found.contains(harm.unwrap_or_default()), "{}", found[0].found);
        }
    }
}
