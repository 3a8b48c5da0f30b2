//! A private Prometheus that scrapes what a test started, with the project's own rules.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::directory::Directory;
use crate::install;
use crate::process::Process;
use crate::server::free_port;
use crate::tls::install_crypto;
use crate::wait::{self, PATIENCE};

/// A running Prometheus. Dropped, it is killed.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    programs: PathBuf,
    url: String,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts one that scrapes these targets (`host:port`, by the name of their job) every second
    /// and evaluates the rules of a file.
    ///
    /// # Panics
    /// When there is no Prometheus here and none can be installed: a test without it would prove
    /// nothing.
    pub async fn start(directory: &Arc<Directory>, targets: &[(&str, Vec<String>)], rules: &Path) -> Self {
        install_crypto();
        let found = tokio::task::spawn_blocking(install::prometheus_programs).await;
        let programs = found
            .expect("look for Prometheus")
            .unwrap_or_else(|reason| panic!("{reason}"));
        let home = directory.path().join("prometheus");
        fs::create_dir(&home).expect("create Prometheus' directory");
        let rules = rules.canonicalize().expect("the file of rules");
        let mut configuration = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n",
            rules.display()
        );
        for (job, addresses) in targets {
            let addresses: Vec<String> = addresses.iter().map(|address| format!("'{address}'")).collect();
            configuration += &format!(
                "  - {{job_name: {job}, static_configs: [{{targets: [{}]}}]}}\n",
                addresses.join(", ")
            );
        }
        let file = home.join("prometheus.yaml");
        fs::write(&file, configuration).expect("write Prometheus' configuration");
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = directory.command(programs.join("prometheus"));
        command.args([
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", home.join("data").display()),
            format!("--web.listen-address={address}"),
        ]);
        let prometheus = Self {
            process: Process::spawn(directory, "prometheus", command),
            programs,
            url: format!("http://{address}"),
            client: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(10))
                .build()
                .expect("an HTTP client"),
        };
        let ready = wait::until(PATIENCE, async || {
            let asked = prometheus
                .client
                .get(format!("{}/-/ready", prometheus.url))
                .send()
                .await;
            asked.is_ok_and(|answer| answer.status().is_success())
        });
        assert!(
            ready.await.is_some(),
            "Prometheus does not get ready\n{}",
            prometheus.process.tail()
        );
        prometheus
    }

    /// An answer of the HTTP API: what stands under `data`.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/{path}", self.url), query).expect("a URL");
        let answer = self.client.get(url).send().await.expect("ask Prometheus");
        let answer: Value = answer.json().await.expect("Prometheus answers in JSON");
        assert_eq!(answer["status"], "success", "{path} {query:?}: {answer}");
        answer["data"].clone()
    }

    /// The samples of an instant query, now.
    pub async fn query(&self, expression: &str) -> Vec<Value> {
        let data = self.get("query", &[("query", expression)]).await;
        data["result"].as_array().expect("a vector").clone()
    }

    /// The rules it evaluates, as it tells them.
    pub async fn rules(&self) -> Vec<Value> {
        let data = self.get("rules", &[]).await;
        let groups = data["groups"].as_array().expect("groups");
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().expect("rules"));
        rules.cloned().collect()
    }

    /// What `promtool check metrics` says of a scrape; nothing when all is well.
    pub fn lint(&self, scrape: &str) -> String {
        let mut command = std::process::Command::new(self.programs.join("promtool"));
        command.args(["check", "metrics"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("start promtool");
        let mut stdin = child.stdin.take().expect("promtool's input");
        stdin.write_all(scrape.as_bytes()).expect("write to promtool");
        drop(stdin);
        let output = child.wait_with_output().expect("wait for promtool");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if output.status.success() || !said.is_empty() {
            said
        } else {
            format!("{}", output.status)
        }
    }
}
