//! Checks the ledger: can its database be reached, is its schema of our version, are the rights
//! right?

use shared::ledger::{Ledger, LedgerError, SCHEMA, migrator};

use super::check::Check;
use super::finding::{Checked, Finding, Status};
use crate::config::Server;
use crate::servers;

const TABLES: &[&str] = &[
    "runs",
    "streams",
    "rejects",
    "sweeps",
    "paused",
    "last_enqueue",
    "last_steps",
];

/// What a console that may act needs besides reading: deploy/sql/operator.sql.
const OPERATOR: &[(&str, &str)] = &[
    ("audit", "insert"),
    ("audit", "update"),
    ("claims", "update"),
    ("paused", "delete"),
    ("paused", "insert"),
    ("paused", "update"),
    ("runs", "insert"),
    ("runs", "update"),
];

/// The rights that there must be, each with its table. PURE.
fn needed(is_operator: bool) -> Vec<(&'static str, &'static str)> {
    let of_each = |rights: &'static [&'static str]| {
        let pairs = move |table: &&'static str| rights.iter().map(|right| (*table, *right)).collect::<Vec<_>>();
        TABLES.iter().flat_map(pairs)
    };
    if is_operator {
        of_each(&["select"]).chain(OPERATOR.iter().copied()).collect()
    } else {
        of_each(&["delete", "insert", "select", "update"]).collect()
    }
}

/// The handle is the ledger; none when its schema is missing or old.
pub(super) async fn check(server: &Server, is_operator: bool) -> Checked<Option<Ledger>> {
    let ledger = match servers::ledger_unchecked(server).await {
        Ok(ledger) => ledger,
        Err(error) => {
            return Checked {
                handle: None,
                findings: vec![Finding::unreachable(Check::LedgerReachable, server, &error)],
            };
        }
    };
    let mut findings = Vec::new();
    let usable = look(&ledger, is_operator, &mut findings).await.unwrap_or_else(|error| {
        findings.push(Finding::error(Check::LedgerReachable, &error));
        false
    });
    if let Some(variable) = server.instead_of {
        findings = findings.into_iter().map(|found| by_fallback(found, variable)).collect();
    }
    Checked {
        handle: usable.then_some(ledger),
        findings,
    }
}

/// A problem of a ledger whose own variable is not set: that is the cause, and comes first. PURE.
fn by_fallback(found: Finding, variable: &str) -> Finding {
    if found.status != Status::Problem {
        return found;
    }
    let advice = found.advice.unwrap_or_default();
    let advice = match found.check {
        Check::LedgerVersion => format!("Set {variable}. If the ledger belongs where DATABASE_URL leads: {advice}"),
        Check::LedgerRights => format!("Set {variable} to a role that has these rights. Or: {advice}"),
        // It names the variable.
        _ => advice,
    };
    Finding {
        found: format!("{variable} is not set, so DATABASE_URL is used: {}", found.found),
        advice: Some(advice),
        ..found
    }
}

async fn look(ledger: &Ledger, is_operator: bool, findings: &mut Vec<Finding>) -> Result<bool, LedgerError> {
    let (replica, read_only, user): (bool, bool, String) = sqlx::query_as(
        "-- doctor_read_only
         select pg_is_in_recovery(), current_setting('transaction_read_only')::bool, current_user::text",
    )
    .fetch_one(ledger.pool())
    .await?;
    findings.push(if replica {
        Finding::problem(
            Check::LedgerReachable,
            "the server takes no writes: it is a replica",
            "Set LEDGER_DATABASE_URL to a primary.",
        )
    } else if read_only {
        Finding::problem(
            Check::LedgerReachable,
            format!(
                "the ledger takes no writes of `{user}`: default_transaction_read_only is on for this role or database"
            ),
            "Set LEDGER_DATABASE_URL to a role that may write, or reset default_transaction_read_only.",
        )
    } else {
        Finding::ok(Check::LedgerReachable, "the ledger takes writes")
    });
    let (finding, usable) = version(ledger).await?;
    findings.push(finding);
    if usable {
        findings.push(rights(ledger, is_operator).await?);
    }
    Ok(usable)
}

