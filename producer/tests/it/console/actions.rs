//! What the console does, over HTTP.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{Days, Utc};
use reqwest::StatusCode;
use serde_json::Value;
use testkit::{JOBS, World, wait};

use super::{Console, PASSWORD};
use crate::{KEY, PROJECT, add_run, add_traces, alter, drain, jobs, world, yesterday};

/// What a form of a page would send: its hidden fields.
pub(crate) fn hidden(page: &str) -> Vec<(String, String)> {
    let parts = page.split("<input type=\"hidden\" name=\"").skip(1);
    let plain = |text: &str| {
        let named = [
            ("&#60;", "<"),
            ("&#62;", ">"),
            ("&#34;", "\""),
            ("&#39;", "'"),
            ("&#38;", "&"),
        ];
        named
            .iter()
            .fold(text.to_owned(), |text, (code, c)| text.replace(code, c))
    };
    let field = |part: &str| {
        let (name, rest) = part.split_once('"')?;
        let value = rest.split_once("value=\"")?.1.split_once('"')?.0;
        Some((plain(name), plain(value)))
    };
    parts.filter_map(field).collect()
}

pub(crate) fn with<'a>(hidden: &'a [(String, String)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let all = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    all.chain(more.iter().copied()).collect()
}

/// The rows of the table `audit`, the oldest first.
pub(crate) async fn audit(world: &World) -> Vec<Value> {
    sqlx::query_scalar("select to_jsonb(a) from posthog_export.audit a order by id")
        .fetch_all(&world.pool())
        .await
        .unwrap()
}

async fn paused_because(world: &World) -> Option<String> {
    sqlx::query_scalar("select error from posthog_export.paused where project_id = $1")
        .bind(PROJECT)
        .fetch_optional(&world.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_project_is_paused_and_resumed_and_the_audit_has_both() {
    let world = world().await;
    let console = Console::acting(&world, &[]).await;
    let see = async |path: &str| {
        let answer = console.get(path).basic_auth("anybody", Some(PASSWORD)).send().await;
        answer.unwrap().text().await.unwrap()
    };
    let project = see("/projects/project%20one").await;
    assert!(
        project.contains("action=\"/projects/project%20one/pause/preview\""),
        "{project}"
    );

    let asked = console.preview("/projects/project%20one/pause/preview", &[]).await;
    assert!(asked.contains("Pause Name of project one"), "{asked}");
    assert!(paused_because(&world).await.is_none() && audit(&world).await.is_empty());
    let fields = hidden(&asked);
    let typed = with(&fields, &[("reason", "moves on Monday <b>")]);
    let done = console.act("/projects/project%20one/pause", &typed).await;
    assert!(
        done.contains("The project is paused: moves on Monday &#60;b&#62;."),
        "{done}"
    );
    assert_eq!(paused_because(&world).await.as_deref(), Some("moves on Monday <b>"));

    // The same form once more is the same deed.
    let again = console
        .form("/projects/project%20one/pause", &typed)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), StatusCode::SEE_OTHER);
    assert_eq!(again.headers()["location"], "/actions/1");

    let project = see("/projects/project%20one").await;
    assert!(
        project.contains("/resume/preview") && !project.contains("/pause/preview"),
        "{project}"
    );
    let asked = console.preview("/projects/project%20one/resume/preview", &[]).await;
    assert!(asked.contains("by a person (moves on Monday"), "{asked}");
    let fields = hidden(&asked);
    let done = console.act("/projects/project%20one/resume", &with(&fields, &[])).await;
    assert!(done.contains("The project is resumed"), "{done}");
    assert!(paused_because(&world).await.is_none());

    let rows = audit(&world).await;
    assert_eq!(rows.len(), 2, "{rows:#?}");
    for (row, action) in rows.iter().zip(["pause", "resume"]) {
        assert_eq!(row["action"], action);
        assert_eq!((&row["state"], &row["address"]), (&"done".into(), &"127.0.0.1".into()));
        assert_eq!(
            (&row["project_id"], &row["subjects"][0]),
            (&PROJECT.into(), &PROJECT.into())
        );
        assert!(row["ended_at"].is_string(), "{row}");
    }
    let log = console.process.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"action\":\"pause\""))
        .collect();
    assert!(lines[0].contains("was asked for") && lines.len() == 2, "{lines:?}");
    let line = lines[1];
    for part in [
        "\"INFO\"",
        "\"audit\":1",
        "\"address\":\"127.0.0.1\"",
        "\"state\":\"done\"",
        PROJECT,
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let all = see("/actions").await;
    assert!(
        all.contains(" Pause</a>") && all.contains(" Resume</a>") && all.contains(PROJECT),
        "{all}"
    );
    assert!(
        all.find(" Resume</a>") < all.find(" Pause</a>"),
        "the newest is not the first: {all}"
    );
}

