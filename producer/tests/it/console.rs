//! The console over HTTP: what it shows, who may see it, and what it does while a server is away.

pub(crate) mod actions;
pub(crate) mod big;
mod browser;
mod doctor;
mod history;
mod hostile;
mod letters;
mod listening;
mod rules;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{Days, Utc};
use percent_encoding::percent_decode_str;
use reqwest::{Client, RequestBuilder, StatusCode};
use testkit::{Process, World, wait};

use crate::{PROJECT, add_project, add_run, add_traces, alter, json, world, yesterday};

const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A console that runs.
pub(crate) struct Console {
    pub(crate) process: Arc<Process>,
    /// Without a slash at its end
    pub(crate) url: String,
    client: Client,
}

impl Console {
    pub(crate) async fn start(world: &World, arguments: &[&str], overrides: &[(&str, &str)]) -> Self {
        let mut all = vec!["console"];
        if !arguments.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        all.extend(arguments);
        let process = world.spawn_producer(&all, overrides).await;
        let listening = wait::until(PATIENCE, async || listens_at(&process.stderr())).await;
        let url = listening.unwrap_or_else(|| panic!("the console does not start\n{}", process.tail()));
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { process, url, client }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    /// One whose pages may change something.
    pub(crate) async fn acting(world: &World, overrides: &[(&str, &str)]) -> Self {
        let all = [overrides, &[("CONSOLE_PASSWORD", PASSWORD)]].concat();
        Self::start(world, &["--allow-actions"], &all).await
    }

    /// A form as a page of the console sends it, with the password.
    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let body = reqwest::Url::parse_with_params("http://form/", fields).unwrap();
        self.post(path)
            .basic_auth("anybody", Some(PASSWORD))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.query().unwrap_or_default().to_owned())
    }

    /// The page that comes of a preview.
    pub(crate) async fn preview(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.form(path, fields).send().await.unwrap();
        let status = answer.status();
        let page = answer.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        page
    }

    /// Does what a form asks for, and answers with the deed's page when it has ended.
    pub(crate) async fn act(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.form(path, fields).send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let page = answer.text().await.unwrap();
        assert_eq!(status, StatusCode::SEE_OTHER, "{path}: {page}");
        self.ended(headers["location"].to_str().unwrap()).await
    }

    async fn ended(&self, deed: &str) -> String {
        let ended = wait::until(PATIENCE, async || {
            let request = self.get(deed).basic_auth("anybody", Some(PASSWORD));
            let page = request.send().await.unwrap().text().await.unwrap();
            (!page.contains("It is going on")).then_some(page)
        });
        ended.await.unwrap_or_else(|| panic!("{deed} never ends"))
    }

    /// A page that is there.
    pub(crate) async fn page(&self, path: &str) -> String {
        let answer = self.get(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    }
}

/// Where its log says that it answers.
fn listens_at(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("\"listens\":\"")?;
    Some(format!("http://{}", rest.split_once('"')?.0))
}

#[tokio::test]
async fn the_overview_says_what_needs_somebody() {
    let world = world().await;
    let now = Some(Utc::now());
    let back = |days| yesterday() - Days::new(days);
    add_run(&world, back(2), "daily", "completed", now).await;
    add_run(&world, back(1), "daily", "dead", now).await;
    add_run(&world, back(0), "daily", "running", now).await;
    alter(
        &world,
        "insert into posthog_export.streams (project_id, day, run, stream, sent, rejected)
         select project_id, day, run, unnest(array['trace', 'score']), 1000, 2 from posthog_export.runs",
    )
    .await;
    alter(
        &world,
        "update posthog_export.runs set worker = 'worker-7' where state = 'running'",
    )
    .await;
    add_project(&world, "idle", true).await;
    add_project(&world, "off", false).await;
    let console = Console::start(&world, &[], &[]).await;
    let page = console.page("/").await;
    for words in [
        "1 of 3",
        "1 dead letter; 2 days missing, oldest ",
        "worker-7",
        "6,000",
        "posthog-export.backfill",
        "Name of project one",
        "1 exported, 1 on its way, 1 dead letter, 57 without a run",
        "Nothing open",
        "Disabled",
    ] {
        assert!(page.contains(words), "{words} in {page}");
    }
    let of_state = console.page("/?state=disabled").await;
    assert!(
        of_state.contains("1 of 3 projects") && of_state.contains("Name of off"),
        "{of_state}"
    );
    let found = console.page("/?find=IDLE&sort=name").await;
    assert!(
        found.contains("1 of 3 projects") && !found.contains("Name of off"),
        "{found}"
    );
    assert!(
        console
            .page("/?state=nonsense&sort=&find=%3Cb%3E")
            .await
            .contains("No project is like that")
    );

    console.process.terminate();
    let ended = console.process.exited_within(PATIENCE).await;
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}

