//! Sets up the ledger's schema and the broker's queues. Changes nothing that is up to date.

use std::collections::BTreeSet;

use serde::Serialize;
use shared::amqp::{CONNECT_TIMEOUT, within};
use shared::ladder::Ladder;
use shared::ledger::{Ledger, SCHEMA, migrator, migrator_in_schema};
use sqlx::migrate::{MigrateError, Migrator};

use crate::error::CommandError;
use crate::numbers::count;
use crate::servers::Broker;

/// A migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// Its number
    pub version: i64,
    /// Its name
    pub name: String,
}

/// What migrating has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Migrated {
    /// Whether the schema held nothing before
    pub made: bool,
    /// The migrations that are new, in their order
    pub applied: Vec<Migration>,
    /// The version of the schema now
    pub version: i64,
    /// Whether that is a version of a newer program. Then there was nothing to do
    pub newer: bool,
}

impl Migrated {
    /// Of the versions that had been applied before. PURE.
    fn of(before: &BTreeSet<i64>, migrator: &Migrator) -> Self {
        let new = migrator.iter().filter(|known| !before.contains(&known.version));
        Self {
            made: before.is_empty(),
            applied: new
                .map(|new| Migration {
                    version: new.version,
                    name: new.description.to_string(),
                })
                .collect(),
            version: migrator
                .iter()
                .map(|known| known.version)
                .chain(before.last().copied())
                .max()
                .unwrap_or(0),
            newer: is_newer(before, migrator),
        }
    }

    /// One sentence. PURE.
    pub fn sentence(&self) -> String {
        let number = count(self.applied.len(), "migration");
        if self.made {
            return format!(
                "Made the ledger's schema `{SCHEMA}`: {number}, version {}.",
                self.version
            );
        }
        if self.newer {
            return format!(
                "The ledger's schema `{SCHEMA}` is of a newer program: version {}. This program works with it.",
                self.version
            );
        }
        if self.applied.is_empty() {
            return format!(
                "The ledger's schema `{SCHEMA}` is up to date: version {}.",
                self.version
            );
        }
        let name = |new: &Migration| format!("{:04} {}", new.version, new.name);
        let names: Vec<String> = self.applied.iter().map(name).collect();
        format!(
            "Updated the ledger's schema `{SCHEMA}`: {number} ({}).",
            names.join(", ")
        )
    }
}

/// Whether a newer program has migrated, and nothing is left for this one: all its migrations are
/// there, and the others came later. A migration only adds, so an older program goes on. PURE.
fn is_newer(before: &BTreeSet<i64>, migrator: &Migrator) -> bool {
    let own: BTreeSet<i64> = migrator.iter().map(|known| known.version).collect();
    let mut others = before.difference(&own).peekable();
    others.peek().is_some() && own.is_subset(before) && others.all(|other| Some(other) > own.last())
}

/// Creates or updates the schema. The migrations take an advisory lock, which belongs to a session,
/// so this does not work through a transaction pooler.
pub async fn migrate(ledger: &Ledger) -> Result<Migrated, CommandError> {
    let (there, has_table): (bool, bool) = sqlx::query_as(
        "-- migrate_schema
         select exists (select 1 from pg_namespace where nspname = $1),
                exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                        where n.nspname = $1 and c.relname = '_sqlx_migrations')",
    )
    .bind(SCHEMA)
    .fetch_one(ledger.pool())
    .await?;
    let before: BTreeSet<i64> = if has_table {
        let applied = "-- migrate_applied\nselect version from posthog_export._sqlx_migrations where success";
        let applied: Vec<i64> = sqlx::query_scalar(applied)
            .fetch_all(ledger.pool())
            .await
            .map_err(MigrateError::Execute)?;
        applied.into_iter().collect()
    } else {
        BTreeSet::new()
    };
    let mut migrator = if there { migrator_in_schema() } else { migrator() };
    migrator.set_ignore_missing(is_newer(&before, &migrator));
    migrator.run(ledger.pool()).await?;
    let migrated = Migrated::of(&before, &migrator);
    tracing::info!(
        migrations = migrator.iter().count(),
        new = migrated.applied.len(),
        version = migrated.version,
        newer = migrated.newer,
        "the ledger's schema is up to date"
    );
    Ok(migrated)
}

/// Sets up what is missing before an enqueue. Queues with other arguments are only warned of: jobs
/// may still reach them, and publishing fails if they do not.
pub async fn prepare(ledger: &Ledger, broker: &Broker, ladder: &Ladder) -> Result<(), CommandError> {
    if !ledger.is_migrated().await? {
        migrate(ledger).await?;
    }
    match within(CONNECT_TIMEOUT * 3, async { Ok(broker.ensure(ladder).await) }).await? {
        Err(error) => {
            let error = CommandError::Topology(error.into());
            tracing::warn!(%error, "going on with the queues as they are");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_says_whether_the_schema_is_new_newer_or_as_it_was() {
        let all: BTreeSet<i64> = migrator().iter().map(|known| known.version).collect();
        let number = all.len();
        let after = |before: &BTreeSet<i64>| Migrated::of(before, &migrator()).sentence();
        let said = after(&BTreeSet::new());
        assert!(
            said.starts_with("Made the ledger's schema `posthog_export`: ")
                && said.contains(&count(number, "migration")),
            "{said}"
        );
        let said = after(&all);
        assert!(said.contains("`posthog_export` is up to date: version "), "{said}");
        let before_claims: BTreeSet<i64> = all.iter().copied().filter(|version| *version < 13).collect();
        let said = after(&before_claims);
        assert!(
            said.starts_with("Updated ") && said.contains(" migrations (0013 claims, 0014 audit"),
            "{said}"
        );
        let newest: BTreeSet<i64> = all.iter().copied().take(number - 1).collect();
        assert!(after(&newest).contains(": 1 migration ("), "{}", after(&newest));
    }

    #[test]
    fn a_ledger_is_newer_only_if_nothing_of_this_programs_is_missing() {
        let all: BTreeSet<i64> = migrator().iter().map(|known| known.version).collect();
        let newest = *all.last().unwrap();
        let with = |others: &[i64]| all.iter().chain(others).copied().collect::<BTreeSet<i64>>();
        let later = with(&[newest + 1, newest + 2]);
        let migrated = Migrated::of(&later, &migrator());
        assert_eq!((migrated.newer, migrated.version), (true, newest + 2));
        assert!(
            migrated.sentence().contains(&format!(
                "of a newer program: version {}. This program works",
                newest + 2
            )),
            "{}",
            migrated.sentence()
        );
        let older = all.iter().copied().filter(|version| *version < newest).collect();
        let gap = later.iter().copied().filter(|version| *version != newest).collect();
        for before in [BTreeSet::new(), older, gap, with(&[]), with(&[0, newest + 1])] {
            assert!(!Migrated::of(&before, &migrator()).newer, "{before:?}");
        }
    }
}
