//! `integrations`: each project's PostHog host and key, as Langfuse's settings page stores them.
//!
//! A key is never shown. It is not an argument either, because `ps` and the shell's history would
//! show it.

mod check;
mod rows;
mod set;

use clap::{Args, Subcommand};
use serde::Serialize;
use shared::egress::Egress;
use shared::integration::{self, EncryptionKey, StoredIntegration};
use shared::settings::{SecretString, Settings, variables};

use crate::config::{self, Key, Server};
use crate::error::CommandError;
use crate::key_check;
use crate::output::{self, Exit, line};
use crate::servers;

pub use check::execute as check;
pub use set::{SetArguments, SetConfig, execute as set};

/// What to do with the integrations.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Show each project's host, and whether it is enabled and its key can be decrypted
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArguments),
    /// Create or change a project's settings; the key is encrypted as Langfuse does it
    #[command(after_help = SET_EXAMPLES)]
    Set(SetArguments),
    /// Ask each project's host whether it knows the key
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArguments),
}

const LIST_EXAMPLES: &str = "\
Examples:
  producer integrations list
  producer integrations list --json

It asks no host; `producer integrations check` does.

JSON: {\"integrations\": [{project_id, name, host, enabled, decryptable, problem, problem_code}]};
`problem_code` is the error code that a job would end with, for example host_not_allowed for a host
that EGRESS_ONLY does not list. The key is never shown.";

const SET_EXAMPLES: &str = "\
Examples:
  producer integrations set --project clx1abc --host https://eu.i.posthog.com --key-file key.txt
  POSTHOG_API_KEY=phc_… producer integrations set --project clx1abc --host https://eu.i.posthog.com
  producer integrations set --project clx1abc --disable

The key is the project API key (phc_…) from PostHog's project settings. It comes from --key-file or
from POSTHOG_API_KEY (or POSTHOG_API_KEY_FILE). Without them it is asked for at the terminal, and
not shown while it is typed. What is not given stays as it is. A new integration needs host and key,
and is enabled unless --disable is given.

Once host and key are stored, the host is asked whether it knows the key, unless --no-check. A host
that is away, or cannot tell, is no failure. `producer integrations check` asks again.

It writes to SETTINGS_DATABASE_URL [default: DATABASE_URL], as posthog_export_settings of
deploy/sql/settings.sql.

Exit code: 0 when it is stored; 1 also when it is stored and the host does not know the key.

JSON: {project_id, created, check: null | {result, detail}}. `result` is one of those of
`integrations check`.";

const CHECK_EXAMPLES: &str = "\
Examples:
  producer integrations check
  producer integrations check --project clx1abc --json

Each result is one of
  known        the host knows the key
  refused      the host does not know the key: PostHog would drop all events
  cannot_tell  the host gave no clear answer, for example a proxy that serves capture only
  or the error code of what kept the host from being asked.

Exit code: 0 when every result is `known` or `cannot_tell`, 1 otherwise.

JSON: {\"checks\": [{project_id, name, host, result, detail}]}.";

/// Arguments of `list`.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArguments {
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug, Default)]
pub struct CheckArguments {
    /// Only this project, enabled or not [default: every enabled integration]
    #[arg(long, value_name = "ID")]
    pub project: Option<String>,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `list` and `check` read from the environment.
#[derive(Debug)]
pub struct Config {
    source: Server,
    key: Key,
    egress: Egress,
    ca: Vec<reqwest::Certificate>,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            source: config::source(settings),
            key: Key::read(settings),
            egress: Egress::read(settings),
            ca: settings.certificates(&variables::POSTHOG_CA_FILE),
        }
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    project_id: &'a str,
    name: &'a str,
    host: &'a str,
    enabled: bool,
    decryptable: bool,
    problem: Option<String>,
    problem_code: Option<&'static str>,
}

impl<'a> Listed<'a> {
    fn of(stored: &'a StoredIntegration, key: &EncryptionKey, egress: &Egress) -> Self {
        let problem = key_check::open(stored, key, egress).err();
        Self {
            project_id: &stored.project_id,
            name: &stored.project_name,
            host: &stored.host,
            enabled: stored.enabled,
            decryptable: key.decrypt(&stored.encrypted_api_key).is_ok(),
            problem_code: problem.as_ref().map(|unusable| unusable.code.as_str()),
            problem: problem.map(|unusable| unusable.reason),
        }
    }
}

/// Executes `list`.
pub async fn list(arguments: &ListArguments, config: Config) -> Result<Exit, CommandError> {
    let key = config.key.get()?;
    let source = servers::source(&config.source).await?;
    let all = integration::list(&source, None).await?;
    let listed = |stored| Listed::of(stored, key, &config.egress);
    let rows: Vec<Listed<'_>> = all.iter().map(listed).collect();
    if arguments.json {
        output::json(&serde_json::json!({ "integrations": rows }));
    } else if rows.is_empty() {
        line("No project has a PostHog integration; `producer integrations set` writes one.");
    } else {
        let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let rows = rows.into_iter().map(|row| {
            [
                row.project_id.to_owned(),
                row.name.to_owned(),
                row.host.to_owned(),
                yes(row.enabled),
                yes(row.decryptable),
                row.problem.unwrap_or_else(|| "-".to_owned()),
            ]
        });
        output::table(["PROJECT", "NAME", "HOST", "ENABLED", "KEY DECRYPTS", "PROBLEM"], rows);
    }
    Ok(Exit::Done)
}

/// Refuses what cannot be a PostHog project API key, before it is stored.
fn check_key(key: &SecretString) -> Result<SecretString, CommandError> {
    use shared::settings::ExposeSecret;
    let key = key.expose_secret().trim();
    let refuse = |why: &str| Err(CommandError::argument(why));
    if key.is_empty() {
        return refuse("the API key is empty");
    }
    if key.starts_with("phx_") {
        return refuse(
            "this is a personal API key (phx_…), which cannot send events; take the project API key (phc_…) from PostHog's project settings",
        );
    }
    if key.len() > 64 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse(
            "this is no PostHog project API key: it is longer than 64 characters, or has spaces or characters that are not ASCII",
        );
    }
    if !key.starts_with("phc_") {
        return refuse(
            "this is no PostHog project API key: it does not begin with phc_; take it from PostHog's project settings",
        );
    }
    Ok(SecretString::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::settings::ExposeSecret;

    #[test]
    fn a_key_is_trimmed_and_the_wrong_kind_refused_without_repeating_it() {
        assert_eq!(check_key(&" phc_abc\n".into()).unwrap().expose_secret(), "phc_abc");
        let long = format!("phc_{}", "p".repeat(61));
        for bad in [
            "",
            "  ",
            "phx_secret",
            "phc a",
            "phc_é",
            "sk-lf-1",
            "phs_feature",
            long.as_str(),
        ] {
            let error = check_key(&bad.into()).unwrap_err().to_string();
            assert!(bad.trim().is_empty() || !error.contains(bad.trim()), "{error}");
        }
        assert!(
            check_key(&"phx_1".into())
                .unwrap_err()
                .to_string()
                .contains("project API key")
        );
    }
}
