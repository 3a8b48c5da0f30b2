//! The personal API keys, each with the only host that it may be sent to. Such a key reads a
//! company's data, and a project's host is entered by whoever administers that project: so the key
//! never follows the host. PURE but for the file.

use std::collections::BTreeMap;
use std::net::IpAddr;

use reqwest::Url;
use shared::ingestion::app_url;
use shared::settings::variables::{POSTHOG_PERSONAL_API_KEY, POSTHOG_PERSONAL_API_KEYS_FILE};
use shared::settings::{ExposeSecret, SecretString, Settings};

/// Where `POSTHOG_PERSONAL_API_KEY` goes, and nowhere else.
const CLOUD: [&str; 2] = ["us.posthog.com", "eu.posthog.com"];

/// Which key goes to which host.
#[derive(Clone, Debug, Default)]
pub(crate) struct PersonalKeys {
    cloud: Option<SecretString>,
    /// By host, with its port and path where these are not the usual ones
    others: BTreeMap<String, Entry>,
    /// The apps of hosts that take events and are none themselves
    apps: BTreeMap<String, Url>,
}

/// A line of the file.
#[derive(Clone, Debug)]
struct Entry {
    key: SecretString,
    /// Whether the line says `http://`
    is_plain: bool,
}

impl PersonalKeys {
    /// Reads both variables.
    pub(crate) fn read(settings: &mut Settings) -> Self {
        let cloud = settings.optional_secret(&POSTHOG_PERSONAL_API_KEY);
        if let Some(key) = &cloud
            && let Err(fault) = check(key)
        {
            settings.complain(format!("{} {fault}", POSTHOG_PERSONAL_API_KEY.name));
        }
        let mut keys = Self {
            cloud,
            ..Self::default()
        };
        if let Some(path) = settings.text(&POSTHOG_PERSONAL_API_KEYS_FILE) {
            match std::fs::read_to_string(&path) {
                Ok(text) => match parse(&text) {
                    Ok(others) => {
                        keys = Self {
                            cloud: keys.cloud,
                            ..others
                        }
                    }
                    Err(fault) => settings.complain(format!("{}: {fault}", POSTHOG_PERSONAL_API_KEYS_FILE.name)),
                },
                Err(error) => {
                    settings.complain(format!(
                        "{}: cannot read {path}: {error}",
                        POSTHOG_PERSONAL_API_KEYS_FILE.name
                    ));
                }
            }
        }
        keys
    }

    /// One key that was typed, for the app that it was asked for.
    pub(crate) fn typed(app: &Url, key: &SecretString) -> Result<Self, String> {
        let key = SecretString::from(key.expose_secret().trim());
        check(&key).map_err(|fault| format!("this {fault}"))?;
        let place = place(app).ok_or_else(|| "there is no host to send the key to".to_owned())?;
        let is_plain = app.scheme() == "http";
        Ok(Self {
            cloud: None,
            others: BTreeMap::from([(place, Entry { key, is_plain })]),
            apps: BTreeMap::new(),
        })
    }

    /// Whether there is none: then nothing can be asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.cloud.is_none() && self.others.is_empty()
    }

    /// The app of the host that takes a project's events: as a line of the file says, or as its name
    /// tells.
    pub(crate) fn app(&self, ingestion: &Url) -> Url {
        let said = place(ingestion).and_then(|place| self.apps.get(&place));
        said.cloned().unwrap_or_else(|| app_url(ingestion))
    }

    /// The key that may be sent to this app.
    pub(crate) fn of(&self, app: &Url) -> Option<&SecretString> {
        let place = place(app)?;
        let is_https = app.scheme() == "https";
        // Whoever administers a Langfuse project may write http before the host. The key goes out in
        // clear only where its own line says so, or where nothing leaves the machine.
        let may_go = |entry: &&Entry| is_https || entry.is_plain || is_loopback(app);
        let own = self.others.get(&place).filter(may_go).map(|entry| &entry.key);
        own.or_else(|| {
            let is_cloud = is_https && CLOUD.contains(&place.as_str());
            self.cloud.as_ref().filter(|_| is_cloud)
        })
    }
}

fn is_loopback(app: &Url) -> bool {
    let host = app.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
}

/// Host, port and path of an app; a line of the file must say the same.
fn place(app: &Url) -> Option<String> {
    let host = app.host_str()?.trim_end_matches('.').to_ascii_lowercase();
    let port = app.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{host}{port}{}", app.path().trim_end_matches('/')))
}

/// The lines `host key` and `host app-host key`. An error names the line and never what stands in it.
fn parse(text: &str) -> Result<PersonalKeys, String> {
    let mut keys = PersonalKeys::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (ingestion, app, key) = match words[..] {
            [app, key] => (None, app, key),
            // A key in the place of a host, with something behind it
            [ingestion, app, key] if !is_key(app) => (Some(ingestion), app, key),
            _ => {
                return Err(format!(
                    "line {number} is neither `host key` nor `host app-host key`, for example `posthog.example.com phx_…`"
                ));
            }
        };
        let no_host = || format!("line {number} does not begin with a host");
        let app = url(app).ok_or_else(no_host)?;
        let place_of_app = place(&app).ok_or_else(no_host)?;
        let key = SecretString::from(key);
        check(&key).map_err(|fault| format!("line {number}: the key {fault}"))?;
        let known = keys.others.get(&place_of_app);
        let is_same = known.is_some_and(|known| known.key.expose_secret() == key.expose_secret());
        if known.is_some() && !(is_same && ingestion.is_some()) {
            return Err(format!("line {number} has a host that an earlier line has; keep one"));
        }
        let is_plain = app.scheme() == "http";
        keys.others.entry(place_of_app).or_insert(Entry { key, is_plain });
        if let Some(ingestion) = ingestion {
            let place = url(ingestion).as_ref().and_then(place).ok_or_else(no_host)?;
            if keys.apps.insert(place, app).is_some() {
                return Err(format!("line {number} has a host that an earlier line has; keep one"));
            }
        }
    }
    Ok(keys)
}

