//! PostHog's app: who may ask, and what queries see of what is stored.

use reqwest::Response;
use serde_json::{Value, json};
use testkit::posthog::{Behavior, Guessed, Part, Route, Rule};

use crate::{KEY, Sender, batch, start};

const PERSONAL: &str = "phx_reader";
const CELLS: &str = include_str!("../../../producer/src/posthog_app/arrival/cells.hogql");
const COUNTS: &str = include_str!("../../../producer/src/posthog_app/arrival/counts.hogql");
const UUIDS: &str = include_str!("../../../producer/src/posthog_app/arrival/uuids.hogql");
/// Hours from 1970 to 2024-06-01.
const DAY: i64 = 477_000;

async fn asked() -> Sender {
    let sender = start().await;
    sender.posthog.app_project(7, KEY);
    sender.posthog.personal_key(PERSONAL, &["query:read", "project:read"]);
    sender
}

/// An event of project `p`, whose uuid begins with this byte.
fn event(first: u8, time: &str) -> Value {
    json!({
        "event": "langfuse trace",
        "uuid": format!("{first:02x}000000-0000-5000-8000-000000000000"),
        "distinct_id": "jo",
        "timestamp": format!("2024-06-01T{time}Z"),
        "properties": {"langfuse_project_id": "p"},
    })
}

fn asking(query: &str) -> Value {
    let values = json!({
        "event": "langfuse trace",
        "event_1": "langfuse trace",
        "event_2": "langfuse generation",
        "event_3": "langfuse score",
        "event_4": "langfuse observation",
        "since": "2024-06-01T00:00:00Z",
        "until": "2024-06-02T00:00:00Z",
        "project": "p",
        "project_in_json": "p",
        "digits": 0,
        "cells": (DAY..DAY + 24).map(|hour| hour.to_string()).collect::<Vec<_>>().join(","),
    });
    json!({
        "query": {
            "kind": "HogQLQuery",
            "query": query,
            "values": values,
            "modifiers": {"convertToProjectTimezone": false},
        },
        "refresh": "force_blocking",
    })
}

impl Sender {
    async fn store(&self, events: &[Value]) {
        assert_eq!(self.send(batch(events).to_string()).await.0, 200);
    }

    async fn post(&self, project: i64, key: &str, body: &Value) -> Response {
        let url = format!("{}/api/projects/{project}/query/", self.posthog.url());
        let request = self.client.post(url).header("content-type", "application/json");
        request.bearer_auth(key).body(body.to_string()).send().await.unwrap()
    }

    async fn ask(&self, body: &Value) -> (u16, Value) {
        read(self.post(7, PERSONAL, body).await).await
    }

    async fn rows(&self, body: &Value) -> Value {
        let (status, answer) = self.ask(body).await;
        assert_eq!(status, 200, "{answer}");
        answer["results"].clone()
    }

    async fn list(&self, key: &str, parameters: &str) -> (u16, Value) {
        let url = format!("{}/api/projects/{parameters}", self.posthog.url());
        read(self.client.get(url).bearer_auth(key).send().await.unwrap()).await
    }
}

async fn read(answer: Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    (status, answer.text().await.unwrap().parse().unwrap_or_default())
}

fn folded(firsts: &[u8]) -> String {
    firsts
        .iter()
        .fold(0, |xor, first| {
            xor ^ u64::from_le_bytes([*first, 0, 0, 0, 0, 0, 0x50, 0])
        })
        .to_string()
}

