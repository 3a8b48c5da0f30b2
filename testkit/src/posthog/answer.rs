//! An answer before it is HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::capture::Refusal;

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Answer {
    pub(super) fn json(body: &Value) -> Self {
        Self::json_with(200, body)
    }

    pub(super) fn json_with(status: u16, body: &Value) -> Self {
        let headers = vec![(CONTENT_TYPE.to_string(), "application/json".to_owned())];
        Self {
            status,
            body: body.to_string(),
            headers,
        }
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        let headers = vec![(CONTENT_TYPE.to_string(), "text/plain; charset=utf-8".to_owned())];
        Self {
            status,
            body: body.to_owned(),
            headers,
        }
    }

    pub(super) fn into_http(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = StatusCode::from_u16(self.status).expect("the script gives a valid HTTP status");
        for (name, value) in self.headers {
            let name: HeaderName = name.parse().expect("the script gives valid header names");
            let value: HeaderValue = value.parse().expect("the script gives valid header values");
            response.headers_mut().append(name, value);
        }
        response
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::text(refusal.status, &refusal.text)
    }
}
