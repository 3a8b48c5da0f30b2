//! How much of this process one PostHog host may use: any number of jobs while it answers in time,
//! one job while it fails or is slow, and never all places for bodies in flight. A dead or slow
//! host then costs the process one job, and the other projects' jobs go on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use shared::topology::Lane;
use tokio::sync::{Semaphore, watch};
use url::Url;

use crate::pace::{Charged, Pacer};

/// How long a job of the backfill waits for a pace that the jobs lane needs. Then it leaves its
/// place in the process to a job for another host.
const PATIENCE: Duration = Duration::from_secs(30);

/// How soon a request to a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// Soon enough for any number of jobs
    InTime,
    /// So late that one job at a time is enough for the host
    Late,
}

#[derive(Debug)]
struct Host {
    /// The jobs at work here, in the order in which they came
    jobs: BTreeSet<u64>,
    /// A job gave up, and no body was accepted since.
    failing: bool,
    /// The last answer was late.
    slow: bool,
    in_flight: Arc<Semaphore>,
    /// How many events a second it is sent, when that is limited
    pacer: Option<Arc<Pacer>>,
}

impl Host {
    fn is_well(&self) -> bool {
        !self.failing && !self.slow
    }

    /// Whether an unknown host would be the same. It is forgotten then, because users bring new
    /// hosts for ever.
    fn is_as_new(&self) -> bool {
        self.jobs.is_empty() && self.is_well() && self.pacer.as_ref().is_none_or(|pacer| pacer.is_idle())
    }
}

#[derive(Debug, Default)]
struct Known {
    hosts: HashMap<String, Host>,
    /// How many jobs ever came; numbers the places
    came: u64,
}

/// The hosts that this process sends to.
#[derive(Clone, Debug)]
pub struct Hosts {
    known: Arc<watch::Sender<Known>>,
    share: usize,
    events_per_second: Option<u32>,
}

/// A job's place at its host. Dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    hosts: Hosts,
    url: Url,
    host: String,
    number: u64,
    lane: Lane,
    in_flight: Arc<Semaphore>,
    pacer: Option<Arc<Pacer>>,
}

impl Hosts {
    /// One host gets three quarters of the `in_flight` bodies; a quarter is left to the others. Each
    /// host gets so many events a second, when that is limited.
    pub fn new(in_flight: usize, events_per_second: Option<u32>) -> Self {
        Self {
            known: Arc::default(),
            share: in_flight - in_flight / 4,
            events_per_second,
        }
    }

    /// A place at the host for a job of this lane, or `None` while the host fails or is slow and
    /// another job is there already. A job of the backfill gets none either while the jobs lane
    /// waits for the host's pace.
    pub fn enter(&self, url: &Url, lane: Lane) -> Option<Place> {
        let name = url.origin().ascii_serialization();
        let mut place = None;
        self.known.send_modify(|known| {
            known.came += 1;
            known.hosts.retain(|other, host| *other == name || !host.is_as_new());
            let host = known.hosts.entry(name.clone()).or_insert_with(|| Host {
                jobs: BTreeSet::new(),
                failing: false,
                slow: false,
                in_flight: Arc::new(Semaphore::new(self.share)),
                pacer: self.events_per_second.map(Pacer::new).map(Arc::new),
            });
            let taken = lane == Lane::Backfill && host.pacer.as_ref().is_some_and(|pacer| pacer.is_taken());
            if !taken && (host.is_well() || host.jobs.is_empty()) {
                host.jobs.insert(known.came);
                place = Some((known.came, Arc::clone(&host.in_flight), host.pacer.clone()));
            }
        });
        let (number, in_flight, pacer) = place?;
        Some(Place {
            hosts: self.clone(),
            url: url.clone(),
            host: name,
            number,
            lane,
            in_flight,
            pacer,
        })
    }

    /// Wakes watchers only when something has changed, because this is called after each answer.
    fn with(&self, name: &str, change: impl FnOnce(&mut Host) -> bool) {
        self.known.send_if_modified(|known| {
            let Some(host) = known.hosts.get_mut(name) else {
                return false;
            };
            let changed = change(host);
            if host.is_as_new() {
                known.hosts.remove(name);
            }
            changed
        });
    }
}

impl Place {
    /// The host, as it was configured.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The host's share of bodies in flight. Acquire it before the process's own permit, for which
    /// other hosts wait too.
    pub fn in_flight(&self) -> &Arc<Semaphore> {
        &self.in_flight
    }

