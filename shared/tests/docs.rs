//! Holds what the documents repeat equal to the code. `UPDATE_DOCS=1` writes the tables anew. Their
//! links are followed by `.ci/run links`.

#![allow(clippy::expect_used, reason = "a document that cannot be read is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use shared::error_code::ErrorCode;
use shared::settings::{Fallback, VARIABLES, markdown_table};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a document of the repository")
}

/// The README and all pages of docs/.
fn documents() -> Vec<String> {
    let entries = fs::read_dir(root().join("docs")).expect("the folder of documents");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let pages = pages.filter_map(|path| Some(format!("docs/{}", path.file_name()?.to_str()?)));
    let mut pages: Vec<String> = pages.chain(["README.md".to_owned()]).collect();
    pages.sort();
    pages
}

/// A document's text between a pair of markers must be this.
fn expect_part(document: &str, name: &str, table: &str) {
    let text = read(document);
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&open).expect("the opening marker");
    let (found, after) = rest.split_once(&close).expect("the closing marker");
    let wanted = format!("\n{table}\n");
    if found != wanted && std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(document), [before, &open, &wanted, &close, after].concat()).expect("the document");
        return;
    }
    let differs = found
        .lines()
        .zip(wanted.lines())
        .find(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "{document}, {name}: write it anew with UPDATE_DOCS=1; first {differs:#?}"
    );
}

#[test]
fn the_configuration_page_tells_every_variable() {
    expect_part("docs/CONFIGURATION.md", "configuration", &markdown_table());
}

/// What kind of query a tile has, and where its SQL is.
fn kind_of(tile: &serde_json::Value) -> String {
    let key = tile["key"].as_str().expect("a key");
    if tile["query"]["source"] == "$sql" {
        return format!("[SQL](../producer/src/dashboards/tiles/{key}.hogql)");
    }
    let kind = tile["query"]["source"]["kind"].as_str().expect("a kind");
    let words = [
        ("TrendsQuery", "trends"),
        ("FunnelsQuery", "funnel"),
        ("RetentionQuery", "retention"),
    ];
    let (_, word) = words
        .iter()
        .find(|(known, _)| *known == kind)
        .expect("a word for the kind");
    (*word).to_owned()
}

#[test]
fn the_dashboards_page_tells_every_tile() {
    let definition = read("producer/src/dashboards/ai_metrics.json");
    let definition: serde_json::Value = serde_json::from_str(&definition).expect("the definition");
    let mut told = String::new();
    for group in definition["groups"].as_array().expect("groups") {
        let text = group["text"].as_str().expect("a text");
        let (heading, _) = text.split_once("\n\n").expect("a heading");
        told.push_str(&format!("#{heading}\n\n"));
        told.push_str("| tile | its question | its query | what it does not say |\n| --- | --- | --- | --- |\n");
        for tile in group["tiles"].as_array().expect("tiles") {
            let of = |name: &str| tile[name].as_str().expect("a text").replace('|', "\\|");
            let (title, question, says_not) = (of("title"), of("question"), of("says_not"));
            told.push_str(&format!("| {title} | {question} | {} | {says_not} |\n", kind_of(tile)));
        }
        told.push('\n');
    }
    expect_part("docs/DASHBOARDS.md", "tiles", told.trim_end());
}

