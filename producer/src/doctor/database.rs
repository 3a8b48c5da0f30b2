//! Checks Langfuse's database: can it be reached, are its columns and indexes there, are the rights
//! right?

use shared::langfuse::{has_index, missing_columns, wanted_columns};
use sqlx::PgPool;

use super::check::Check;
use super::finding::{Checked, Finding};
use crate::config::Server;
use crate::servers;

/// An index that the statements need, by its leading columns.
struct Index {
    table: &'static str,
    columns: &'static [&'static str],
    /// What is slow without it
    serves: &'static str,
    /// Whether Langfuse's own migrations create it
    by_langfuse: bool,
}

const INDEXES: &[Index] = &[
    index("traces", &["project_id", "timestamp"], "reading a day's traces"),
    index(
        "observations",
        &["project_id", "start_time"],
        "reading a day's generations",
    ),
    index("observations", &["trace_id", "project_id"], "the totals of a trace"),
    index("scores", &["timestamp"], "reading a day's scores"),
    index(
        "scores",
        &["project_id", "name"],
        "looking for the days of a project's scores",
    ),
    index("traces", &["created_at"], "finding traces that arrived late"),
    index("observations", &["created_at"], "finding generations that arrived late"),
    index("scores", &["created_at"], "finding scores that arrived late"),
    Index {
        table: "scores",
        columns: &["project_id", "timestamp"],
        serves: "reading one project's scores: without it each project's day walks the scores of all projects",
        by_langfuse: false,
    },
];

const fn index(table: &'static str, columns: &'static [&'static str], serves: &'static str) -> Index {
    Index {
        table,
        columns,
        serves,
        by_langfuse: true,
    }
}

/// The handle is the pool; none when the database cannot be reached.
pub(super) async fn check(server: &Server) -> Checked<Option<PgPool>> {
    let source = match servers::source_unchecked(server).await {
        Ok(source) => source,
        Err(error) => {
            return Checked {
                handle: None,
                findings: vec![Finding::unreachable(Check::DatabaseReachable, server, &error)],
            };
        }
    };
    let mut findings = Vec::new();
    if let Err(error) = look(&source, &mut findings).await {
        findings.push(Finding::error(Check::DatabaseReachable, &error));
    }
    Checked {
        handle: Some(source),
        findings,
    }
}

async fn look(source: &PgPool, findings: &mut Vec<Finding>) -> Result<(), sqlx::Error> {
    let (version, replica): (String, bool) =
        sqlx::query_as("-- doctor_version\nselect current_setting('server_version'), pg_is_in_recovery()")
            .fetch_one(source)
            .await?;
    let kind = if replica { "a read replica" } else { "a primary" };
    let found = format!("PostgreSQL {version}, {kind}");
    findings.push(Finding::ok(Check::DatabaseReachable, found));
    let missing = missing_columns(source).await?;
    findings.push(columns(&missing));
    if missing.is_empty() {
        findings.extend(rights(source).await?);
        findings.extend(indexes(source).await?);
    }
    Ok(())
}

fn columns(missing: &[String]) -> Finding {
    const CHECK: Check = Check::DatabaseColumns;
    if missing.is_empty() {
        return Finding::ok(CHECK, "every column that is read is there");
    }
    Finding::problem(
        CHECK,
        format!("there is no {}", missing.join(", ")),
        "Point DATABASE_URL at Langfuse's database (`?schema=name` when its tables are not in `public`) and grant usage on the schema; upgrade Langfuse to a v2 release that has them.",
    )
}

async fn rights(source: &PgPool) -> Result<Vec<Finding>, sqlx::Error> {
    const CHECK: Check = Check::DatabaseRights;
    let (tables, columns) = wanted_columns();
    let unreadable: Vec<String> = sqlx::query_scalar(
        "-- doctor_unreadable
         select w.t || '.' || w.c from unnest($1::text[], $2::text[]) as w (t, c)
         where not has_column_privilege(to_regclass(quote_ident(w.t)), w.c, 'select')",
    )
    .bind(&tables)
    .bind(&columns)
    .fetch_all(source)
    .await?;
    let (user, superuser, writable): (String, bool, Vec<String>) = sqlx::query_as(
        "-- doctor_writable
         select current_user::text, (select rolsuper from pg_roles where rolname = current_user),
                array(select distinct w.t from unnest($1::text[]) as w (t)
                      where has_table_privilege(to_regclass(quote_ident(w.t)), 'insert, update, delete, truncate')
                      order by 1)",
    )
    .bind(&tables)
    .fetch_one(source)
    .await?;
    let advice = "`SELECT` suffices; deploy/sql/reader.sql makes such a role.";
    let mut findings = Vec::new();
    if !unreadable.is_empty() {
        let found = format!("`{user}` may not read {}", unreadable.join(", "));
        findings.push(Finding::problem(
            CHECK,
            found,
            "Grant SELECT on them; see deploy/sql/reader.sql.",
        ));
    }
    if superuser {
        findings.push(Finding::warning(CHECK, format!("`{user}` is a superuser"), advice));
    } else if !writable.is_empty() {
        let found = format!("`{user}` may write {}", writable.join(", "));
        findings.push(Finding::warning(CHECK, found, advice));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            format!("`{user}` may read what is needed and write nothing of it"),
        ));
    }
    Ok(findings)
}

async fn indexes(source: &PgPool) -> Result<Vec<Finding>, sqlx::Error> {
    const CHECK: Check = Check::DatabaseIndexes;
    let mut findings = Vec::new();
    for index in INDEXES {
        let there = has_index(source, index.table, index.columns).await?;
        if there {
            continue;
        }
        let columns = index.columns.join(", ");
        let found = format!("no index on {} ({columns}), which serves {}", index.table, index.serves);
        let create = format!("create index concurrently on {} ({columns});", index.table);
        findings.push(if index.by_langfuse {
            let advice = format!("Langfuse's own migrations make it. By hand: {create}");
            Finding::problem(CHECK, found, advice)
        } else {
            Finding::warning(
                CHECK,
                found,
                format!("With many projects, let the database's owner run: {create}"),
            )
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "every index that is used is there"));
    }
    Ok(findings)
}
