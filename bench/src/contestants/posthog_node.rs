//! The peer: PostHog's own client for Node.js, driven as Langfuse's own worker drives it
//! (`peers/posthog-node/peer.js`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use testkit::World;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use super::{Outcome, postgres_cpu};
use crate::database::{API_KEY, Day, LANGFUSE_URL};
use crate::measure;
use crate::memory::Watch;

const ADVICE: &str =
    "posthog-node needs Node.js 20 or later with npm; leave it out with `--only worker,copy,projects,workers,idle`";
const FILES: [(&str, &str); 4] = [
    ("package.json", include_str!("../../peers/posthog-node/package.json")),
    (
        "package-lock.json",
        include_str!("../../peers/posthog-node/package-lock.json"),
    ),
    (".npmrc", include_str!("../../peers/posthog-node/.npmrc")),
    ("peer.js", include_str!("../../peers/posthog-node/peer.js")),
];

/// The peer, installed.
pub struct PosthogNode {
    directory: PathBuf,
    /// Of the client, and of Node.js
    pub version: String,
}

impl PosthogNode {
    /// Installs it into the world's directory.
    pub async fn install(world: &World) -> Result<Self> {
        let directory = world.servers().directory().path().join("posthog-node");
        std::fs::create_dir(&directory)?;
        for (name, text) in FILES {
            std::fs::write(directory.join(name), text)?;
        }
        output(world, &directory, "npm", &["ci", "--omit=dev", "--ignore-scripts"]).await?;
        let installed = std::fs::read_to_string(directory.join("node_modules/posthog-node/package.json"))?;
        let installed: serde_json::Value = serde_json::from_str(&installed)?;
        let client = installed["version"].as_str().unwrap_or("?").to_owned();
        let node = output(world, &directory, "node", &["--version"]).await?;
        Ok(Self {
            directory,
            version: format!("posthog-node {client}, Node.js {}", node.trim()),
        })
    }

    /// Exports a day.
    pub async fn export(&self, world: &World, host: &str, day: Day) -> Result<Outcome> {
        let mut command = Command::from(world.servers().directory().command("node"));
        command
            .arg("peer.js")
            .current_dir(&self.directory)
            .envs([
                ("DATABASE_URL", world.database_url.as_str()),
                ("POSTHOG_HOST", host),
                ("POSTHOG_KEY", API_KEY),
                ("PROJECT", day.project),
                ("DAY", &day.date.to_string()),
                ("LANGFUSE_URL", LANGFUSE_URL),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let mut child = command.spawn().context(ADVICE)?;
        let pid = child.id().context("node ended at once")?;
        let mut said = BufReader::new(child.stdout.take().context("node's output")?).lines();
        let mut tell = child.stdin.take().context("node's input")?;
        answer(&mut said, "ready").await?;

        let (cpu_before, postgres_before) = (measure::cpu(pid)?, postgres_cpu(world)?);
        let watch = Watch::start(pid);
        let began = Instant::now();
        tell.write_all(b"go\n").await?;
        let events = answer(&mut said, "done ").await?.parse()?;
        let outcome = Outcome {
            wall: began.elapsed(),
            cpu: Some(measure::cpu(pid)?.saturating_sub(cpu_before)),
            postgres_cpu: postgres_cpu(world)?.saturating_sub(postgres_before),
            peak_memory: Some(measure::peak_memory(pid)?),
            memory: watch.seen(),
            events,
        };
        drop(tell);
        let status = child.wait().await?;
        ensure!(status.success(), "posthog-node ended with {status}");
        Ok(outcome)
    }
}

/// What follows the word in the next line.
async fn answer(said: &mut Lines<BufReader<ChildStdout>>, word: &str) -> Result<String> {
    let line = said
        .next_line()
        .await?
        .context("posthog-node ended before it was done")?;
    match line.strip_prefix(word) {
        Some(rest) => Ok(rest.to_owned()),
        None => bail!("posthog-node said {line:?} instead of {word:?}"),
    }
}

async fn output(world: &World, directory: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::from(world.servers().directory().command(program));
    command.args(arguments).current_dir(directory).kill_on_drop(true);
    let output = command
        .output()
        .await
        .with_context(|| format!("start {program}: {ADVICE}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}\n{ADVICE}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