/// The one table of errors has each code once, in the order of the code, says what becomes of the
/// job, and which ones pause the project.
#[test]
fn the_table_of_errors_tells_every_code_once() {
    let text = read("docs/TROUBLESHOOTING.md");
    let (_, rest) = text.split_once("<!-- error codes -->\n").expect("the opening marker");
    let (table, _) = rest.split_once("<!-- /error codes -->").expect("the closing marker");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let told: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let known: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(told, known);
    for (row, code) in rows.iter().zip(ErrorCode::ALL) {
        assert!(row.len() == 4 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let job = row[2];
        assert_eq!(job.contains("pauses the project"), code.pauses_project(), "{code}");
        let ends = ["dead letter", "waits", "skipped"];
        assert!(ends.iter().any(|end| job.starts_with(end)), "{code}: {job}");
    }
    let table = "<!-- error codes -->";
    let with_table: Vec<String> = documents()
        .into_iter()
        .filter(|page| read(page).contains(table))
        .collect();
    assert_eq!(with_table, ["docs/TROUBLESHOOTING.md"], "one table, not two");
}

#[test]
fn the_example_environment_names_every_variable_with_its_default() {
    let text = read(".env.example");
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| !line.starts_with("# "))
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .collect();
    let named: BTreeSet<&str> = lines.iter().map(|(name, _)| *name).collect();
    let known: BTreeSet<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    assert_eq!(named, known);
    assert_eq!(lines.len(), known.len(), "a variable is named twice");
    for variable in VARIABLES {
        let commented = text.contains(&format!("\n#{}=", variable.name));
        // Everybody who follows docs/INSTALL.md sets these, too.
        let set = ["LEDGER_DATABASE_URL", "SETTINGS_DATABASE_URL", "LANGFUSE_URL"].contains(&variable.name);
        let required = variable.default == Fallback::Required;
        assert_eq!(commented, !required && !set, "{}", variable.name);
        if let Fallback::Value(default) = variable.default {
            assert!(
                lines.contains(&(variable.name, default)),
                "{}: {default}",
                variable.name
            );
        }
    }
}

/// What the commands of a document take from the shell: `"$NAME_URL"`.
fn urls_of_commands(document: &str) -> BTreeSet<String> {
    let text = read(document);
    let after = text.split("\"$").skip(1);
    let names = after.filter_map(|rest| rest.split('"').next());
    names.filter(|name| name.ends_with("_URL")).map(str::to_owned).collect()
}

#[test]
fn the_example_environment_and_the_documents_agree_on_roles_and_urls() {
    let example = read(".env.example");
    for (variable, role, file) in [
        ("\nDATABASE_URL", "posthog_export_reader", "reader.sql"),
        ("\nLEDGER_DATABASE_URL", "posthog_export_app", "ledger.sql"),
        ("\nSETTINGS_DATABASE_URL", "posthog_export_settings", "settings.sql"),
    ] {
        assert!(example.contains(&format!("{variable}=postgres://{role}:")), "{role}");
        assert!(read(&format!("deploy/sql/{file}")).contains(&format!("create role {role} login")));
    }
    let used: BTreeSet<String> = documents()
        .iter()
        .flat_map(|document| urls_of_commands(document))
        .collect();
    assert!(used.contains("LEDGER_OWNER_URL") && used.len() >= 3, "{used:?}");
    let known = |name: &str| VARIABLES.iter().any(|variable| variable.name == name);
    for name in used.iter().filter(|name| !known(name)) {
        assert!(example.contains(&format!("\n#   {name} ")), "{name} in .env.example");
        assert!(
            read("docs/INSTALL.md").contains(&format!("`{name}`")),
            "{name} in docs/INSTALL.md"
        );
    }
}

/// Whether a source has this test, and it is not ignored.
fn is_run(source: &str, test: &str) -> bool {
    let Some((before, _)) = source.split_once(&format!("async fn {test}()")) else {
        return false;
    };
    let above = before.lines().rev().skip_while(|line| line.trim().is_empty());
    let attributes: Vec<&str> = above
        .take_while(|line| line.contains("#[") || line.trim_start().starts_with("//"))
        .collect();
    let any = |attribute: &str| attributes.iter().any(|line| line.contains(attribute));
    any("#[tokio::test") && !any("#[ignore")
}

#[test]
fn a_function_that_is_no_test_or_ignored_holds_no_promise() {
    let run = "}\n\n/// Says why.\n#[tokio::test(start_paused = true)]\nasync fn it_works() {";
    assert!(is_run(run, "it_works"));
    for source in [
        "#[tokio::test]\nasync fn another() {}\n\nasync fn it_works() {",
        "#[tokio::test]\n#[ignore]\nasync fn it_works() {",
        "#[ignore = \"slow\"]\n#[tokio::test]\nasync fn it_works() {",
        "",
    ] {
        assert!(!is_run(source, "it_works"), "{source}");
    }
}

