//! A form that somebody sent. There is one only where actions are allowed, so nothing can be done
//! without it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::StatusCode;
use axum::response::Response;
use uuid::Uuid;

use super::confirm::refused;
use crate::console::address::carried;
use crate::console::app::App;
use crate::console::operator::Operator;

/// The field with a confirmation's number.
pub(super) const ONCE: &str = "once";

/// A form.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) operator: Arc<Operator>,
    /// Where the request came from
    pub(super) address: String,
    fields: Vec<(String, String)>,
}

impl FromRequest<Arc<App>> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let Some(operator) = app.operator.clone() else {
            let why = "The console was started without --allow-actions.";
            return Err(refused(app, StatusCode::FORBIDDEN, "It only shows", why));
        };
        let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let address = from.map_or_else(|| "unknown".to_owned(), |ConnectInfo(from)| from.ip().to_string());
        let read = axum::Form::<Vec<(String, String)>>::from_request(request, app).await;
        let axum::Form(fields) = read.map_err(|rejection| unreadable(app, &rejection))?;
        if fields.iter().any(|(_, value)| value.contains('\0')) {
            let why = "A field holds a character that no database can hold. Nothing was done.";
            return Err(refused(app, StatusCode::BAD_REQUEST, "Not a form", why));
        }
        Ok(Self {
            operator,
            address,
            fields,
        })
    }
}

fn unreadable(app: &App, rejection: &FormRejection) -> Response {
    let status = rejection.status();
    let why = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "The form is larger than 1 MB. Nothing was done; choose fewer.",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            "Actions take forms only (application/x-www-form-urlencoded). Nothing was done."
        }
        _ => "The form cannot be read. Nothing was done.",
    };
    refused(app, status, "Not a form", why)
}

impl Form {
    /// What somebody typed into a field; `None`: nothing.
    pub(super) fn typed(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (_, value) = fields.find(|(known, _)| known == name)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    /// What somebody chose of several under one name.
    pub(super) fn chosen(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter();
        fields
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// What a confirmation carries under one name.
    pub(super) fn carried(&self, name: &str) -> Vec<String> {
        self.chosen(name).into_iter().map(carried).collect()
    }

    /// The confirmation's number.
    pub(super) fn once(&self) -> Option<Uuid> {
        self.typed(ONCE)?.parse().ok()
    }
}
