//! The buttons of a project's page. PURE.

use crate::console::address::Prefix;

/// Where the forms go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acts {
    /// Whether it is paused, so that it can be resumed
    pub(super) paused: bool,
    pub(super) pause: String,
    pub(super) resume: String,
}

impl Acts {
    pub(super) fn new(prefix: &Prefix, id: &str, paused: bool) -> Self {
        let act = |action| prefix.act(id, action);
        Self {
            paused,
            pause: act("pause/preview"),
            resume: act("resume/preview"),
        }
    }
}