/// A personal or a project API key: no host has an underscore there.
fn is_key(word: &str) -> bool {
    word.starts_with("phx_") || word.starts_with("phc_")
}

/// A host as it is written in the file: https, unless it says http.
fn url(typed: &str) -> Option<Url> {
    if typed.contains("://") {
        typed.parse().ok()
    } else {
        format!("https://{typed}").parse().ok()
    }
}

fn check(key: &SecretString) -> Result<(), &'static str> {
    let key = key.expose_secret();
    if key.starts_with("phc_") {
        return Err(
            "is a project API key (phc_…), which cannot read anything; make a personal API key (phx_…) in PostHog's \
                    settings of your user, with the scopes query:read and project:read; dashboards need dashboard:write and \
                    insight:write, too",
        );
    }
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("holds a blank or a character that no personal API key (phx_…) has");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> (PersonalKeys, Result<(), String>) {
        let map = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut settings = Settings::from_map(map.collect());
        let keys = PersonalKeys::read(&mut settings);
        (keys, settings.finish().map(|_| ()).map_err(|error| error.to_string()))
    }

    fn goes(keys: &PersonalKeys, app: &str) -> Option<String> {
        keys.of(&app.parse().unwrap()).map(|key| key.expose_secret().to_owned())
    }

    #[test]
    fn a_key_goes_to_its_own_host_and_to_no_other() {
        let cloud = PersonalKeys {
            cloud: Some("phx_cloud".into()),
            ..parse(
                "# ours\nposthog.example.com phx_a\n\n  https://gate.example.com:8443/at/ phx_b\n127.0.0.1:8000 phx_c\n\
                 http://plain.example.com phx_d",
            )
            .unwrap()
        };
        for (app, key) in [
            ("https://us.posthog.com", Some("phx_cloud")),
            ("https://eu.posthog.com/", Some("phx_cloud")),
            ("http://eu.posthog.com/", None),
            ("https://eu.posthog.com:8443/", None),
            ("https://eu.posthog.com/path", None),
            ("https://us.i.posthog.com", None),
            ("https://us.posthog.com.evil.example", None),
            ("https://evil.posthog.com", None),
            ("https://posthog.example.com", Some("phx_a")),
            ("https://POSTHOG.example.com./", Some("phx_a")),
            ("https://posthog.example.com:444", None),
            ("https://posthog.example.com/other", None),
            ("https://x.posthog.example.com", None),
            ("https://gate.example.com:8443/at", Some("phx_b")),
            ("https://gate.example.com:8443", None),
            ("http://posthog.example.com", None),
            ("http://gate.example.com:8443/at", None),
            ("http://plain.example.com", Some("phx_d")),
            ("http://127.0.0.1:8000", Some("phx_c")),
            ("http://127.0.0.1:8001", None),
        ] {
            assert_eq!(goes(&cloud, app).as_deref(), key, "{app}");
        }
        assert!(!cloud.is_empty() && PersonalKeys::default().is_empty());
        assert!(!format!("{cloud:?}").contains("phx_"));
    }

    #[test]
    fn a_host_that_only_takes_events_may_have_an_app_elsewhere() {
        let keys = parse(
            "ph.example.com us.posthog.com phx_a\nanother.example/at us.posthog.com phx_a\nposthog.example.com phx_b",
        )
        .unwrap();
        let app = |ingestion: &str| keys.app(&ingestion.parse().unwrap()).to_string();
        assert_eq!(app("https://ph.example.com"), "https://us.posthog.com/");
        assert_eq!(app("http://PH.example.com./"), "https://us.posthog.com/");
        assert_eq!(app("https://another.example/at/"), "https://us.posthog.com/");
        assert_eq!(app("https://another.example"), "https://another.example/");
        assert_eq!(app("https://eu.i.posthog.com"), "https://eu.posthog.com/");
        // The key goes to the app's host alone.
        assert_eq!(goes(&keys, "https://us.posthog.com").as_deref(), Some("phx_a"));
        for host in [
            "https://ph.example.com",
            "https://another.example/at",
            "https://eu.posthog.com",
        ] {
            assert_eq!(goes(&keys, host), None, "{host}");
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_and_never_shown() {
        let (_, refused) = read(&[("POSTHOG_PERSONAL_API_KEY", "phc_hunter2")]);
        let said = refused.unwrap_err();
        assert!(
            said.contains("project API key") && said.contains("query:read"),
            "{said}"
        );
        assert!(!said.contains("hunter2"));
        for (bad, place) in [
            ("posthog.example.com", "line 1"),
            ("\na.example phx_hunter2 more", "line 2"),
            ("a.example b.example c.example phx_hunter2", "line 1"),
            (
                "a.example b.example phx_hunter2\na.example c.example phx_hunter3",
                "line 2",
            ),
            (
                "a.example b.example phx_hunter2\nc.example b.example phx_hunter3",
                "line 2",
            ),
            ("a.example phc_hunter2", "project API key"),
            ("a.example phx_hunter2\nhttps://a.example/ phx_hunter3", "line 2"),
            ("a.example phx_hünter2", "line 1"),
        ] {
            let said = parse(bad).unwrap_err();
            assert!(said.contains(place) && !said.contains("nter"), "{bad}: {said}");
        }
        let (_, refused) = read(&[("POSTHOG_PERSONAL_API_KEYS_FILE", "/nowhere/at/all")]);
        assert!(refused.unwrap_err().contains("cannot read"));
    }
}
