//! Whether a project's PostHog settings can be used. The key must decrypt, the host must be
//! allowed, and the host must know the key.

use std::collections::BTreeMap;

use futures::future::join_all;
use indicatif::ProgressBar;
use reqwest::{Certificate, Url};
use shared::egress::{Egress, NotAllowed};
use shared::error_code::ErrorCode;
use shared::integration::{EncryptionKey, Integration, StoredIntegration};
use shared::posthog::{KeyCheck, Posthog};
use tokio::sync::Semaphore;

use crate::error::CommandError;
use crate::output;

/// How many questions are asked at the same time.
const AT_ONCE: usize = 16;

/// What is known of a project's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyAnswer {
    /// The host knows the key.
    Known,
    /// The host does not know the key. It would answer 200 to every batch and drop the events.
    Refused,
    /// The host did not say yes or no, but this.
    CannotTell(String),
    /// The host gave no answer, for this reason.
    NoAnswer(String),
    /// The host was not asked.
    NotAsked(Unusable),
}

/// Why a project's settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// The worker's error code for it
    pub(crate) code: ErrorCode,
    /// For people
    pub(crate) reason: String,
}

impl KeyAnswer {
    /// The word in tables and JSON.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Refused => "refused",
            Self::CannotTell(_) | Self::NoAnswer(_) => "cannot_tell",
            Self::NotAsked(unusable) => unusable.code.as_str(),
        }
    }

    /// The reason, or what to do about it.
    pub(crate) fn detail(&self) -> Option<String> {
        match self {
            Self::Known => None,
            Self::Refused => Some(ErrorCode::Unauthorized.mend()),
            Self::CannotTell(reason) | Self::NoAnswer(reason) | Self::NotAsked(Unusable { reason, .. }) => {
                Some(reason.clone())
            }
        }
    }

    /// Whether the worker would send events with this key. It does when the host cannot tell.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self, Self::Known | Self::CannotTell(_) | Self::NoAnswer(_))
    }
}

/// Decrypts the settings and checks that their host may be called.
pub(crate) fn open(stored: &StoredIntegration, key: &EncryptionKey, egress: &Egress) -> Result<Integration, Unusable> {
    let opened = stored.open(key).map_err(|fault| Unusable {
        code: fault.code(),
        reason: fault.to_string(),
    })?;
    egress
        .check_url(&opened.host)
        .map_err(|refusal| host_not_allowed(&refusal))?;
    Ok(opened)
}

fn host_not_allowed(refusal: &NotAllowed) -> Unusable {
    Unusable {
        code: ErrorCode::HostNotAllowed,
        reason: refusal.to_string(),
    }
}

/// Asks each project's host whether it knows the project's key. Each key is asked for once at its
/// host. The answers come in the order of the projects.
pub(crate) async fn ask(
    projects: &[StoredIntegration],
    key: &EncryptionKey,
    egress: &Egress,
    authorities: &[Certificate],
) -> Result<Vec<KeyAnswer>, CommandError> {
    let posthog = Posthog::trusting(egress.clone(), AT_ONCE, authorities.to_vec())
        .map_err(|error| CommandError::refused(format!("cannot make an HTTP client: {error}")))?;
    let opened: Vec<Result<Integration, Unusable>> = projects.iter().map(|stored| open(stored, key, egress)).collect();
    let mut hosts: BTreeMap<&Url, BTreeMap<String, &Integration>> = BTreeMap::new();
    for integration in opened.iter().flatten() {
        let keys = hosts.entry(&integration.host).or_default();
        keys.insert(integration.target(), integration);
    }
    let asking = Asking {
        bar: output::progress("asking PostHog", hosts.values().map(BTreeMap::len).sum()),
        at_once: Semaphore::new(AT_ONCE),
        posthog,
    };
    let answers = join_all(hosts.into_values().map(|keys| asking.host(keys))).await;
    asking.bar.finish_and_clear();
    let answers: BTreeMap<String, KeyAnswer> = answers.into_iter().flatten().collect();
    let answer = |opened: Result<Integration, Unusable>| match opened {
        Err(unusable) => KeyAnswer::NotAsked(unusable),
        Ok(integration) => {
            let answer = answers.get(&integration.target()).cloned();
            answer.unwrap_or_else(|| KeyAnswer::NoAnswer("it was not asked".to_owned()))
        }
    };
    Ok(opened.into_iter().map(answer).collect())
}

/// Asks several hosts at a time.
struct Asking {
    posthog: Posthog,
    at_once: Semaphore,
    bar: ProgressBar,
}

impl Asking {
    /// Asks a host for one key, and then for the others side by side. A host that gives no answer for
    /// the first is not asked for the others.
    async fn host(&self, keys: BTreeMap<String, &Integration>) -> Vec<(String, KeyAnswer)> {
        let mut keys = keys.into_iter();
        let Some((target, integration)) = keys.next() else {
            return Vec::new();
        };
        let first = self.key(integration).await;
        let others: Vec<(String, KeyAnswer)> = if matches!(first, KeyAnswer::NoAnswer(_)) {
            keys.map(|(target, _)| (target, first.clone())).collect()
        } else {
            join_all(keys.map(async |(target, integration)| (target, self.key(integration).await))).await
        };
        let mut answers = vec![(target, first)];
        answers.extend(others);
        answers
    }

    async fn key(&self, integration: &Integration) -> KeyAnswer {
        let _permit = self.at_once.acquire().await;
        let answer = ask_one(&self.posthog, integration).await;
        self.bar.inc(1);
        answer
    }
}

async fn ask_one(posthog: &Posthog, opened: &Integration) -> KeyAnswer {
    match posthog.knows_key(opened).await {
        Ok(KeyCheck::Known) => KeyAnswer::Known,
        Ok(KeyCheck::Unknown) => KeyAnswer::Refused,
        Ok(KeyCheck::CannotTell(reason)) => KeyAnswer::CannotTell(reason),
        Ok(KeyCheck::NoAnswer(reason)) => KeyAnswer::NoAnswer(reason),
        Err(refusal) => KeyAnswer::NotAsked(host_not_allowed(&refusal)),
    }
}