#[tokio::test]
async fn a_project_its_runs_and_its_dead_letters_have_pages() {
    let world = world().await;
    let now = Some(Utc::now());
    let back = |days| yesterday() - Days::new(days);
    add_run(&world, back(3), "daily", "completed", now).await;
    add_run(&world, back(2), "daily", "dead", now).await;
    add_run(&world, back(1), "daily", "running", now).await;
    alter(
        &world,
        "update posthog_export.runs set error_code = 'billing_limit', error = 'PostHog answered 402', first_failed_at = now(),
           target = 'https://me:hunter2@ph.example.com c0ffee' where state = 'dead'",
    )
    .await;
    alter(
        &world,
        "insert into posthog_export.streams (project_id, day, run, stream, sent, rejected, cursor_time, cursor_id)
         select project_id, day, run, 'trace', 1234, 1, day + interval '12 hours', 'x' from posthog_export.runs",
    )
    .await;
    alter(
        &world,
        "insert into posthog_export.rejects (project_id, day, run, stream, row_id, reason)
         select project_id, day, run, 'trace', 'row 7', 'too large' from posthog_export.runs",
    )
    .await;
    alter(
        &world,
        "insert into posthog_export.arrivals (project_id, day, run, run_completed_at, verdict, says)
         select project_id, day, run, now(), 'missing', '' from posthog_export.runs where state = 'completed'",
    )
    .await;
    let console = Console::start(&world, &[], &[]).await;

    let project = console.page("/projects/project%20one").await;
    for words in [
        "Name of project one".to_owned(),
        format!(
            "{}: exported, 1,234 events, 1 row rejected, not all of it is in PostHog",
            back(3)
        ),
        format!("{}: dead letter", back(2)),
        format!("{}: on its way", back(1)),
        format!("{}: no run", back(0)),
        "Not finished".to_owned(),
        "http://127.0.0.1".to_owned(),
        format!("/runs/project%20one/{}/daily", back(2)),
    ] {
        assert!(project.contains(&words), "{words} in {project}");
    }
    let of_day = console.page(&format!("/projects/project%20one?day={}", back(3))).await;
    assert!(of_day.contains(&format!("Runs of {}", back(3))), "{of_day}");

    let run = console.page(&format!("/runs/project%20one/{}/daily", back(2))).await;
    for words in [
        "dead letter",
        "billing_limit",
        "PostHog answered 402",
        "Raise the billing limit in PostHog",
        "until 12:00 of the day",
        "row 7",
        "too large",
        "https://ph.example.com",
    ] {
        assert!(run.contains(words), "{words} in {run}");
    }
    assert!(!run.contains("hunter2") && !run.contains("c0ffee"));

    let letters = console.page("/dead-letters").await;
    assert!(
        letters.contains("Raise the billing limit") && letters.contains("PostHog answered 402"),
        "{letters}"
    );
    let others = console.page("/dead-letters?cause=unauthorized").await;
    assert!(others.contains("None has this cause"), "{others}");
    assert!(console.page("/doctor").await.contains("calls the hosts"));
    for page in ["/", "/projects/project%20one", "/dead-letters", "/doctor", "/actions"] {
        let shown = console.page(page).await;
        assert!(!shown.contains("method=\"post\""), "{page}: {shown}");
    }

    for nothing in [
        "/projects/nobody",
        "/projects/%00",
        "/runs/project%20one/2024-06-01/daily",
        "/runs/project%20one/yesterday/daily",
        "/actions/1",
        "/actions/one",
        "/projects/project%20one/pause",
        "/nowhere",
    ] {
        let answer = console.get(nothing).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{nothing}");
    }
}

