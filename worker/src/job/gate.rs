//! When the bodies of a job may leave, and when its streams must halt.

use std::time::Duration;

use shared::integration::Integration;
use shared::posthog::KeyCheck;
use tokio::sync::SetOnce;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::job::error::JobError;
use crate::job::stop::Stop;
use crate::posthog::capture::Capture;
use crate::posthog::hosts::{Place, Speed};
use crate::posthog::known_keys::KnownKeys;
use crate::posthog::retry::SendError;

/// The gate before PostHog that the streams of a job share. It opens once the host knows the key:
/// PostHog accepts events with an unknown key, and drops them. The first pages are read meanwhile.
#[derive(Debug, Default)]
pub struct Gate {
    key_checked: SetOnce<()>,
    halted: CancellationToken,
}

impl Gate {
    /// Waits until bodies may leave.
    pub async fn opened(&self) {
        self.key_checked.wait().await;
    }

    /// Asks the streams to stop at the next batch border.
    pub fn halt(&self) {
        self.halted.cancel();
    }

    /// Whether the streams should stop at the next batch border, and how to wait for that.
    pub fn halted(&self) -> &CancellationToken {
        &self.halted
    }

    /// Asks the host whether it knows the key, unless it has just said so, and opens the gate. Ends
    /// only when no body may ever leave.
    pub async fn check_key(
        &self,
        keys: &KnownKeys,
        capture: &Capture,
        place: &Place,
        integration: &Integration,
    ) -> JobError {
        let ask = async || {
            let asked = Instant::now();
            let known = capture.posthog.knows_key(integration).await;
            // Only a late answer says something: `/flags/` may be quick while `/batch/` is not.
            if let late @ Speed::Late = capture.speed(asked.elapsed()) {
                place.answered(late);
            }
            known
        };
        match keys.check(&integration.target(), ask).await {
            Ok(KeyCheck::Known) => {}
            Ok(KeyCheck::Unknown) => return JobError::KeyRefused,
            Ok(KeyCheck::CannotTell(why) | KeyCheck::NoAnswer(why)) => {
                tracing::debug!(%why, "the host cannot be asked whether it knows the key");
            }
            Err(refused) => return SendError::HostNotAllowed(refused.to_string()).into(),
        }
        let _ = self.key_checked.set(());
        std::future::pending().await
    }

    /// Halts the streams when the job is asked to stop, when its slice is over, or when its host is
    /// slow and has another job. Never ends by itself.
    pub async fn watch<T>(&self, stop: &Stop, slice: Duration, place: &Place) -> T {
        // The slice begins when the gate opens: a host that takes longer than a slice to answer for
        // the key would otherwise never be sent anything.
        let slice_over = async {
            self.opened().await;
            tokio::time::sleep(slice).await;
        };
        tokio::select! {
            () = stop.asked() => {}
            () = slice_over => {}
            () = place.crowded() => {}
        }
        self.halt();
        std::future::pending().await
    }
}
