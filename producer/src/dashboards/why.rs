//! Why something is left as the user has it. PURE.

use serde::Serialize;

/// Why something is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// The user changed it.
    Changed,
    /// The user deleted it.
    Deleted,
    /// The user took it off the dashboard; its insight is still there.
    TakenOff,
    /// It is there twice, and nothing tells which one is ours.
    Twice,
    /// A text with this heading is there, and nothing tells whose it is.
    Whose,
    /// It is of another release, or other than was asked for now, and nobody asked for an update.
    Older,
    /// It is there, but nothing tells who changed it.
    Unknown,
    /// It is no part of the dashboard any more.
    Retired,
    /// The user put it on another dashboard, too.
    Elsewhere,
    /// The user set an alert on it, which PostHog would delete with it, for good.
    Alerts,
}

impl Why {
    /// As a part of a sentence about it.
    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::Changed => "was changed in PostHog; --recreate undoes that",
            Self::Deleted => "was deleted in PostHog; --recreate makes it again",
            Self::TakenOff => "was taken off the dashboard in PostHog; --recreate puts it back",
            Self::Twice => {
                "is there more than once, and the ledger does not know which was made here; delete all but one"
            }
            Self::Whose => {
                "is not known to the ledger, and a text with this heading is there; delete or rename that one if it is not yours"
            }
            Self::Older => "differs from what this release or you ask for; `producer dashboards update` changes it",
            Self::Unknown => {
                "differs from this release, and the ledger does not know who changed it; --recreate replaces it"
            }
            Self::Elsewhere => "stands on another dashboard, too",
            Self::Alerts => "has an alert, which PostHog would delete with it; delete the alert first",
            Self::Retired => "is no longer a part of this dashboard; delete it in PostHog if you do not need it",
        }
    }
}
