//! What to do about a cause that stands in the ledger or in a header. PURE.

use shared::error_code::ErrorCode;

/// What to do about it. A word that this program does not know may be a newer worker's.
pub(crate) fn advice(code: &str) -> &'static str {
    code.parse::<ErrorCode>()
        .map_or("Look at the workers' log.", ErrorCode::advice)
}
