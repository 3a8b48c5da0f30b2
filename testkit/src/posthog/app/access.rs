//! Who may ask what, in the order in which PostHog looks at it: key, scope, project.

use super::super::answer::Answer;
use super::errors::{denied, error, not_found};
use super::{App, PersonalKey, Project};

impl App {
    /// The personal key of a request.
    pub(super) fn authenticate(&self, authorization: Option<&str>) -> Result<&PersonalKey, Answer> {
        let Some(given) = authorization.and_then(|text| text.strip_prefix("Bearer ")) else {
            return Err(error(
                401,
                "authentication_error",
                "not_authenticated",
                "Authentication credentials were not provided.",
            ));
        };
        self.keys.get(given.trim()).ok_or_else(|| {
            error(
                401,
                "authentication_error",
                "authentication_failed",
                "Personal API key found in request Authorization header is invalid.",
            )
        })
    }

    /// The project a key asks about, where it may.
    pub(super) fn project(&self, key: &PersonalKey, number: i64, scope: &str) -> Result<&Project, Answer> {
        key.has(scope)?;
        let project = self
            .projects
            .get(&number)
            .ok_or_else(|| not_found("Project not found."))?;
        match &key.only {
            Some(only) if !only.contains(&number) => Err(denied(&format!(
                "API key does not have access to the requested project: ID {number}."
            ))),
            _ => Ok(project),
        }
    }
}

impl PersonalKey {
    /// Write implies read.
    pub(super) fn has(&self, scope: &str) -> Result<(), Answer> {
        let write = scope.replace(":read", ":write");
        if self
            .scopes
            .iter()
            .any(|own| own == "*" || own == scope || *own == write)
        {
            return Ok(());
        }
        Err(denied(&format!("API key missing required scope '{scope}'")))
    }

    /// A key of some projects cannot ask for the list of all.
    pub(super) fn may_list(&self) -> Result<(), Answer> {
        self.has("project:read")?;
        match self.only {
            None => Ok(()),
            Some(_) => Err(denied(
                "API keys with scoped projects are only supported on project-based endpoints.",
            )),
        }
    }
}