/// Ids of the projects that have this standing, as the page says.
async fn with_standing(console: &Console, standing: &str) -> BTreeSet<String> {
    let page = console.page(&format!("/?state={standing}")).await;
    // Workers at work are listed whatever is chosen.
    let (_, list) = page.split_once("id=\"projects\"").unwrap();
    let links = hostile::links(list).into_iter();
    links
        .filter_map(|link| {
            let id = percent_decode_str(link.strip_prefix("/projects/")?)
                .decode_utf8()
                .unwrap();
            Some(id.into_owned())
        })
        .collect()
}

#[tokio::test]
async fn it_says_of_each_project_what_status_says() {
    let world = world().await;
    for id in [
        "given-up",
        "late",
        "new",
        "off",
        "on-its-way",
        "paused",
        "settling",
        "skipped",
        "stepping",
    ] {
        add_project(&world, id, id != "off").await;
    }
    sqlx::query(
        "insert into posthog_export.runs (project_id, day, run, state, created_after, span_from, span_until, completed_at, error_code)
         select id, $1 - back, run, state, case when run like 'late-%' then now() end,
                case when run like 'step-%' then ($1 - back)::timestamptz end, case when run like 'step-%' then now() end,
                case when state = 'completed' then now() end, case when state = 'dead' then 'internal' end
         from (values ('project one', 2, 'daily', 'dead'),
                      -- Exported: what is still to come adds to it.
                      ('settling', 1, 'daily', 'completed'), ('settling', 1, 'settled', 'queued'),
                      ('late', 9, 'daily', 'completed'), ('late', 9, 'late-1', 'waiting'),
                      -- In the strip, and before it.
                      ('on-its-way', 0, 'daily', 'running'), ('skipped', 200, 'daily', 'skipped'),
                      ('given-up', 100, 'daily', 'discarded'), ('given-up', 99, 'daily', 'discarded'), ('given-up', 99, 'replay', 'completed'),
                      ('paused', 3, 'daily', 'queued'), ('off', 3, 'daily', 'queued'),
                      -- Of a day that is not over.
                      ('stepping', -1, 'step-0000', 'completed'), ('stepping', -1, 'step-0100', 'running'))
              as r (id, back, run, state)",
    )
    .bind(yesterday())
    .execute(&world.pool())
    .await
    .unwrap();
    alter(
        &world,
        "insert into posthog_export.paused (project_id, error, paused_by) values ('paused', 'moves', 'human')",
    )
    .await;
    let console = Console::start(&world, &[], &[]).await;
    let status = json(&world, &["status", "--json"]).await;
    let projects = status["projects"].as_array().unwrap();
    for (standing, expected) in [
        ("needs_somebody", 1),
        ("behind", 2),
        ("paused", 1),
        ("up_to_date", 5),
        ("disabled", 1),
    ] {
        let of_status = projects.iter().filter(|project| project["standing"] == standing);
        let of_status: BTreeSet<String> = of_status
            .map(|project| project["project_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(with_standing(&console, standing).await, of_status, "{standing}");
        assert_eq!(of_status.len(), expected, "{standing}: {of_status:?}");
    }

    // A day without a job is in Langfuse's tables, which the console does not read: it does not say that
    // nobody is needed.
    add_traces(&world, "new", &[yesterday() - Days::new(40)]).await;
    let status = json(&world, &["status", "--project", "new", "--json"]).await;
    assert_eq!(status["projects"][0]["standing"], "behind");
    alter(&world, "delete from posthog_export.runs where state = 'dead'").await;
    let console = Console::start(&world, &[], &[]).await;
    let page = console.page("/").await;
    for words in [
        "Nothing in the ledger needs attention. Not known: days without a job",
        "Not known here: days that have no job yet",
    ] {
        assert!(page.contains(words), "{words} in {page}");
    }
    assert!(
        !page.contains("Nothing needs attention") && !page.contains("Up to date"),
        "{page}"
    );
}

#[tokio::test]
async fn the_steps_of_a_day_are_one_line_that_opens() {
    let world = world().await;
    alter(
        &world,
        "insert into posthog_export.runs (project_id, day, run, state, span_from, span_until)
         select 'project one', d::date, 'step-' || to_char(h, 'FM00') || '00',
                case when d = current_date and h = 23 then 'waiting' else 'completed' end, d + h * interval '1 h', d + (h + 1) * interval '1 h'
         from generate_series(current_date - 1, current_date, interval '1 day') d, generate_series(0, 23) h",
    )
    .await;
    add_run(&world, yesterday(), "daily", "completed", Some(Utc::now())).await;
    alter(
        &world,
        "insert into posthog_export.streams (project_id, day, run, stream, sent)
         select project_id, day, run, 'trace', 10 from posthog_export.runs where run like 'step-%'",
    )
    .await;
    let console = Console::start(&world, &[], &[]).await;
    let page = console.page("/projects/project%20one").await;
    let today = Utc::now().date_naive();
    for words in [
        "24 steps".to_owned(),
        "23 completed, 1 on its way".to_owned(),
        format!("{today}: exported in part, 240 events"),
        format!("{}: exported, 240 events", yesterday()),
    ] {
        assert!(page.contains(&words), "{words} in {page}");
    }
    // One line in each list; of yesterday in one.
    assert_eq!(page.matches("24 steps").count(), 3, "{page}");
    assert!(!page.contains("/step-0100"), "{page}");
    let links = hostile::links(&page);
    let of_today = links
        .iter()
        .find(|link| link.contains(&format!("day={today}&steps=open")))
        .unwrap();
    let opened = console.page(of_today.trim_end_matches("#steps")).await;
    assert!(
        opened.contains("<details class=\"steps\" id=\"steps\" open>") && opened.contains("/step-0100"),
        "{opened}"
    );
}

#[tokio::test]
async fn what_was_typed_as_a_host_is_on_no_page() {
    let world = world().await;
    add_run(&world, yesterday(), "daily", "dead", Some(Utc::now())).await;
    alter(
        &world,
        "update posthog_export.runs set error_code = 'bad_host', first_failed_at = now(),
           error = 'the project''s PostHog host is not usable: `hunter2` is not a URL (relative URL without a base)'",
    )
    .await;
    alter(
        &world,
        "insert into posthog_export.paused (project_id, error_code, error, paused_by)
         select project_id, error_code, error, 'worker-7' from posthog_export.runs",
    )
    .await;
    let console = Console::start(&world, &[], &[]).await;
    for path in [
        "/projects/project%20one".to_owned(),
        format!("/runs/project%20one/{}/daily", yesterday()),
        "/dead-letters".to_owned(),
    ] {
        let page = console.page(&path).await;
        assert!(
            page.contains("… is not a URL") && !page.contains("hunter2"),
            "{path}: {page}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_named_and_what_was_known_stays() {
    let world = world().await;
    add_run(&world, yesterday(), "daily", "completed", Some(Utc::now())).await;
    let without_broker = [("AMQP_URL", "amqp://guest:hunter2@127.0.0.1:1/%2f")];
    let console = Console::start(&world, &[], &without_broker).await;
    let page = console.page("/").await;
    assert!(
        page.contains("The broker does not answer") && page.contains(PROJECT),
        "{page}"
    );
    assert!(!page.contains("hunter2"));

    let without_database = [("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/none")];
    let console = Console::start(&world, &[], &without_database).await;
    let answer = console.get("/").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let page = answer.text().await.unwrap();
    assert!(page.contains("The ledger does not answer"), "{page}");
    assert!(
        page.contains("posthog-export.dead-letters") && !page.contains("hunter2"),
        "{page}"
    );
}

#[tokio::test]
async fn a_page_goes_out_as_gzip_where_the_browser_reads_it() {
    let world = world().await;
    add_run(&world, yesterday(), "daily", "completed", Some(Utc::now())).await;
    let console = Console::start(&world, &[], &[]).await;
    for path in ["/", "/assets/console.css"] {
        let plain = console.page(path).await;
        let asked = console.get(path).header("accept-encoding", "gzip, br");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], "gzip", "{path}");
        // The headers of every answer are there all the same.
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let bytes = answer.bytes().await.unwrap();
        assert!(
            bytes.starts_with(&[0x1f, 0x8b]) && bytes.len() * 2 < plain.len(),
            "{path}"
        );
    }
    let foreign = console
        .get("/")
        .header("accept-encoding", "gzip")
        .header("sec-fetch-site", "cross-site");
    assert!(!foreign.send().await.unwrap().headers().contains_key("content-encoding"));
}

#[tokio::test]
async fn a_ledger_that_is_not_there_yet_is_named() {
    let world = crate::bare_world().await;
    let console = Console::start(&world, &[], &[]).await;
    let page = console.get("/").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("producer migrate"), "{page}");
}
