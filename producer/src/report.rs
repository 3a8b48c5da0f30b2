//! What commands that deal with many jobs say of those that failed.

/// How many ids a person wants to read in an error.
const NAMED: usize = 20;

/// Names on standard error what the broker did not confirm.
pub(crate) fn say_failed<'a>(failed: impl ExactSizeIterator<Item = (&'a str, &'a str)>) {
    let rest = failed.len().saturating_sub(NAMED);
    for (job, error) in failed.take(NAMED) {
        tracing::error!(job, error, "not confirmed by the broker, and not recorded");
    }
    if rest > 0 {
        tracing::error!("and {rest} more that were not confirmed (`--json` names all)");
    }
}