async fn version(ledger: &Ledger) -> Result<(Finding, bool), LedgerError> {
    const CHECK: Check = Check::LedgerVersion;
    let ours = migrator().iter().map(|migration| migration.version).max().unwrap_or(0);
    let there: bool = sqlx::query_scalar(
        "-- doctor_migrations
         select exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                        where n.nspname = $1 and c.relname = '_sqlx_migrations' and has_schema_privilege(n.oid, 'usage'))",
    )
    .bind(SCHEMA)
    .fetch_one(ledger.pool())
    .await?;
    if !there {
        let found = "the schema `posthog_export` is not there, or this user may not use it";
        return Ok((
            Finding::problem(CHECK, found, "Run `producer migrate` as its owner."),
            false,
        ));
    }
    let version: Option<i64> = sqlx::query_scalar(
        "-- doctor_ledger_version\nselect max(version) from posthog_export._sqlx_migrations where success",
    )
    .fetch_one(ledger.pool())
    .await?;
    let version = version.unwrap_or(0);
    let found = format!("the schema has version {version}, and this program needs {ours}");
    Ok(match version.cmp(&ours) {
        std::cmp::Ordering::Less => (
            Finding::problem(CHECK, found, "Run `producer migrate` as its owner."),
            false,
        ),
        std::cmp::Ordering::Equal => (Finding::ok(CHECK, found), true),
        std::cmp::Ordering::Greater => {
            let advice = "This is fine during an upgrade: older programs go on. Upgrade this one, too.";
            (Finding::warning(CHECK, found, advice), true)
        }
    })
}

async fn rights(ledger: &Ledger, is_operator: bool) -> Result<Finding, LedgerError> {
    const CHECK: Check = Check::LedgerRights;
    let (tables, rights): (Vec<&str>, Vec<&str>) = needed(is_operator).into_iter().unzip();
    let (user, superuser, lacking): (String, bool, Vec<String>) = sqlx::query_as(
        "-- doctor_ledger_rights
         select current_user::text, (select rolsuper from pg_roles where rolname = current_user),
                array(select p || ' on ' || t from unnest($1::text[], $2::text[]) n (t, p)
                      where not case when $3 and p <> 'delete'
                                     then has_any_column_privilege(format('posthog_export.%I', t), p)
                                     else has_table_privilege(format('posthog_export.%I', t), p) end
                      order by t, p)",
    )
    .bind(tables)
    .bind(rights)
    // Of some tables it may write single columns only.
    .bind(is_operator)
    .fetch_one(ledger.pool())
    .await?;
    Ok(if !lacking.is_empty() {
        let found = format!("`{user}` lacks {}", lacking.join(", "));
        let file = if is_operator { "operator" } else { "ledger" };
        Finding::problem(CHECK, found, format!("Grant them; see deploy/sql/{file}.sql."))
    } else if superuser {
        let advice = "Rights on the schema `posthog_export` suffice; deploy/sql/ledger.sql makes such roles.";
        Finding::warning(CHECK, format!("`{user}` is a superuser"), advice)
    } else if is_operator {
        Finding::ok(
            CHECK,
            format!("`{user}` may read its tables and write what actions write"),
        )
    } else {
        Finding::ok(CHECK, format!("`{user}` may read and write its tables"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_url_of_its_own_a_ledgers_problems_name_the_variable_first() {
        const VARIABLE: &str = "LEDGER_DATABASE_URL";
        const MIGRATE: &str = "Run `producer migrate` as its owner.";
        let begins = "LEDGER_DATABASE_URL is not set, so DATABASE_URL is used: ";
        let version = by_fallback(
            Finding::problem(Check::LedgerVersion, "it is not there", MIGRATE),
            VARIABLE,
        );
        assert_eq!(version.found, format!("{begins}it is not there"));
        let advice = version.advice.unwrap_or_default();
        assert!(
            advice.starts_with("Set LEDGER_DATABASE_URL.") && advice.ends_with(MIGRATE),
            "{advice}"
        );
        let rights = Finding::problem(Check::LedgerRights, "`reader` lacks insert on runs", "Grant them.");
        let rights = by_fallback(rights, VARIABLE);
        assert!(rights.found.starts_with(begins), "{}", rights.found);
        let advice = rights.advice.unwrap_or_default();
        assert!(advice.starts_with("Set LEDGER_DATABASE_URL to a role"), "{advice}");
        let well = by_fallback(Finding::ok(Check::LedgerReachable, "it takes writes"), VARIABLE);
        assert_eq!(well.found, "it takes writes");
    }

    #[test]
    fn a_console_is_not_told_to_ask_for_the_rights_of_a_worker() {
        let operator = needed(true);
        assert!(operator.contains(&("rejects", "select")) && operator.contains(&("audit", "insert")));
        for none in [("runs", "delete"), ("streams", "insert"), ("audit", "delete")] {
            assert!(!operator.contains(&none), "{none:?}");
        }
        assert_eq!(needed(false).len(), TABLES.len() * 4);
    }
}
