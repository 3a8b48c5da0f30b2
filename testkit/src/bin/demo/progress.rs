//! How far each project is: bars on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::projects::{PROJECTS, Project};
use crate::stage::Stage;

const STYLE: &str = "         {prefix:<16} {bar:40} {pos:>6} of {len} events kept";

/// For the bars only: the verdict counts event by event.
const ROWS: &str = r#"
    WITH days AS (SELECT day FROM posthog_export.runs WHERE project_id = $1)
    SELECT (SELECT count(*) FROM traces
            WHERE project_id = $1 AND "timestamp"::date IN (TABLE days))
         + (SELECT count(*) FROM scores
            WHERE project_id = $1 AND "timestamp"::date IN (TABLE days))
         + (SELECT count(*) FROM observations
            WHERE project_id = $1 AND type = 'GENERATION' AND start_time::date IN (TABLE days))"#;

/// A bar for each project.
pub(crate) struct Progress {
    bars: Vec<(Project, ProgressBar)>,
    is_terminal: bool,
    shown: Mutex<Instant>,
}

impl Progress {
    /// Bars as long as the projects' enqueued days have rows.
    pub(crate) async fn new(stage: &Stage) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template(STYLE)?;
        let mut bars = Vec::new();
        for project in PROJECTS {
            let rows: i64 = sqlx::query_scalar(ROWS)
                .bind(project.id)
                .fetch_one(&stage.world.pool())
                .await?;
            let bar = ProgressBar::new(rows.unsigned_abs())
                .with_style(style.clone())
                .with_prefix(project.id);
            bars.push((project, stage.bars.add(bar)));
        }
        Ok(Self {
            bars,
            is_terminal: std::io::stderr().is_terminal(),
            shown: Mutex::new(Instant::now()),
        })
    }

    /// Shows what PostHog keeps by now, unless that was done a moment ago.
    pub(crate) fn show(&self, stage: &Stage) {
        let pause = Duration::from_millis(if self.is_terminal { 100 } else { 2000 });
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.elapsed() >= pause {
            *shown = Instant::now();
            self.show_now(stage);
        }
    }

    /// Shows what PostHog keeps by now.
    pub(crate) fn show_now(&self, stage: &Stage) {
        let mut parts = Vec::new();
        for (project, bar) in &self.bars {
            let kept = stage.world.posthog.counts(project.key).stored as u64;
            bar.set_position(kept);
            parts.push(format!(
                "{} {kept} of {}",
                project.id,
                bar.length().unwrap_or(0)
            ));
        }
        if !self.is_terminal {
            stage.say(&format!("events kept: {}", parts.join(", ")));
        }
    }

    /// The bars stay as they are.
    pub(crate) fn finish(&self) {
        for (_, bar) in &self.bars {
            bar.finish();
        }
    }
}
