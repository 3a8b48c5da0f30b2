//! How many jobs may be at one PostHog host: any number while it answers, one while it does not. A dead host then costs the
//! process one place, and the other projects' jobs go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

#[derive(Debug, Default)]
struct Host {
    jobs: usize,
    failing: bool,
}

/// The hosts that this process has to do with.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Arc<Mutex<HashMap<String, Host>>>);

/// A job's place at its host; given back when dropped.
#[derive(Debug)]
pub struct Place {
    hosts: Hosts,
    host: String,
}

impl Hosts {
    /// A place at the host, or `None` while it is failing and another job is already waiting for it.
    pub fn enter(&self, url: &Url) -> Option<Place> {
        let name = url.origin().ascii_serialization();
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(name.clone()).or_default();
        if host.failing && host.jobs > 0 {
            return None;
        }
        host.jobs += 1;
        Some(Place {
            hosts: self.clone(),
            host: name,
        })
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Host)) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get_mut(name) {
            change(host);
            // A healthy host nobody is at is as good as an unknown one; users bring new hosts for ever.
            if host.jobs == 0 && !host.failing {
                hosts.remove(name);
            }
        }
    }
}

impl Place {
    /// The job's end: did the host answer?
    pub fn report(&self, failing: bool) {
        self.hosts.with(&self.host, |host| host.failing = failing);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hosts.with(&self.host, |host| host.jobs -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_host_takes_one_job_at_a_time_and_others_any_number() {
        let hosts = Hosts::default();
        let (dead, good): (Url, Url) = (
            "https://dead.example".parse().unwrap(),
            "https://good.example".parse().unwrap(),
        );
        let first = hosts.enter(&dead).unwrap();
        let second = hosts.enter(&dead).unwrap();
        first.report(true);
        assert!(hosts.enter(&dead).is_none());
        assert!(hosts.enter(&good).is_some());
        drop((first, second));
        let probe = hosts.enter(&dead).unwrap();
        assert!(hosts.enter(&dead).is_none());
        probe.report(false);
        assert!(hosts.enter(&dead).is_some());
        drop(probe);
        assert!(hosts.0.lock().unwrap().is_empty());
    }
}