    /// Waits until the host may be sent so many events; they are charged.
    pub async fn pace(&self, events: usize) -> Option<Charged<'_>> {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        match &self.pacer {
            Some(pacer) => Some(pacer.pass(events, self.lane).await),
            None => None,
        }
    }

    /// Charges events that are sent again. Nobody waits for that: a body's next try has a time
    /// limit.
    pub fn sends_again(&self, events: usize) {
        if let Some(pacer) = &self.pacer {
            pacer.owe(u32::try_from(events).unwrap_or(u32::MAX));
        }
    }

    /// How long it takes until everything that the host was sent is paid for.
    #[cfg(test)]
    pub fn owed(&self) -> Duration {
        self.pacer.as_ref().map_or(Duration::ZERO, |pacer| pacer.owed())
    }

    /// A request to the host has ended, with an answer or without one.
    pub fn answered(&self, speed: Speed) {
        let slow = speed == Speed::Late;
        self.hosts
            .with(&self.host, |host| std::mem::replace(&mut host.slow, slow) != slow);
    }

    /// The host accepted a body: it takes any number of jobs.
    pub fn accepted(&self) {
        self.set_failing(false);
    }

    /// A job ends because the host accepts no body: it takes one job at a time, until it accepts
    /// one.
    pub fn gave_up(&self) {
        self.set_failing(true);
    }

    fn set_failing(&self, failing: bool) {
        self.hosts.with(&self.host, |host| {
            std::mem::replace(&mut host.failing, failing) != failing
        });
    }

    /// Whether the host is slow and a job that came earlier is still there (one job is enough for a
    /// slow host), or this job is of the backfill and the jobs lane needs the host's pace.
    pub fn is_crowded(&self) -> bool {
        self.is_one_too_many(&self.hosts.known.borrow()) || self.rival().is_some_and(Pacer::is_taken)
    }

    /// Waits until [`Place::is_crowded`]; in the case of the pace, until it was so for a while.
    pub async fn crowded(&self) {
        let is_crowded = |known: &Known| self.is_one_too_many(known);
        let mut known = self.hosts.known.subscribe();
        let taken = async {
            match self.rival() {
                Some(pacer) => pacer.taken(PATIENCE).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = known.wait_for(is_crowded) => {}
            () = taken => {}
        }
    }

    /// The pace in which others go before this job.
    fn rival(&self) -> Option<&Pacer> {
        self.pacer.as_deref().filter(|_| self.lane == Lane::Backfill)
    }

    fn is_one_too_many(&self, known: &Known) -> bool {
        let host = known.hosts.get(&self.host);
        host.is_some_and(|host| host.slow && host.jobs.first().is_some_and(|first| *first != self.number))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hosts.with(&self.host, |host| host.jobs.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn urls() -> (Url, Url) {
        (
            "https://bad.example".parse().unwrap(),
            "https://good.example".parse().unwrap(),
        )
    }

    #[test]
    fn a_failing_host_takes_one_job_at_a_time_and_others_any_number() {
        let hosts = Hosts::new(8, None);
        let (bad, good) = urls();
        let first = hosts.enter(&bad, Lane::Jobs).unwrap();
        let second = hosts.enter(&bad, Lane::Jobs).unwrap();
        first.gave_up();
        assert!(hosts.enter(&bad, Lane::Jobs).is_none());
        assert!(hosts.enter(&good, Lane::Jobs).is_some());
        drop((first, second));
        let probe = hosts.enter(&bad, Lane::Jobs).unwrap();
        assert!(hosts.enter(&bad, Lane::Jobs).is_none());
        probe.accepted();
        assert!(hosts.enter(&bad, Lane::Jobs).is_some());
        drop(probe);
        assert!(hosts.known.borrow().hosts.is_empty());
    }

    #[test]
    fn a_slow_host_keeps_the_job_that_came_first() {
        let hosts = Hosts::new(8, None);
        let (bad, _) = urls();
        let first = hosts.enter(&bad, Lane::Jobs).unwrap();
        let second = hosts.enter(&bad, Lane::Jobs).unwrap();
        assert!(second.crowded().now_or_never().is_none());
        second.answered(Speed::Late);
        assert!(hosts.enter(&bad, Lane::Jobs).is_none());
        assert!(first.crowded().now_or_never().is_none() && second.crowded().now_or_never().is_some());
        drop(first);
        assert!(second.crowded().now_or_never().is_none());
        second.answered(Speed::InTime);
        assert!(hosts.enter(&bad, Lane::Jobs).is_some());
    }

    #[tokio::test]
    async fn the_backfill_of_a_paced_host_leaves_its_place_to_others_while_the_jobs_lane_waits() {
        let hosts = Hosts::new(8, Some(1));
        let (paced, other) = urls();
        let old = hosts.enter(&paced, Lane::Backfill).unwrap();
        let new = hosts.enter(&paced, Lane::Jobs).unwrap();
        assert!(!old.is_crowded() && !new.is_crowded());
        new.pace(1_000).await.unwrap().used(1_000);
        let waiting = new.pace(1);
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(old.is_crowded() && !new.is_crowded());
        assert!(hosts.enter(&paced, Lane::Backfill).is_none());
        assert!(hosts.enter(&paced, Lane::Jobs).is_some() && hosts.enter(&other, Lane::Backfill).is_some());
    }

    #[tokio::test]
    async fn what_a_host_owes_outlives_its_jobs() {
        let hosts = Hosts::new(8, Some(1));
        let (paced, other) = urls();
        let place = hosts.enter(&paced, Lane::Jobs).unwrap();
        place.pace(1_000).await.unwrap().used(1_000);
        drop(place);
        let _place = hosts.enter(&other, Lane::Jobs).unwrap();
        let again = hosts.enter(&paced, Lane::Jobs).unwrap();
        assert!(again.pace(1).now_or_never().is_none());
    }

    #[test]
    fn no_host_gets_all_places_for_bodies_unless_they_are_few() {
        for (in_flight, share) in [(1, 1), (3, 3), (4, 3), (8, 6), (32, 24)] {
            let hosts = Hosts::new(in_flight, None);
            let place = hosts.enter(&urls().0, Lane::Jobs).unwrap();
            assert_eq!(place.in_flight().available_permits(), share, "{in_flight}");
        }
    }
}