/// The text of a file, or of all files in a folder.
fn text_below(path: &Path) -> String {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a folder of tests");
        entries
            .map(|entry| text_below(&entry.expect("an entry").path()))
            .collect()
    } else {
        fs::read_to_string(path).expect("a source file")
    }
}

/// The suites whose tests are named `module::test`, and the sources whose unit tests are named alone.
const SUITES: [&str; 3] = ["worker/tests/fault", "worker/tests/it", "producer/tests/it"];
const CRATES: [&str; 3] = ["shared/src", "worker/src", "producer/src"];

/// The names in a document that are no test: `module::test` is in a file `module.rs`, or in a folder
/// `module`, below some `tests`; a name of four words or more without a module is a unit test.
fn names_of_no_test(document: &str) -> Vec<&str> {
    let mut sources = Vec::new();
    for suite in SUITES {
        let entries = fs::read_dir(root().join(suite)).expect("a suite of tests");
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
            sources.push((module, text_below(&path)));
        }
    }
    let exists = |module: &str, test: &str| {
        // A function of its own, or a line of a table from which a macro makes tests.
        let line = format!("    {test}: ");
        let mut of_module = sources.iter().filter(|(name, _)| name == module);
        of_module.any(|(_, source)| is_run(source, test) || source.contains(&line) && is_run(source, "$name"))
    };
    let crates: String = CRATES.iter().map(|path| text_below(&root().join(path))).collect();
    let is_unit_test = |name: &str| {
        let is_name = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let of_others = ["posthog_", "langfuse_"].iter().any(|prefix| name.starts_with(prefix));
        is_name && !of_others && name.split('_').count() >= 4
    };
    let named = document.split('`').skip(1).step_by(2);
    named
        .filter(|name| match name.split_once("::") {
            Some((module, test)) => module != "module" && !exists(module, test),
            None => is_unit_test(name) && !crates.contains(&format!("fn {name}(")),
        })
        .collect()
}

#[test]
fn every_promise_names_tests_that_exist() {
    for page in ["docs/GUARANTEES.md", "docs/SECURITY.md"] {
        assert_eq!(names_of_no_test(&read(page)), Vec::<&str>::new(), "{page}");
    }
    for wrong in ["`line::no_such_test`", "`no_test_is_called_like_this`"] {
        assert_eq!(names_of_no_test(wrong).len(), 1, "{wrong}");
    }
}

/// The promises and the tests that the page of promises counts.
fn promises_and_tests() -> (usize, usize) {
    let text = read("docs/GUARANTEES.md");
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let promises: Vec<&str> = rows
        .filter(|line| !line.starts_with("| promise") && !line.starts_with("| ---"))
        .collect();
    for promise in &promises {
        assert!(promise.contains("::"), "no test holds: {promise}");
    }
    let names = text.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
    (promises.len(), names.collect::<BTreeSet<_>>().len())
}

/// What nobody may do is held by a test, or it says by what else.
#[test]
fn every_line_of_the_threat_model_says_what_holds_it() {
    let text = read("docs/SECURITY.md");
    let tables: Vec<&str> = text.split("| cannot | held by |\n| --- | --- |\n").skip(1).collect();
    assert!(tables.len() >= 4, "{} tables", tables.len());
    for row in tables
        .iter()
        .flat_map(|table| table.lines().take_while(|line| line.starts_with("| ")))
    {
        assert!(row.contains("::"), "no test holds: {row}");
    }
}

/// It is read in five minutes, and its numbers are no more than there is.
#[test]
fn the_readme_is_short_and_counts_no_promise_too_many() {
    let text = read("README.md");
    let lines = text.lines().count();
    assert!(lines <= 200, "{lines} lines");
    let (promises, tests) = promises_and_tests();
    let (_, said) = text.split_once("[Over ").expect("how many promises");
    let (said, _) = said.split_once(']').expect("how many tests");
    let numbers: Vec<usize> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(
        numbers.len() == 2 && promises > numbers[0] && tests > numbers[1],
        "{said}; there are {promises} and {tests}"
    );
}

