//! What the doctor found last, as long as this console runs.

use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};

use crate::doctor::Finding;

/// What it found.
#[derive(Debug)]
pub(super) struct Examination {
    pub(super) at: DateTime<Utc>,
    pub(super) findings: Vec<Finding>,
    /// Nothing was left out for lack of time
    pub(super) is_whole: bool,
}

/// Keeps it.
#[derive(Debug, Default)]
pub(super) struct Examined(RwLock<Option<Arc<Examination>>>);

impl Examined {
    pub(super) fn last(&self) -> Option<Arc<Examination>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn keep(&self, examination: Examination) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(examination));
    }
}