#[tokio::test]
async fn the_exporters_queries_are_answered_from_what_is_stored() {
    let sender = asked().await;
    let events = [event(1, "09:00:00.000"), event(2, "09:59:59.999"), event(3, "23:00:00")];
    sender.store(&events).await;
    let mut elsewhere = event(9, "09:10:00");
    elsewhere["properties"]["langfuse_project_id"] = "q".into();
    let mut next_day = event(8, "00:00:00");
    next_day["timestamp"] = "2024-06-02T00:00:00Z".into();
    let mut other = event(7, "09:10:00");
    other["event"] = "something else".into();
    sender.store(&[elsewhere, next_day, other]).await;

    let (_, answer) = sender.ask(&asking(CELLS)).await;
    assert_eq!(answer["columns"], json!(["event", "h", "p", "n", "folded", "copies"]));
    assert_eq!(
        (&answer["is_cached"], &answer["hasMore"]),
        (&json!(false), &Value::Null)
    );
    let by_hour = json!([
        ["langfuse trace", DAY + 9, "", 2, folded(&[1, 2]), 2],
        ["langfuse trace", DAY + 23, "", 1, folded(&[3]), 1],
    ]);
    assert_eq!(answer["results"], by_hour);
    let counts = sender.rows(&asking(COUNTS)).await;
    assert_eq!(counts[0], json!(["langfuse trace", DAY + 9, "", 2, "", 2]));
    let mut uuids = asking(UUIDS);
    let all = sender.rows(&uuids).await;
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert_eq!(all[2], json!([events[2]["uuid"], DAY + 23]));
    uuids["query"]["values"]["digits"] = 2.into();
    uuids["query"]["values"]["cells"] = format!("{}02,{}01", DAY + 9, DAY + 8).into();
    assert_eq!(sender.rows(&uuids).await, json!([[events[1]["uuid"], DAY + 9]]));
    sender.posthog.row_cap(2);
    uuids = asking(UUIDS);
    let (_, cut) = sender.ask(&uuids).await;
    assert_eq!(
        (cut["results"].as_array().unwrap().len(), &cut["hasMore"]),
        (2, &Value::Null)
    );
    assert_eq!(sender.posthog.queries().len(), 5);
}

#[tokio::test]
async fn values_are_compared_as_posthog_has_properties() {
    let sender = asked().await;
    let odd = r#"a "b" \ {project} ' -- x"#;
    let mut event = event(1, "09:00:00");
    event["properties"]["langfuse_project_id"] = odd.into();
    sender.store(&[event]).await;
    let mut asking = asking(CELLS);
    asking["query"]["values"]["project"] = odd.into();
    assert_eq!(sender.rows(&asking).await, json!([]));
    let json = json!(odd).to_string();
    asking["query"]["values"]["project_in_json"] = json[1..json.len() - 1].into();
    assert_eq!(sender.rows(&asking).await[0][3], 1);
}

/// Makes a query read the project's id from the JSON, as a text.
fn as_text(asking: &mut Value) {
    let query = asking["query"]["query"].as_str().unwrap();
    let text = "JSONExtractString(properties, 'langfuse_project_id')";
    asking["query"]["query"] = query.replace("properties.langfuse_project_id", text).into();
}

/// PostHog guesses the type of a property by the first value that it sees.
#[tokio::test]
async fn an_id_that_is_taken_for_something_else_is_found_as_a_text_only() {
    let sender = asked().await;
    for (guessed, first) in [
        (Guessed::Boolean, "true"),
        (Guessed::Numeric, "12"),
        (Guessed::DateTime, "2024-01-01"),
    ] {
        sender.posthog.takes_projects_for(guessed);
        for (id, is_found) in [(first, true), ("clx1", false)] {
            let mut event = event(1, "09:00:00");
            event["properties"]["langfuse_project_id"] = id.into();
            sender.store(&[event]).await;
            let mut asking = asking(CELLS);
            asking["query"]["values"]["project"] = id.into();
            asking["query"]["values"]["project_in_json"] = id.into();
            let (status, answer) = sender.ask(&asking).await;
            assert_eq!(
                status == 200 && answer["results"][0][3] == 1,
                is_found,
                "{guessed:?} {id}: {answer}"
            );
            as_text(&mut asking);
            assert_eq!(sender.rows(&asking).await[0][3], 1, "{guessed:?} {id}");
        }
    }
}