const ALERTS: &str = "deploy/prometheus/alerts.yaml";

/// One truth: Kubernetes' rules are those of the file that `promtool` tests. `UPDATE_DOCS=1` writes
/// them anew.
#[test]
fn the_prometheus_operator_gets_the_same_rules() {
    let mut wanted = format!(
        "# Written from {ALERTS}, and held equal to it by a test; change it there.\n\
         apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: posthog-export\nspec:\n"
    );
    let alerts = read(ALERTS);
    let groups = alerts.lines().skip_while(|line| *line != "groups:");
    for line in groups {
        let indented = format!("  {line}");
        wanted += indented.trim_end();
        wanted.push('\n');
    }
    let path = root().join("deploy/k8s/components/prometheus-operator/prometheusrule.yaml");
    let found = fs::read_to_string(&path).unwrap_or_default();
    if found != wanted && std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, wanted).expect("write the rules");
        return;
    }
    assert!(found == wanted, "{}: write it anew with UPDATE_DOCS=1", path.display());
}

/// Each alert has a severity, a summary, a description, and a heading of its own in the page of
/// alerts to go to.
#[test]
fn every_alert_says_what_it_means_and_where_to_read_on() {
    let text = read(ALERTS);
    let alerts: Vec<&str> = text.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 8, "{} alerts", alerts.len());
    let guide = anchors(&read("docs/ALERTS.md"));
    for alert in alerts {
        let name = alert.lines().next().unwrap_or_default();
        for part in ["severity: ", "summary: ", "description: "] {
            assert!(alert.contains(part), "{name} lacks its {part}");
        }
        let anchor = format!("alert-{}", name.to_lowercase());
        assert!(
            alert.contains(&format!("runbook_url: docs/ALERTS.md#{anchor}\n")),
            "{name}"
        );
        assert!(guide.contains(&anchor), "docs/ALERTS.md lacks {anchor}");
    }
}

/// Each alert, by name, has a case in which it fires and one in which it does not; and its row in
/// the document, no row beside them.
#[test]
fn every_alert_has_its_cases_and_its_row() {
    let text = read(ALERTS);
    let names: BTreeSet<&str> = text
        .split("- alert: ")
        .skip(1)
        .filter_map(|alert| alert.lines().next())
        .collect();
    let tests = read("deploy/prometheus/alerts_test.yaml");
    let of = |case: &str| names.iter().copied().find(|name| case.starts_with(name));
    let cases: Vec<&str> = tests.split("alertname: ").skip(1).collect();
    let is_silent = |case: &&str| case.lines().next().is_some_and(|line| line.contains("exp_alerts: []"));
    let silent: BTreeSet<&str> = cases
        .iter()
        .copied()
        .filter(|case| is_silent(case))
        .filter_map(of)
        .collect();
    let firing: BTreeSet<&str> = cases
        .iter()
        .copied()
        .filter(|case| !is_silent(case) && case.contains("- exp_labels: "))
        .filter_map(of)
        .collect();
    assert_eq!(firing, names, "alerts that no case lets fire");
    assert_eq!(silent, names, "alerts that no case keeps silent");

    let document = read("docs/METRICS.md");
    let told: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|word| word.starts_with("PosthogExport"))
        .collect();
    assert_eq!(
        told.len(),
        names.len(),
        "an alert is told twice, or not at all: {told:?}"
    );
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), names);
}

/// A container that scrapes or shows: what it mounts is there.
#[test]
fn the_sandbox_mounts_files_that_exist() {
    let text = read("docker-compose.yml");
    let mounts = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./")?.split(':').next());
    let missing: Vec<&str> = mounts.filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The anchors of a document: each heading in lower case, without punctuation, with hyphens for
/// spaces.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().chars();
        let kept = kept.filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}
