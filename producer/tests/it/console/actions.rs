//! What the console does, over HTTP.

use reqwest::StatusCode;
use serde_json::Value;
use testkit::World;

use super::{Console, PASSWORD};
use crate::{PROJECT, world};

/// What a form of a page would send: its hidden fields.
pub(super) fn hidden(page: &str) -> Vec<(String, String)> {
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

pub(super) fn with<'a>(hidden: &'a [(String, String)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let all = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    all.chain(more.iter().copied()).collect()
}

/// The rows of the table `audit`, the oldest first.
pub(super) async fn audit(world: &World) -> Vec<Value> {
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
    assert!(asked.contains("by human: moves on Monday"), "{asked}");
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
    let line = log.lines().find(|line| line.contains("\"action\":\"pause\"")).unwrap();
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
    assert!(paused_because(&world).await.is_none());
}
