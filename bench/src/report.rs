//! PURE: the tables.

use serde::Serialize;

use crate::console::measured::Console;
use crate::fleet::measured::Fleet;
use crate::sample::{Case, Sample, Summary, as_f64, summaries};
use crate::table::{align_right, of_targets, seconds, table};
use crate::targets::{Compressed, IdleWorker, Target, targets};
use crate::verify::Verdict;

const MIB: f64 = 1024.0 * 1024.0;

/// Everything that was measured, and where.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Name and value: machine, versions, settings
    pub circumstances: Vec<(&'static str, String)>,
    /// Whether every event arrived once, of each case
    pub verdicts: Vec<(Case, Verdict)>,
    /// The measurements
    pub samples: Vec<Sample>,
    /// A worker without work
    pub idle: Option<IdleWorker>,
    /// Sizes of the worker's bodies
    pub compressed: Option<Compressed>,
    /// A fleet, when that was asked for: then nothing else was measured
    pub fleet: Option<Fleet>,
    /// The console's pages, likewise
    pub console: Option<Console>,
}

impl Report {
    /// As JSON, with medians, spreads and targets.
    pub fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct All<'a> {
            #[serde(flatten)]
            measured: &'a Report,
            summaries: Vec<Summary>,
            targets: Vec<Target>,
        }
        serde_json::to_string_pretty(&All {
            measured: self,
            summaries: summaries(&self.samples),
            targets: self.targets(),
        })
    }

    /// The targets.
    pub fn targets(&self) -> Vec<Target> {
        match (&self.fleet, &self.console) {
            (Some(fleet), _) => fleet.targets(),
            (None, Some(console)) => console.targets(),
            (None, None) => targets(&self.samples, self.idle, self.compressed),
        }
    }

    /// As Markdown, which a terminal shows as well.
    pub fn markdown(&self) -> String {
        let mut circumstances = table(&["", ""]);
        for (name, value) in &self.circumstances {
            circumstances.add_row([*name, value]);
        }
        let mut parts = vec![circumstances.to_string()];
        match (&self.fleet, &self.console) {
            (Some(fleet), _) => parts.extend([fleet.jobs(), fleet.planning(), fleet.verified()]),
            (None, Some(console)) => parts.push(console.table()),
            (None, None) => parts.extend([self.measurements(), self.verified()]),
        }
        parts.push(of_targets(&self.targets()));
        parts.join("\n\n") + "\n"
    }

    fn measurements(&self) -> String {
        let mut table = table(&[
            "median (least–greatest)",
            "runs",
            "wall",
            "its CPU",
            "PostgreSQL's CPU",
            "peak memory",
            "events",
            "µs an event",
            "MB sent",
            "receiver's CPU",
        ]);
        align_right(&mut table);
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        for summary in summaries(&self.samples) {
            let sent = (summary.bytes > 0.0).then(|| format!("{:.1}", summary.bytes / 1e6));
            table.add_row([
                summary.case.to_string(),
                summary.runs.to_string(),
                seconds(summary.wall),
                or_none(summary.cpu.map(seconds)),
                seconds(summary.postgres_cpu),
                or_none(summary.peak_memory.map(|peak| format!("{:.1} MiB", peak.median / MIB))),
                summary.events.to_string(),
                format!("{:.2}", summary.wall.median / as_f64(summary.events) * 1e6),
                or_none(sent),
                format!("{:.2} s", summary.receiver_cpu.median),
            ]);
        }
        table.to_string()
    }

    fn verified(&self) -> String {
        let mut table = table(&[
            "every uuid once",
            "expected",
            "arrived",
            "missing",
            "doubled",
            "unexpected",
        ]);
        align_right(&mut table);
        for (case, verdict) in &self.verdicts {
            let Verdict {
                expected,
                arrived,
                missing,
                doubled,
                unexpected,
            } = verdict;
            let counts = [expected, arrived, missing, doubled, unexpected].map(ToString::to_string);
            table.add_row([vec![case.to_string()], counts.to_vec()].concat());
        }
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::sample;

    fn report() -> Report {
        Report {
            circumstances: vec![("machine", "two cores".to_owned())],
            verdicts: vec![(Case::Worker(0), Verdict::default())],
            samples: vec![
                sample(Case::Worker(0), 1, 2.0, 1.0),
                sample(Case::Worker(0), 2, 4.0, 1.0),
                sample(Case::PosthogNode(0), 1, 30.0, 40.0),
            ],
            idle: None,
            compressed: None,
            fleet: None,
            console: None,
        }
    }

    #[test]
    fn the_tables_have_a_row_for_each_case_and_target() {
        let text = report().markdown();
        let row = |name: &str| {
            text.lines()
                .find(|line| line.contains(name))
                .unwrap_or_default()
                .to_owned()
        };
        let worker = row("worker, answers after 0 ms");
        assert!(
            worker.contains("3.00 s (2.00–4.00)") && worker.contains("50.0 MiB"),
            "{worker}"
        );
        assert!(
            row("posthog-node's time over ours").contains("10.00 × (15.00–15.00)"),
            "{text}"
        );
        assert!(row("memory of an idle worker").contains("not measured"));
        assert!(row("machine").contains("two cores"));
    }

    #[test]
    fn the_json_holds_measurements_medians_and_targets() {
        let json: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        assert_eq!(json["samples"][0]["case"], "worker, answers after 0 ms");
        assert_eq!(json["summaries"][0]["wall"]["median"], 3.0);
        assert_eq!(json["targets"][0]["held"], true);
    }
}
