//! A headless Chromium that a test drives over WebDriver.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::directory::Directory;
use crate::install;
use crate::process::Process;
use crate::server::free_port;
use crate::tls::install_crypto;
use crate::wait::{self, PATIENCE};

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A running browser with one window. Dropped, it is killed.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    session: String,
    client: reqwest::Client,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no Chromium here and none can be installed: a test without it would prove
    /// nothing.
    pub async fn start(directory: &Arc<Directory>) -> Self {
        Self::with_scripts(directory, true).await
    }

    /// Starts one in which no page runs a script.
    ///
    /// # Panics
    /// As [`Browser::start`].
    pub async fn without_scripts(directory: &Arc<Directory>) -> Self {
        Self::with_scripts(directory, false).await
    }

    async fn with_scripts(directory: &Arc<Directory>, scripts: bool) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        install_crypto();
        let found = tokio::task::spawn_blocking(programs).await;
        let (chromium, driver) = found
            .expect("look for Chromium")
            .unwrap_or_else(|reason| panic!("{reason}"));
        let name = format!("chromedriver-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let home = directory.path().join(format!("{name}-home"));
        std::fs::create_dir(&home).expect("create the browser's directory");
        let port = free_port();
        let mut command = directory.command(driver);
        command
            .arg(format!("--port={port}"))
            .env("HOME", &home)
            .env("TMPDIR", &home);
        let process = Process::spawn(directory, &name, command);
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .expect("a client");
        let url = format!("http://127.0.0.1:{port}");
        let ready = wait::until(PATIENCE, async || {
            let answer = client.get(format!("{url}/status")).send().await.ok()?;
            let status: Value = answer.json().await.ok()?;
            (status["value"]["ready"] == true).then_some(())
        });
        assert!(
            ready.await.is_some(),
            "chromedriver does not get ready\n{}",
            process.tail()
        );
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            "--window-size=1400,1000",
        ];
        let scripts = if scripts { 1 } else { 2 };
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {
                "binary": chromium,
                "args": arguments,
                "prefs": {"profile.managed_default_content_settings.javascript": scripts},
            },
        }}});
        let mut browser = Self {
            process,
            session: url,
            client,
        };
        let made = browser.post("session", &wanted).await;
        let id = made["sessionId"]
            .as_str()
            .unwrap_or_else(|| panic!("no session: {made}"));
        browser.session = format!("{}/session/{id}", browser.session);
        browser
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.answer(self.client.post(format!("{}/{path}", self.session)).json(body))
            .await
    }

    async fn get(&self, path: &str) -> Value {
        self.answer(self.client.get(format!("{}/{path}", self.session))).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.expect("an answer of chromedriver");
        let is_good = answer.status().is_success();
        let mut answer: Value = answer.json().await.expect("JSON of chromedriver");
        assert!(is_good, "{answer}\n{}", self.process.tail());
        answer["value"].take()
    }

    /// Goes to an address, and returns when the page is there.
    pub async fn open(&self, url: &str) {
        self.post("url", &json!({"url": url})).await;
    }

    /// The address of the page.
    pub async fn url(&self) -> String {
        self.get("url").await.as_str().unwrap_or_default().to_owned()
    }

    /// The page as it stands now.
    pub async fn source(&self) -> String {
        self.get("source").await.as_str().unwrap_or_default().to_owned()
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": []})).await
    }

    /// What a script hands to its last argument.
    pub async fn run_async(&self, script: &str) -> Value {
        self.post("execute/async", &json!({"script": script, "args": []})).await
    }

    /// The text that is seen of the first element of a selector.
    pub async fn text(&self, selector: &str) -> String {
        let element = self.find(selector).await;
        let text = self.get(&format!("element/{element}/text")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks the first element of a selector.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.post(&format!("element/{element}/click"), &json!({})).await;
    }

    async fn find(&self, selector: &str) -> String {
        let found = self
            .post("element", &json!({"using": "css selector", "value": selector}))
            .await;
        found[ELEMENT]
            .as_str()
            .unwrap_or_else(|| panic!("no {selector}"))
            .to_owned()
    }

    /// Presses keys one after the other, wherever the focus is. WebDriver's code points stand for
    /// keys without a character: `\u{e004}` is Tab, `\u{e007}` Enter.
    pub async fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                let key = key.to_string();
                [
                    json!({"type": "keyDown", "value": key}),
                    json!({"type": "keyUp", "value": key}),
                ]
            })
            .collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.post("actions", &actions).await;
    }

    /// What the console of the developer tools says, since it was last asked: errors of scripts, and
    /// what the page's security policy refused.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({"type": "browser"})).await;
        let lines = log.as_array().cloned().unwrap_or_default();
        lines
            .iter()
            .map(|line| line["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// A window of this size, as a phone has it where it is narrow.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).await;
    }

    /// As a screen that is touched: its pointer is coarse, and hovers nowhere.
    pub async fn touch(&self) {
        self.devtools("Emulation.setTouchEmulationEnabled", &json!({"enabled": true}))
            .await;
    }

    /// As a system whose user prefers `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &media).await;
    }

    /// A picture of what the window shows, as PNG in base64.
    pub async fn picture(&self) -> String {
        self.get("screenshot").await.as_str().unwrap_or_default().to_owned()
    }

    async fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
            .await
    }

    /// Waits until a script returns true.
    pub async fn wait_for(&self, script: &str) {
        let came = wait::until(PATIENCE, async || (self.run(script).await == true).then_some(())).await;
        assert!(came.is_some(), "never true: {script}\n{}", self.source().await);
    }
}

/// `chromium` and `chromedriver`; installs them if they are missing and this machine allows it.
fn programs() -> Result<(PathBuf, PathBuf), String> {
    let find = |name: &str| {
        let mut programs = install::on_path().map(|directory| directory.join(name));
        programs.find(|program| program.is_file())
    };
    let look = || find("chromium").zip(find("chromedriver"));
    if let Some(found) = look() {
        return Ok(found);
    }
    for package in ["chromium", "chromium-driver", "fonts-dejavu-core"] {
        install::package(package)?;
    }
    look().ok_or_else(|| "testkit: chromium or chromedriver is still missing".to_owned())
}

/// axe-core, which looks for what keeps people out of a page. npm fetches and verifies it once; it
/// is no part of the project.
///
/// # Panics
/// When it cannot be fetched.
pub async fn axe(version: &str) -> String {
    let package = format!("axe-core@{version}");
    let path = tokio::task::spawn_blocking(move || fetch(&package))
        .await
        .expect("fetch axe-core");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn fetch(package: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/npm");
    let home = root.join(package);
    let file = home.join("package/axe.min.js");
    if file.exists() {
        return file;
    }
    let own = root.join(format!("{package}-{}", std::process::id()));
    std::fs::create_dir_all(&own).expect("create a directory for npm");
    if !install::on_path().any(|directory| directory.join("npm").is_file()) {
        for package in ["nodejs", "npm"] {
            install::package(package).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let output = command.args(arguments).current_dir(&own).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}; install nodejs and npm"));
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let archive = run("npm", &["pack", "--silent", package]);
    run(
        "tar",
        &["--extract", "--gzip", "--file", &archive, "package/axe.min.js"],
    );
    // Another process may have been quicker.
    let _ = std::fs::rename(&own, &home);
    file
}