#[tokio::test]
async fn a_query_with_a_slip_is_refused() {
    let sender = asked().await;
    let refused = |change: fn(&mut Value)| {
        let mut body = asking(CELLS);
        change(&mut body);
        let sender = &sender;
        async move {
            let (status, answer) = sender.ask(&body).await;
            assert_eq!((status, &answer["type"]), (400, &json!("validation_error")), "{body}");
            answer["detail"].as_str().unwrap().to_owned()
        }
    };
    let typo = |body: &mut Value| body["query"]["query"] = CELLS.replace("group by event, h", "group by h").into();
    assert!(refused(typo).await.starts_with("Syntax error"));
    let pasted = |body: &mut Value| body["query"]["query"] = CELLS.replace("{project}", "'p'").into();
    assert!(refused(pasted).await.starts_with("Syntax error"));
    let unbound = |body: &mut Value| {
        body["query"]["values"].as_object_mut().unwrap().remove("until");
    };
    assert_eq!(refused(unbound).await, "Unresolved placeholder: {until}");
    assert!(
        refused(|body| body["refreshed"] = "blocking".into())
            .await
            .starts_with("refreshed:")
    );
    assert!(
        refused(|body| body["refresh"] = "yes".into())
            .await
            .starts_with("refresh:")
    );
    refused(|body| body["query"]["kind"] = "EventsQuery".into()).await;
    refused(|body| body["query"]["values"]["since"] = 1.into()).await;
    let unreadable = sender.post(7, PERSONAL, &json!([])).await;
    assert_eq!(unreadable.status(), 400);
}

#[tokio::test]
async fn only_a_known_key_with_the_scope_is_answered() {
    let sender = asked().await;
    let body = asking(CELLS);
    for wrong in ["phx_other", KEY] {
        let (status, answer) = read(sender.post(7, wrong, &body).await).await;
        assert_eq!((status, &answer["code"]), (401, &json!("authentication_failed")));
    }
    let url = format!("{}/api/projects/", sender.posthog.url());
    let (status, answer) = read(sender.client.get(url).send().await.unwrap()).await;
    assert_eq!((status, &answer["code"]), (401, &json!("not_authenticated")));

    sender.posthog.personal_key("phx_projects", &["project:read"]);
    let (status, answer) = read(sender.post(7, "phx_projects", &body).await).await;
    assert_eq!((status, &answer["code"]), (403, &json!("permission_denied")));
    assert_eq!(answer["detail"], "API key missing required scope 'query:read'");
    sender.posthog.personal_key("phx_queries", &["query:read"]);
    let (status, answer) = sender.list("phx_queries", "").await;
    assert_eq!(
        (status, &answer["detail"]),
        (403, &json!("API key missing required scope 'project:read'"))
    );

    let (status, answer) = read(sender.post(8, PERSONAL, &body).await).await;
    assert_eq!(
        (status, &answer["code"], &answer["detail"]),
        (404, &json!("not_found"), &json!("Project not found."))
    );
    sender.posthog.app_project(8, "phc_eight");
    sender.posthog.narrow_personal_key(PERSONAL, &[7]);
    let (status, answer) = read(sender.post(8, PERSONAL, &body).await).await;
    assert_eq!(status, 403);
    assert_eq!(
        answer["detail"],
        "API key does not have access to the requested project: ID 8."
    );
    assert_eq!(sender.list(PERSONAL, "").await.0, 403);
    assert_eq!(sender.ask(&body).await.0, 200);
}

#[tokio::test]
async fn projects_come_in_pages_and_a_key_tells_its_scopes() {
    let sender = asked().await;
    for number in 101..=250 {
        sender.posthog.app_project(number, &format!("phc_{number}"));
    }
    let (_, first) = sender.list(PERSONAL, "?limit=100&offset=0").await;
    assert_eq!((&first["count"], &first["results"][0]["id"]), (&json!(151), &json!(7)));
    assert_eq!(first["results"][0]["api_token"], KEY);
    assert_eq!(first["results"].as_array().unwrap().len(), 100);
    let next = first["next"].as_str().unwrap();
    assert!(next.ends_with("/api/projects/?limit=100&offset=100"));
    let (_, second) = sender.list(PERSONAL, "?limit=100&offset=100").await;
    assert_eq!(
        (second["results"].as_array().unwrap().len(), &second["next"]),
        (51, &Value::Null)
    );
    assert_eq!(second["results"][50]["api_token"], "phc_250");

    assert_eq!(sender.list(PERSONAL, "7/").await.1["api_token"], KEY);
    assert_eq!(sender.list(PERSONAL, "8/").await.0, 404);

    let url = format!("{}/api/personal_api_keys/@current/", sender.posthog.url());
    let (_, own) = read(sender.client.get(url).bearer_auth(PERSONAL).send().await.unwrap()).await;
    assert_eq!(own["scopes"], json!(["query:read", "project:read"]));
}

