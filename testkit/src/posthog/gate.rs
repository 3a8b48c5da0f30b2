//! Where requests are held until the test lets them go.

use tokio::sync::watch;

pub(super) struct Gate {
    held: watch::Sender<usize>,
    releases: watch::Sender<u64>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            held: watch::Sender::new(0),
            releases: watch::Sender::new(0),
        }
    }

    /// Holds the caller until the next release.
    pub(super) async fn wait(&self) {
        let mut releases = self.releases.subscribe();
        let _held = Held::new(&self.held);
        let _ = releases.changed().await;
    }

    pub(super) fn release(&self) {
        self.releases.send_modify(|count| *count += 1);
    }

    pub(super) async fn until_held(&self, count: usize) {
        let _ = self.held.subscribe().wait_for(|held| *held >= count).await;
    }
}

/// Counts a request as long as it is held. Dropped, it counts no more, also when the sender has
/// gone away.
struct Held<'a>(&'a watch::Sender<usize>);

impl<'a> Held<'a> {
    fn new(held: &'a watch::Sender<usize>) -> Self {
        held.send_modify(|count| *count += 1);
        Self(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