#[tokio::test]
async fn a_confirmation_whose_project_has_changed_does_nothing() {
    let world = world().await;
    let console = Console::acting(&world, &[]).await;
    let asked = console.preview("/projects/project%20one/pause/preview", &[]).await;
    let other = world
        .producer(&["projects", "pause", PROJECT, "--reason", "somebody else"])
        .await;
    assert_eq!(other.code, 0, "{}", other.stderr);
    let fields = hidden(&asked);
    let said = console
        .act("/projects/project%20one/pause", &with(&fields, &[("reason", "mine")]))
        .await;
    assert!(
        said.contains("has changed since it was shown") && said.contains("somebody else"),
        "{said}"
    );
    assert_eq!(paused_because(&world).await.as_deref(), Some("somebody else"));
    assert_eq!(audit(&world).await[0]["state"], "failed");

    let asked = console.preview("/projects/project%20one/resume/preview", &[]).await;
    let ended = world.producer(&["projects", "resume", PROJECT]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let fields = hidden(&asked);
    let said = console.act("/projects/project%20one/resume", &with(&fields, &[])).await;
    assert!(said.contains("Now it is not paused"), "{said}");
    let nothing = console.preview("/projects/project%20one/resume/preview", &[]).await;
    assert!(
        nothing.contains("Nothing to do") && !nothing.contains("<button"),
        "{nothing}"
    );
    // A form that carries nothing of a preview is none.
    let said = console.act("/projects/project%20one/pause", &[]).await;
    assert!(said.contains("has changed since it was shown"), "{said}");
    for nobody in ["/projects/nobody/pause", "/projects/nobody/pause/preview"] {
        let answer = console.form(nobody, &[]).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{nobody}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let world = world().await;
    sqlx::raw_sql("drop table posthog_export.audit")
        .execute(&world.pool())
        .await
        .unwrap();
    let console = Console::acting(&world, &[]).await;
    let asked = console.preview("/projects/project%20one/pause/preview", &[]).await;
    let fields = hidden(&asked);
    let answer = console.form("/projects/project%20one/pause", &with(&fields, &[]));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let page = answer.text().await.unwrap();
    assert!(page.contains("could not be written down first"), "{page}");
    assert!(
        page.contains("producer migrate") && !page.contains("operator.sql"),
        "{page}"
    );
    assert!(paused_because(&world).await.is_none());
}

#[tokio::test]
async fn a_key_is_checked_at_its_host_one_at_a_time() {
    let world = world().await;
    let console = Console::acting(&world, &[]).await;
    let check = "/projects/project%20one/check-key";
    let page = console.get("/projects/project%20one").basic_auth("x", Some(PASSWORD));
    let fields = hidden(&page.send().await.unwrap().text().await.unwrap());
    let refused = console.act(check, &with(&fields, &[])).await;
    assert!(
        refused.contains("does not know the key") && refused.contains(">failed<"),
        "{refused}"
    );
    // A second click on the same page is the same question.
    console.act(check, &with(&fields, &[])).await;
    assert_eq!(audit(&world).await.len(), 1);
    world.posthog.known_key(KEY);
    let known = console.act(check, &[]).await;
    assert!(known.contains("knows the key") && known.contains(">done<"), "{known}");
    assert!(!known.contains(KEY) && !console.process.log().contains(KEY));

    // Another console has one running.
    let mut held = world.pool().begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('posthog_export.console_calls', 0))")
        .execute(&mut *held)
        .await
        .unwrap();
    alter(
        &world,
        "insert into posthog_export.audit (address, action, subjects) values ('10.0.0.9', 'doctor', '[]')",
    )
    .await;
    let busy = console.form(check, &[]).send().await.unwrap();
    assert_eq!(busy.status(), StatusCode::CONFLICT);
    let page = busy.text().await.unwrap();
    assert!(page.contains("is running, since 20"), "{page}");
    assert_eq!(audit(&world).await.len(), 3);
    held.rollback().await.unwrap();
    let free = console.act(check, &[]).await;
    assert!(free.contains(">done<"), "{free}");
}

#[tokio::test]
async fn a_replay_sends_the_days_that_were_shown_and_still_hold_data() {
    let world = world().await;
    let console = Console::acting(&world, &[]).await;
    let back = |days| yesterday() - Days::new(days);
    add_traces(&world, PROJECT, &[back(5), back(3), back(1), back(0)]).await;
    add_run(&world, back(3), "daily", "completed", Some(Utc::now())).await;
    add_run(&world, back(1), "daily", "running", Some(Utc::now())).await;
    alter(
        &world,
        "insert into posthog_export.streams (project_id, day, run, stream, done, sent, rejected)
         select project_id, day, run, unnest(array['trace', 'generation', 'score']), true, 1000, 2 from posthog_export.runs",
    )
    .await;
    let replay = "/projects/project%20one/replay";
    let (from, to) = (back(5).to_string(), Utc::now().date_naive().to_string());
    let asked = console
        .preview(&format!("{replay}/preview"), &[("from", &from), ("to", &to)])
        .await;
    for words in [
        "4 jobs, one for each day with data".to_owned(),
        format!("{to} is not over yet and is left out"),
        format!("{} is being exported now", back(1)),
        "About 3,009 events: 3,006 of 1 day as their last whole runs had, and 3 of 3 days counted now".to_owned(),
        "2 other days hold no data".to_owned(),
        "traces, generations, scores".to_owned(),
    ] {
        assert!(asked.contains(&words), "{words} in {asked}");
    }
    let fields = hidden(&asked);
    let days: Vec<&str> = fields
        .iter()
        .filter(|(name, _)| name == "day")
        .map(|(_, day)| day.as_str())
        .collect();
    assert_eq!(days, [back(5), back(3), back(1), back(0)].map(|day| day.to_string()));

    // A day's data is gone before somebody says yes, and another's has come.
    sqlx::query("delete from traces where timestamp::date = $1")
        .bind(back(5))
        .execute(&world.pool())
        .await
        .unwrap();
    add_traces(&world, PROJECT, &[back(4)]).await;
    let done = console.act(replay, &with(&fields, &[])).await;
    assert!(
        done.contains("3 jobs published") && done.contains("it holds no data any more"),
        "{done}"
    );
    let sent: BTreeSet<String> = jobs(&world)
        .await
        .iter()
        .map(|job| job.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(sent, [back(3), back(1), back(0)].map(|day| day.to_string()).into());
    let row = audit(&world).await.remove(0);
    assert_eq!(row["result"]["counts"]["jobs published"], 3, "{row}");
    assert_eq!(row["result"]["left"][0]["subject"], back(5).to_string(), "{row}");
    assert_eq!(row["subjects"].as_array().unwrap().len(), 4);

    // Only some kinds, and where the project was switched off meanwhile nothing.
    let few = [("from", from.as_str()), ("to", &from), ("events", "score")];
    let none = console.preview(&format!("{replay}/preview"), &few).await;
    assert!(none.contains("No day from") && !none.contains("name=\"day\""), "{none}");
    let day = back(0).to_string();
    let some = [("from", day.as_str()), ("to", &day), ("events", "trace")];
    let asked = console.preview(&format!("{replay}/preview"), &some).await;
    assert!(asked.contains("It sends traces."), "{asked}");
    let fields = hidden(&asked);
    let done = console.act(replay, &with(&fields, &[])).await;
    assert!(done.contains("1 job published"), "{done}");
    let message = drain(&world, JOBS).await.remove(0).json();
    assert_eq!(message["events"], serde_json::json!(["trace"]));
    let asked = console.preview(&format!("{replay}/preview"), &some).await;
    alter(&world, "update posthog_integrations set enabled = false").await;
    let fields = hidden(&asked);
    let said = console.act(replay, &with(&fields, &[])).await;
    assert!(said.contains("its integration is disabled"), "{said}");
    assert_eq!(world.queue_depth(JOBS).await, 0);
    let asked = console.preview(&format!("{replay}/preview"), &some).await;
    assert!(asked.contains("jobs will be skipped"), "{asked}");

    for (from, to) in [
        ("2024-06-02", "2024-06-01"),
        ("2020-01-01", "2024-06-01"),
        ("today", "2024-06-01"),
        ("", ""),
    ] {
        let bad = console.form(&format!("{replay}/preview"), &[("from", from), ("to", to)]);
        let answer = bad.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{from} {to}");
    }
    let forged = console.form(replay, &[("shown", "none Some(false)"), ("day", "%00")]);
    assert_eq!(forged.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let without = console.act(replay, &[("shown", "none Some(false)")]).await;
    assert!(without.contains("no day was chosen"), "{without}");
}

/// What takes long is not waited for: its page shows the end. It ends, too, when the console is told to.
#[tokio::test]
async fn a_deed_goes_on_when_the_browser_has_gone_and_the_console_ends() {
    let world = world().await;
    let console = Console::acting(&world, &[]).await;
    let asked = console.preview("/projects/project%20one/pause/preview", &[]).await;
    let fields = hidden(&asked);
    let mut held = world.pool().begin().await.unwrap();
    sqlx::query("lock table posthog_export.paused in exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();
    let answer = console.form("/projects/project%20one/pause", &with(&fields, &[]));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let deed = answer.headers()["location"].to_str().unwrap().to_owned();
    let page = console.get(&deed).basic_auth("x", Some(PASSWORD));
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(page.contains("It is going on"), "{page}");
    console.process.terminate();
    let stopping = async || console.process.log().contains("\"stopping\"").then_some(());
    wait::until(super::PATIENCE, stopping).await.unwrap();
    held.rollback().await.unwrap();
    let code = console.process.exited_within(super::PATIENCE).await;
    assert!(code.is_some_and(|code| code.success()), "{}", console.process.tail());
    assert_eq!(audit(&world).await[0]["state"], "done");
    assert!(paused_because(&world).await.is_some());
}

/// Of a pause that takes the place of the shown one in the last moment nobody has said anything.
#[tokio::test]
async fn a_pause_that_nobody_was_shown_is_not_resumed() {
    let world = world().await;
    let console = Console::acting(&world, &[]).await;
    let paused = world
        .producer(&["projects", "pause", PROJECT, "--reason", "shown"])
        .await;
    assert_eq!(paused.code, 0, "{}", paused.stderr);
    let asked = console.preview("/projects/project%20one/resume/preview", &[]).await;
    let fields = hidden(&asked);
    let mut other = world.pool().begin().await.unwrap();
    sqlx::query("update posthog_export.paused set error = 'another', paused_at = clock_timestamp()")
        .execute(&mut *other)
        .await
        .unwrap();
    let form = console.form("/projects/project%20one/resume", &with(&fields, &[]));
    let resumed = tokio::spawn(form.send());
    let waits = async || {
        let waiting = "select exists (select 1 from pg_stat_activity where wait_event_type = 'Lock'
                                      and query like '%delete from posthog_export.paused%' and pid <> pg_backend_pid())";
        let waiting: bool = sqlx::query_scalar(waiting).fetch_one(&world.pool()).await.unwrap();
        waiting.then_some(())
    };
    wait::until(super::PATIENCE, waits).await.unwrap();
    other.commit().await.unwrap();
    assert_eq!(resumed.await.unwrap().unwrap().status(), StatusCode::SEE_OTHER);
    assert_eq!(paused_because(&world).await.as_deref(), Some("another"));
    let row = audit(&world).await.remove(0);
    assert_eq!(row["state"], "failed", "{row}");
}

/// A browser that goes away while the row is being written leaves no row without its deed.
#[tokio::test]
async fn a_deed_is_done_when_the_browser_goes_before_its_row_is_written() {
    let world = world().await;
    let console = Console::acting(&world, &[]).await;
    let asked = console.preview("/projects/project%20one/pause/preview", &[]).await;
    let fields = hidden(&asked);
    let mut held = world.pool().begin().await.unwrap();
    sqlx::query("lock table posthog_export.audit in exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();
    let form = console.form("/projects/project%20one/pause", &with(&fields, &[]));
    let gone = form.timeout(Duration::from_secs(2)).send().await;
    assert!(gone.is_err());
    held.rollback().await.unwrap();
    let done = async || {
        let rows = audit(&world).await;
        rows.first().is_some_and(|row| row["state"] == "done").then_some(())
    };
    assert!(
        wait::until(super::PATIENCE, done).await.is_some(),
        "{:?}",
        audit(&world).await
    );
    assert!(paused_because(&world).await.is_some());
}

/// Four go on at once. What waits for a place when the console is told to end does not begin.
#[tokio::test]
async fn a_deed_that_waits_for_its_place_does_not_begin_when_the_console_ends() {
    let world = world().await;
    let console = Console::acting(&world, &[]).await;
    let mut held = world.pool().begin().await.unwrap();
    sqlx::query("lock table posthog_export.paused in exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();
    let mut forms = Vec::new();
    for _ in 0..6 {
        let asked = console.preview("/projects/project%20one/pause/preview", &[]).await;
        let fields = hidden(&asked);
        let form = console.form("/projects/project%20one/pause", &with(&fields, &[]));
        forms.push(tokio::spawn(form.send()));
    }
    let begun = async || (audit(&world).await.len() == 6).then_some(());
    wait::until(super::PATIENCE, begun).await.unwrap();
    console.process.terminate();
    let stopping = async || console.process.log().contains("\"stopping\"").then_some(());
    wait::until(super::PATIENCE, stopping).await.unwrap();
    held.rollback().await.unwrap();
    let code = console.process.exited_within(super::PATIENCE).await;
    assert!(code.is_some_and(|code| code.success()), "{}", console.process.tail());
    let rows = audit(&world).await;
    let states: Vec<_> = rows.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states.iter().filter(|state| **state == "done").count(), 4, "{rows:#?}");
    let says = rows.iter().map(|row| row["result"]["says"].as_str().unwrap());
    assert_eq!(says.filter(|says| says.contains("was ending")).count(), 2, "{rows:#?}");
}

/// The ledger commits the row after the console has given up waiting for it. Nobody does the deed, and
/// the row says so.
#[tokio::test]
async fn a_row_whose_answer_was_lost_does_not_stay_begun() {
    const WAITS: &str = "select pg_advisory_xact_lock(4711)";
    let world = world().await;
    sqlx::raw_sql(
        "create function public.wait_at_commit() returns trigger language plpgsql as
           $$ begin perform pg_advisory_xact_lock(4711); return null; end $$;
         create constraint trigger slow after insert on posthog_export.audit
           deferrable initially deferred for each row execute function public.wait_at_commit()",
    )
    .execute(&world.pool())
    .await
    .unwrap();
    let console = Console::acting(&world, &[]).await;
    let asked = console.preview("/projects/project%20one/pause/preview", &[]).await;
    let fields = hidden(&asked);
    let mut held = world.pool().begin().await.unwrap();
    sqlx::query(WAITS).execute(&mut *held).await.unwrap();
    let answer = console.form("/projects/project%20one/pause", &with(&fields, &[]));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let page = answer.text().await.unwrap();
    assert!(page.contains("Nothing was done"), "{page}");
    held.rollback().await.unwrap();
    let ended = async || {
        let rows = audit(&world).await;
        rows.first().is_some_and(|row| row["state"] == "failed").then_some(())
    };
    assert!(
        wait::until(super::PATIENCE, ended).await.is_some(),
        "{:?}",
        audit(&world).await
    );
    let rows = audit(&world).await;
    let says = rows[0]["result"]["says"].as_str().unwrap();
    assert!(
        rows.len() == 1 && says.starts_with("Nothing was done: the ledger did not confirm"),
        "{rows:#?}"
    );
    assert!(paused_because(&world).await.is_none());
    // The same form once more is the same deed, which was not done.
    let again = console.form("/projects/project%20one/pause", &with(&fields, &[]));
    assert_eq!(again.send().await.unwrap().headers()["location"], "/actions/1");
}
