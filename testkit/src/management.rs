//! The broker's management API.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};

use crate::tls::install_crypto;
use crate::wait;

/// The management HTTP API, used as a human would.
#[derive(Debug, Clone)]
pub struct Management {
    client: reqwest::Client,
    url: Url,
}

impl Management {
    pub(crate) fn new(url: Url) -> Self {
        install_crypto();
        Self {
            client: reqwest::Client::builder().no_proxy().build().expect("an HTTP client"),
            url,
        }
    }

    /// One request to `/api/SEGMENTS`; panics unless it is answered with success.
    pub async fn request(&self, method: Method, segments: &[&str], body: Option<Value>) -> Value {
        let what = format!("{method} /api/{}", segments.join("/"));
        let mut answered = self.try_request(method.clone(), segments, body.clone()).await;
        // A broker that has just started may drop a connection. Except for a POST, asking twice has
        // the effect of asking once.
        for _ in 0..3 {
            if answered.is_ok() || method == Method::POST {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            answered = self.try_request(method.clone(), segments, body.clone()).await;
        }
        let (status, answer) = answered.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(status.is_success(), "{what}: {status} {answer}");
        answer
    }

    /// One request to `/api/SEGMENTS`: its status, and its body (null when it has none).
    pub async fn try_request(
        &self,
        method: Method,
        segments: &[&str],
        body: Option<Value>,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .expect("an http URL")
            .pop_if_empty()
            .push("api")
            .extend(segments);
        let mut request = self.client.request(method, url).timeout(Duration::from_secs(15));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok((
            status,
            serde_json::from_str(&text).unwrap_or_else(|_| if text.is_empty() { Value::Null } else { json!(text) }),
        ))
    }

    /// Makes a virtual host that `user` may do everything in.
    pub async fn create_vhost(&self, vhost: &str, user: &str) {
        self.request(Method::PUT, &["vhosts", vhost], Some(json!({}))).await;
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        self.request(Method::PUT, &["permissions", vhost, user], Some(all))
            .await;
        self.start_vhost_everywhere(vhost).await;
    }

    /// A busy node of a cluster may fail to start a new virtual host, and then refuses every
    /// connection to it for ever.
    async fn start_vhost_everywhere(&self, vhost: &str) {
        let started = wait::until(Duration::from_secs(30), async || {
            let answer = self.request(Method::GET, &["vhosts", vhost], None).await;
            let states = answer["cluster_state"].as_object().expect("the states by node");
            let stopped = states.iter().filter(|(_, state)| *state != "running");
            let stopped: Vec<&String> = stopped.map(|(node, _)| node).collect();
            for node in &stopped {
                // The node may be starting it already. Then it refuses this request, and that is
                // fine.
                let segments = ["vhosts", vhost, "start", node];
                let _ = self.try_request(Method::POST, &segments, Some(json!({}))).await;
            }
            stopped.is_empty() && !states.is_empty()
        })
        .await;
        assert!(
            started.is_some(),
            "RabbitMQ does not start the virtual host {vhost} on every node"
        );
    }

    /// Removes a virtual host with all it holds.
    pub async fn delete_vhost(&self, vhost: &str) {
        self.request(Method::DELETE, &["vhosts", vhost], None).await;
    }
}
