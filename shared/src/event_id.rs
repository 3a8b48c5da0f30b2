//! The name and the uuid of a row's event. The worker sends them, and the producer looks for them
//! in PostHog. PURE.

use sha1::{Digest as _, Sha1};
use uuid::Uuid;

use crate::job::Stream;

/// The namespace that Langfuse Cloud uses. PostHog folds a replay of ours, or an event that
/// Langfuse itself sent, into one event.
const NAMESPACE: Uuid = Uuid::from_u128(0x0f6c_91df_d035_4813_b838_9741_ba38_ef0b);

/// The name of the events of a stream.
pub const fn event_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Trace => "langfuse trace",
        Stream::Generation => "langfuse generation",
        Stream::Score => "langfuse score",
        Stream::Observation => "langfuse observation",
    }
}

/// Makes the uuids of a project's events.
#[derive(Clone, Debug)]
pub struct EventIds {
    /// A hash that has taken in what all uuids of the project begin with
    begun: Sha1,
}

impl EventIds {
    /// Of this project.
    pub fn of(project_id: &str) -> Self {
        let begun = Sha1::new()
            .chain_update(NAMESPACE)
            .chain_update(project_id)
            .chain_update("-");
        Self { begun }
    }

    /// The same as `Uuid::new_v5` of the namespace and `{project}-{row}`, but with a SHA-1 that
    /// uses the processor's instructions.
    pub fn uuid(&self, row_id: &str) -> Uuid {
        let hash = self.begun.clone().chain_update(row_id).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        uuid::Builder::from_sha1_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_the_v5_uuid_of_project_and_row(project in ".{0,40}", row in ".{0,80}") {
            let expected = Uuid::new_v5(&NAMESPACE, format!("{project}-{row}").as_bytes());
            prop_assert_eq!(EventIds::of(&project).uuid(&row), expected);
        }
    }
}