#[tokio::test]
async fn events_are_shown_late() {
    let sender = asked().await;
    sender.store(&[event(1, "09:00:00")]).await;
    sender.posthog.hold_back(KEY);
    sender.store(&[event(2, "09:00:00")]).await;
    assert_eq!(sender.counts().stored, 2);
    assert_eq!(sender.rows(&asking(CELLS)).await[0][3], 1);
    sender.posthog.show(KEY);
    assert_eq!(sender.rows(&asking(CELLS)).await[0][3], 2);
}

#[tokio::test]
async fn from_a_moment_on_everything_is_dropped_with_200() {
    let sender = asked().await;
    sender.posthog.billing_limit_after(KEY, 2);
    sender.store(&[event(1, "09:00:00"), event(2, "09:00:00")]).await;
    sender.store(&[event(3, "10:00:00")]).await;
    assert_eq!((sender.counts().stored, sender.counts().dropped), (2, 1));
    assert_eq!(sender.rows(&asking(CELLS)).await.as_array().unwrap().len(), 1);
    sender.posthog.billing_limit(KEY, false);
    let rule = Rule::always(Behavior::drop_events_where(|event| {
        event["uuid"].as_str().unwrap().starts_with("05")
    }));
    sender.posthog.script(rule);
    sender.store(&[event(4, "11:00:00"), event(5, "11:00:00")]).await;
    assert_eq!((sender.counts().stored, sender.counts().dropped), (3, 2));
}

