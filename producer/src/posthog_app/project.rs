//! Which PostHog project a project key belongs to, and what the personal key may do beside reading.

use reqwest::Url;
use serde_json::Value;
use shared::settings::{ExposeSecret, SecretString};

use super::client::{App, Question, named};
use super::error::AppError;
use super::query::Place;

/// Projects on a page of the list.
const PAGE: usize = 100;
/// No organisation has more.
const PAGES: usize = 100;

impl App {
    /// The number of the project that has this project API key.
    pub(crate) async fn project_with_key(&self, app: &Url, api_key: &SecretString) -> Result<i64, AppError> {
        let mut listed = 0;
        for _ in 0..PAGES {
            let answer = self
                .ask(Question {
                    // A page may have fewer than were asked for.
                    query: Some(format!("limit={PAGE}&offset={listed}")),
                    ..Question::get(app, "api/projects/")
                })
                .await?;
            let Some(projects) = answer["results"].as_array() else {
                return Err(AppError::Garbled {
                    host: named(app),
                    why: "a list of projects without `results`".to_owned(),
                });
            };
            listed += projects.len();
            let ours = projects
                .iter()
                .find(|project| project["api_token"].as_str() == Some(api_key.expose_secret()));
            if let Some(ours) = ours {
                return ours["id"].as_i64().ok_or_else(|| AppError::Garbled {
                    host: named(app),
                    why: "a project without its number".to_owned(),
                });
            }
            // Its `next` is a URL, which is never followed: it could lead elsewhere.
            if answer["next"].is_null() || projects.is_empty() {
                break;
            }
        }
        Err(AppError::NotListed {
            host: named(app),
            listed,
        })
    }

    /// Whether the project of this number has this project API key; `None` where the personal key may
    /// not see that. That PostHog did not answer tells nothing, and is an error.
    pub(crate) async fn has_key(&self, place: &Place, api_key: &SecretString) -> Result<Option<bool>, AppError> {
        let asked = self.ask(Question {
            project: Some(place.project),
            ..Question::get(&place.app, format!("api/projects/{}/", place.project))
        });
        let answer = match asked.await {
            Ok(answer) => answer,
            Err(AppError::LacksScope { .. } | AppError::NoAccess { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match answer["api_token"].as_str() {
            Some(token) => Ok(Some(token == api_key.expose_secret())),
            None => Err(AppError::Garbled {
                host: named(&place.app),
                why: "a project without `api_token`".to_owned(),
            }),
        }
    }

    /// A sentence for the operator where the key may do more than read. A PostHog that does not tell
    /// is believed.
    pub(crate) async fn key_warning(&self, app: &Url) -> Option<String> {
        let asked = self.ask(Question::get(app, "api/personal_api_keys/@current/"));
        let scopes = too_much(&asked.await.ok()?)?;
        Some(format!(
            "the personal API key at {} may do more than it needs ({scopes}); narrow it to query:read and project:read in \
             PostHog's settings",
            named(app)
        ))
    }
}

/// The scopes that allow to change something. PURE.
fn too_much(key: &Value) -> Option<String> {
    let scopes = key["scopes"].as_array()?.iter().filter_map(Value::as_str);
    let writing: Vec<&str> = scopes
        .filter(|scope| *scope == "*" || scope.ends_with(":write"))
        .collect();
    (!writing.is_empty()).then(|| writing.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_may_write_is_noticed() {
        assert_eq!(too_much(&json!({"scopes": ["query:read", "project:read"]})), None);
        assert_eq!(too_much(&json!({"detail": "?"})), None);
        let all = too_much(&json!({"scopes": ["*"]}));
        assert_eq!(all.as_deref(), Some("*"));
        let some = too_much(&json!({"scopes": ["query:read", "insight:write", "person:write"]}));
        assert_eq!(some.as_deref(), Some("insight:write, person:write"));
    }
}