#[tokio::test]
async fn copies_may_be_unfolded() {
    let sender = asked().await;
    sender.store(&[event(1, "09:00:00")]).await;
    sender.store(&[event(1, "09:00:00")]).await;
    sender.store(&[event(1, "11:00:00")]).await;
    let folded_row = |hour: i64, copies: u64| json!(["langfuse trace", DAY + hour, "", 1, folded(&[1]), copies]);
    assert_eq!(sender.rows(&asking(CELLS)).await, json!([folded_row(11, 1)]));
    sender.posthog.unfolded(KEY, true);
    let both = sender.rows(&asking(CELLS)).await;
    assert_eq!(both, json!([folded_row(9, 1), folded_row(11, 2)]));
    assert_eq!(sender.rows(&asking(UUIDS)).await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_old_server_lacks_the_function() {
    let sender = asked().await;
    sender.posthog.old_server(true);
    let (status, answer) = sender.ask(&asking(CELLS)).await;
    assert_eq!(status, 400);
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .starts_with("Unsupported function call 'groupBitXor(...)'")
    );
    assert_eq!(sender.ask(&asking(COUNTS)).await.0, 200);
    let mut named = asking(COUNTS);
    named["name"] = "verify".into();
    assert_eq!(sender.ask(&named).await.0, 400);
}

#[tokio::test]
async fn what_is_not_forced_comes_from_the_cache() {
    let sender = asked().await;
    let mut lazy = asking(CELLS);
    lazy.as_object_mut().unwrap().remove("refresh");
    assert_eq!(sender.ask(&lazy).await.1["is_cached"], false);
    sender.store(&[event(1, "09:00:00")]).await;
    let (_, stale) = sender.ask(&lazy).await;
    assert_eq!((&stale["is_cached"], &stale["results"]), (&json!(true), &json!([])));
    let (_, fresh) = sender.ask(&asking(CELLS)).await;
    assert_eq!(
        (&fresh["is_cached"], &fresh["results"][0][3]),
        (&json!(false), &json!(1))
    );
}

#[tokio::test]
async fn a_project_in_another_zone_gives_the_same_where_times_say_theirs() {
    let sender = asked().await;
    sender.store(&[event(1, "00:30:00"), event(2, "23:30:00")]).await;
    let at_home = sender.rows(&asking(CELLS)).await;
    sender.posthog.project_zone(7, "Asia/Kolkata", 330);
    assert_eq!(sender.rows(&asking(CELLS)).await, at_home);
    let mut asking = asking(CELLS);
    asking["query"]["modifiers"] = json!({});
    assert_eq!(sender.rows(&asking).await, at_home);
    asking["query"]["values"]["since"] = "2024-06-01T00:00:00".into();
    asking["query"]["values"]["until"] = "2024-06-02T00:00:00".into();
    assert_eq!(
        sender.rows(&asking).await,
        json!([at_home[0]]),
        "the last 330 minutes are another day's"
    );
    asking["query"]["values"]["until"] = "tomorrow".into();
    assert_eq!(sender.rows(&asking).await, json!([]));
}

#[tokio::test]
async fn it_is_busy_or_overcharged_or_falls_silent() {
    let sender = asked().await;
    sender.store(&[event(1, "09:00:00"), event(2, "10:00:00")]).await;
    let body = asking(CELLS);
    sender
        .posthog
        .script(Rule::next(1, Behavior::throttled(62)).on(Route::Query));
    let throttled = sender.post(7, PERSONAL, &body).await;
    assert_eq!(
        (throttled.status().as_u16(), &throttled.headers()["retry-after"]),
        (429, &"62".parse().unwrap())
    );
    assert_eq!(read(throttled).await.1["code"], "throttled");
    sender
        .posthog
        .script(Rule::next(1, Behavior::at_capacity()).on(Route::Query).for_key(KEY));
    assert_eq!(sender.ask(&body).await.0, 503);
    sender
        .posthog
        .script(Rule::next(1, Behavior::query_too_heavy(512)).on(Route::Query));
    assert_eq!(sender.ask(&body).await.0, 512);
    for status in [504, 512] {
        sender.posthog.too_heavy(1, status);
        assert_eq!(sender.ask(&body).await.0, status);
    }
    let mut less = body.clone();
    less["query"]["values"]["since"] = "2024-06-01T10:00:00Z".into();
    assert_eq!(sender.rows(&less).await.as_array().unwrap().len(), 1);
    sender.posthog.reset();
    sender
        .posthog
        .script(Rule::next(1, Behavior::AnswerPartially(Part::Body)).on(Route::Query));
    let cut = sender.post(7, PERSONAL, &body).await;
    assert_eq!(cut.status(), 200);
    cut.text().await.unwrap_err();
    assert_eq!(sender.ask(&body).await.0, 200);
    let url = format!("{}/api/projects/7/query/", sender.posthog.url());
    let wrong_way = sender.client.get(url).bearer_auth(PERSONAL).send().await.unwrap();
    assert_eq!(wrong_way.status(), 405);
}

/// `.ci/run clickhouse` holds ClickHouse itself to the same file.
#[tokio::test]
async fn it_answers_as_clickhouse_does() {
    let sender = asked().await;
    let said: Value = include_str!("arrival.json").parse().unwrap();
    for event in said["events"].as_array().unwrap() {
        let mut sent = event.clone();
        sent["properties"] = json!({"langfuse_project_id": event["project"]});
        sender.store(&[sent]).await;
    }
    let project = said["project"].to_string();
    for (state, unfolded) in [("unfolded", true), ("folded", false)] {
        sender.posthog.unfolded(KEY, unfolded);
        for (name, bound) in said["asked"].as_object().unwrap() {
            let mut asking = asking(match bound["query"].as_str().unwrap() {
                "cells" => CELLS,
                "counts" => COUNTS,
                _ => UUIDS,
            });
            let values = &mut asking["query"]["values"];
            values["project"] = said["project"].clone();
            values["project_in_json"] = project[1..project.len() - 1].into();
            for given in [&said["since"], &said["until"], &bound["digits"], &bound["cells"]]
                .iter()
                .zip(["since", "until", "digits", "cells"])
            {
                values[given.1] = (*given.0).clone();
            }
            assert_eq!(sender.rows(&asking).await, said[state][name], "{state} {name}");
            as_text(&mut asking);
            assert_eq!(
                sender.rows(&asking).await,
                said[state][name],
                "{state} {name}, as a text"
            );
        }
    }
}
