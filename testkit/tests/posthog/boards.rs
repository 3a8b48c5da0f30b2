//! Dashboards in PostHog's app: made, found, changed, deleted, refused.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::posthog::{Behavior, Cut, Route, Rule};

use crate::{KEY, Sender, start};

const WRITER: &str = "phx_writer";

pub(super) async fn writing() -> Sender {
    let sender = start().await;
    sender.posthog.app_project(7, KEY);
    let scopes = ["dashboard:write", "insight:write", "query:read", "project:read"];
    sender.posthog.personal_key(WRITER, &scopes);
    sender
}

impl Sender {
    pub(super) async fn ask_app(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        self.ask_app_as(WRITER, method, path, body).await
    }

    async fn ask_app_as(&self, key: &str, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/api/projects/7/{path}", self.posthog.url());
        let mut request = self.client.request(method.clone(), url).bearer_auth(key);
        if method != Method::GET {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap().parse().unwrap_or_default())
    }

    async fn read_app(&self, path: &str) -> (u16, Value) {
        self.ask_app(Method::GET, path, &Value::Null).await
    }

    async fn made(&self, path: &str, body: &Value) -> Value {
        let (status, made) = self.ask_app(Method::POST, path, body).await;
        assert_eq!(status, 201, "{made}");
        made
    }

    async fn changed(&self, path: &str, body: &Value) -> Value {
        let (status, changed) = self.ask_app(Method::PATCH, path, body).await;
        assert_eq!(status, 200, "{changed}");
        changed
    }

    /// A dashboard with an insight; the numbers of the two and of the tile.
    async fn board(&self) -> (i64, i64, i64) {
        let dashboard = self.made("dashboards/", &json!({"name": "AI"})).await;
        let id = dashboard["id"].as_i64().unwrap();
        let body = json!({"name": "Traces", "saved": true, "query": {"kind": "Nonsense"}, "dashboards": [id]});
        let insight = self.made("insights/", &body).await;
        let tile = insight["dashboard_tiles"][0]["id"].as_i64().unwrap();
        (id, insight["id"].as_i64().unwrap(), tile)
    }
}

#[tokio::test]
async fn a_dashboard_is_made_step_by_step() {
    let sender = writing().await;
    let body = json!({
        "name": "AI metrics",
        "description": "[marker]",
        "pinned": false,
        "tags": ["Langfuse ", "langfuse"],
        "filters": {"date_from": "-30d"},
        "unheard of": 1,
    });
    let dashboard = sender.made("dashboards/", &body).await;
    assert_eq!(
        (&dashboard["tags"], &dashboard["tiles"]),
        (&json!(["langfuse"]), &json!([]))
    );
    assert_eq!(dashboard["filters"], body["filters"]);
    let id = dashboard["id"].as_i64().unwrap();
    let insight = json!({"name": "Traces", "saved": true, "query": {"kind": "?"}, "dashboards": [id]});
    let insight = sender.made("insights/", &insight).await;
    let tile = insight["dashboard_tiles"][0].clone();
    assert_eq!((&tile["dashboard_id"], &tile["deleted"]), (&json!(id), &Value::Null));
    let layouts = json!({"sm": {"x": 0, "y": 0, "w": 6, "h": 5}});
    let tiles = json!({"tiles": [
        {"id": tile["id"], "layouts": layouts},
        {"id": 999_999, "layouts": layouts},
        {"text": {"body": "# Volume"}, "layouts": layouts},
    ]});
    let changed = sender.changed(&format!("dashboards/{id}/"), &tiles).await;
    let shown = changed["tiles"].as_array().unwrap();
    assert_eq!(shown.len(), 2, "an unknown number is skipped silently: {changed}");
    assert_eq!(
        (&shown[0]["layouts"], &shown[0]["insight"]["name"]),
        (&layouts, &json!("Traces"))
    );
    assert_eq!(
        (&shown[1]["text"]["body"], &shown[1]["insight"]),
        (&json!("# Volume"), &Value::Null)
    );
    let text = json!({"tiles": [{"id": shown[1]["id"], "text": {"id": shown[1]["text"]["id"], "body": "# Cost"}}]});
    let changed = sender.changed(&format!("dashboards/{id}/"), &text).await;
    assert_eq!(
        (
            changed["tiles"].as_array().unwrap().len(),
            &changed["tiles"][1]["text"]["body"]
        ),
        (2, &json!("# Cost"))
    );
    let text = sender
        .made(
            &format!("dashboards/{id}/create_text_tile/"),
            &json!({"body": "# Speed"}),
        )
        .await;
    assert_eq!(text["text"]["body"], "# Speed");
    let (_, read) = sender.read_app(&format!("dashboards/{id}/")).await;
    assert_eq!(read["tiles"].as_array().unwrap().len(), 3);
    let insight = sender.read_app(&format!("insights/{}/", insight["id"])).await.1;
    assert_eq!(
        (&insight["query"], &insight["dashboards"]),
        (&json!({"kind": "?"}), &json!([id]))
    );

    let kept = sender.posthog.dashboards(7);
    assert_eq!((kept.len(), kept[0].name.as_str()), (1, "AI metrics"));
    assert_eq!(sender.posthog.tiles(id).len(), 3);
    assert_eq!(sender.posthog.insights(7)[0].name, "Traces");
    assert_eq!(sender.posthog.board_writes().len(), 5);
}

#[tokio::test]
async fn each_request_wants_its_scope() {
    let sender = writing().await;
    let (dashboard, insight, _) = sender.board().await;
    let of_dashboard = format!("dashboards/{dashboard}/");
    let of_insight = format!("insights/{insight}/");
    let text = format!("dashboards/{dashboard}/create_text_tile/");
    for (method, path, scope) in [
        (Method::GET, "dashboards/", "dashboard:read"),
        (Method::POST, "dashboards/", "dashboard:write"),
        (Method::GET, &of_dashboard, "dashboard:read"),
        (Method::PATCH, &of_dashboard, "dashboard:write"),
        (Method::POST, &text, "dashboard:write"),
        (Method::GET, "insights/", "insight:read"),
        (Method::POST, "insights/", "insight:write"),
        (Method::GET, &of_insight, "insight:read"),
        (Method::PATCH, &of_insight, "insight:write"),
        (Method::POST, "query/", "query:read"),
        (Method::GET, "", "project:read"),
    ] {
        let readers = ["dashboard:read", "insight:read", "query:read", "project:read"];
        let others: Vec<&str> = readers.into_iter().filter(|other| *other != scope).collect();
        sender.posthog.personal_key("phx_other", &others);
        let (status, refused) = sender.ask_app_as("phx_other", method.clone(), path, &json!({})).await;
        let detail = format!("API key missing required scope '{scope}'");
        assert_eq!((status, &refused["detail"]), (403, &json!(detail)), "{method} {path}");
        let (status, _) = sender.ask_app_as(KEY, method, path, &json!({})).await;
        assert_eq!(status, 401);
    }
    for path in [&of_dashboard, &of_insight] {
        assert_eq!(sender.ask_app(Method::DELETE, path, &json!({})).await.0, 405);
    }
    sender.posthog.app_project(8, "phc_eight");
    sender.posthog.narrow_personal_key(WRITER, &[8]);
    assert_eq!(sender.read_app(&of_dashboard).await.0, 403);
}

#[tokio::test]
async fn lists_come_in_pages_without_what_is_deleted_or_elsewhere() {
    let sender = writing().await;
    sender.posthog.app_project(8, "phc_eight");
    sender.posthog.user_dashboard(8, "elsewhere");
    let gone = sender.posthog.user_dashboard(7, "gone");
    sender.posthog.change_dashboard(gone, |it| it.deleted = true);
    for number in 0..130 {
        sender.posthog.user_dashboard(7, &format!("Board {number}"));
    }
    let (_, first) = sender.read_app("dashboards/?limit=100&offset=0").await;
    let results = first["results"].as_array().unwrap();
    assert_eq!(
        (&first["count"], results.len(), results[0].get("tiles")),
        (&json!(130), 100, None)
    );
    let next = first["next"].as_str().unwrap();
    assert!(
        next.ends_with("/api/projects/7/dashboards/?limit=100&offset=100"),
        "{next}"
    );
    let (_, second) = sender.read_app("dashboards/?limit=100&offset=100").await;
    assert_eq!(
        (second["results"].as_array().unwrap().len(), &second["next"]),
        (30, &Value::Null)
    );
    assert_eq!(
        sender.read_app("dashboards/?search=board%20129").await.1["count"],
        0,
        "not decoded"
    );
    assert_eq!(sender.read_app("dashboards/?search=129").await.1["count"], 1);
    sender.posthog.old_server(true);
    assert_eq!(sender.read_app("dashboards/?search=129").await.1["count"], 130);
}

#[tokio::test]
async fn what_is_deleted_is_not_found_until_it_is_brought_back() {
    let sender = writing().await;
    let (dashboard, insight, tile) = sender.board().await;
    let (path, of_insight) = (format!("dashboards/{dashboard}/"), format!("insights/{insight}/"));
    sender.changed(&of_insight, &json!({"deleted": true})).await;
    assert_eq!(sender.read_app(&path).await.1["tiles"], json!([]));
    assert_eq!(sender.read_app(&of_insight).await.0, 404);
    let again = json!({"deleted": true});
    assert_eq!(sender.ask_app(Method::PATCH, &of_insight, &again).await.0, 404);
    sender.changed(&of_insight, &json!({"deleted": false})).await;
    assert_eq!(sender.posthog.tiles(dashboard)[0].id, tile);

    sender.changed(&path, &json!({"deleted": true})).await;
    let (status, refused) = sender.read_app(&path).await;
    assert_eq!((status, &refused["code"]), (404, &json!("not_found")));
    for change in [&json!({"name": "x"}), &again] {
        assert_eq!(sender.ask_app(Method::PATCH, &path, change).await.0, 404);
    }
    assert_eq!(sender.read_app(&of_insight).await.0, 200, "its insights stay");
    let orphan = json!({"query": {}, "dashboards": [dashboard]});
    let (status, refused) = sender.ask_app(Method::POST, "insights/", &orphan).await;
    assert_eq!((status, &refused["attr"]), (400, &json!("dashboards")));
    sender.changed(&path, &json!({"deleted": false})).await;
    sender
        .changed(&path, &json!({"deleted": true, "delete_insights": true}))
        .await;
    assert!(sender.posthog.insights(7).is_empty() && sender.posthog.dashboards(7).is_empty());
}

#[tokio::test]
async fn users_change_what_they_like_and_numbers_vanish() {
    let sender = writing().await;
    let (dashboard, insight, tile) = sender.board().await;
    let before = sender.posthog.board_writes().len();
    sender.posthog.change_insight(insight, |it| it.name = "Mine".to_owned());
    sender
        .posthog
        .change_tile(tile, |it| it.layouts = json!({"sm": {"x": 3}}));
    let own = sender.posthog.user_insight(dashboard, "Own", &json!({}));
    let text = sender.posthog.user_text(dashboard, "A note");
    let path = format!("dashboards/{dashboard}/");
    let shown = sender.read_app(&path).await.1["tiles"].clone();
    assert_eq!(
        (&shown[0]["insight"]["name"], &shown[0]["layouts"]["sm"]["x"]),
        (&json!("Mine"), &json!(3))
    );
    assert_eq!((&shown[1]["id"], &shown[2]["id"]), (&json!(own), &json!(text)));
    sender.posthog.change_tile(tile, |it| it.deleted = true);
    assert_eq!(sender.posthog.tiles(dashboard).len(), 2);
    assert_eq!(
        sender.posthog.board_writes().len(),
        before,
        "a user's changes are no requests"
    );

    sender.posthog.renumber_boards();
    assert_eq!(sender.read_app(&path).await.0, 404);
    let moved = sender.posthog.dashboards(7)[0].id;
    assert_eq!((moved != dashboard, sender.posthog.tiles(moved).len()), (true, 2));
    sender.posthog.vanish(moved);
    assert_eq!(sender.read_app(&format!("dashboards/{moved}/")).await.0, 404);
    let gone = json!({"deleted": false});
    let (status, _) = sender
        .ask_app(Method::PATCH, &format!("dashboards/{moved}/"), &gone)
        .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_poorer_posthog_has_no_tags_no_room_and_no_texts_of_its_own() {
    let sender = writing().await;
    sender.posthog.tags_licence(false);
    let body = json!({"name": "AI", "tags": ["langfuse"]});
    let dashboard = sender.made("dashboards/", &body).await;
    assert_eq!(dashboard["tags"], json!([]));
    let path = format!("dashboards/{}/create_text_tile/", dashboard["id"]);
    let text = json!({"body": "# Volume"});
    sender.posthog.text_tile_route(false);
    assert_eq!(sender.ask_app(Method::POST, &path, &text).await.0, 404);
    sender.posthog.text_tile_route(true);
    sender.posthog.old_server(true);
    assert_eq!(sender.ask_app(Method::POST, &path, &text).await.0, 404);
    sender.posthog.most_dashboards(1);
    let (status, refused) = sender.ask_app(Method::POST, "dashboards/", &body).await;
    assert_eq!((status, &refused["type"]), (400, &json!("validation_error")));
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_with_the_members_name() {
    let sender = writing().await;
    let (dashboard, ..) = sender.board().await;
    let of_dashboard = format!("dashboards/{dashboard}/");
    let long = "x".repeat(4_001);
    for (method, path, body, attr) in [
        (Method::POST, "dashboards/", json!({"name": "x".repeat(401)}), "name"),
        (Method::POST, "dashboards/", json!({"filters": []}), "filters"),
        (Method::POST, "dashboards/", json!({"tags": "langfuse"}), "tags"),
        (Method::POST, "insights/", json!({"query": "select 1"}), "query"),
        (Method::POST, "insights/", json!({"saved": "yes"}), "saved"),
        (
            Method::POST,
            "insights/",
            json!({"dashboards": [424_242]}),
            "dashboards",
        ),
        (
            Method::PATCH,
            &of_dashboard,
            json!({"tiles": [{"text": {"body": long}}]}),
            "body",
        ),
        (Method::PATCH, &of_dashboard, json!({"tiles": {}}), "tiles"),
    ] {
        let (status, refused) = sender.ask_app(method, path, &body).await;
        assert_eq!((status, &refused["attr"]), (400, &json!(attr)), "{refused}");
    }
    assert_eq!(sender.posthog.dashboards(7).len(), 1);
}

#[tokio::test]
async fn rules_hold_for_a_route_and_a_method() {
    let sender = writing().await;
    let (dashboard, ..) = sender.board().await;
    let path = format!("dashboards/{dashboard}/");
    let busy = Rule::next(1, Behavior::throttled(62))
        .on(Route::Dashboard)
        .of_method("PATCH");
    sender.posthog.script(busy);
    assert_eq!(sender.read_app(&path).await.0, 200);
    assert_eq!(sender.ask_app(Method::PATCH, &path, &json!({})).await.0, 429);
    let paid = Rule::next(1, Behavior::payment_required()).on(Route::Insights);
    sender.posthog.script(paid);
    let (status, refused) = sender.ask_app(Method::POST, "insights/", &json!({})).await;
    assert_eq!((status, &refused["code"]), (402, &json!("payment_required")));
    // Made, and the answer lost.
    let lost = Rule::next(1, Behavior::StoreThenCut(Cut::Fin)).on(Route::Dashboards);
    sender.posthog.script(lost);
    let url = format!("{}/api/projects/7/dashboards/", sender.posthog.url());
    let request = sender.client.post(url).bearer_auth(WRITER);
    let request = request.header("content-type", "application/json").body("{}");
    assert!(request.send().await.is_err());
    assert_eq!(sender.posthog.dashboards(7).len(), 2);
}

#[tokio::test]
async fn on_a_dashboard_an_insight_has_the_dashboards_range() {
    let sender = writing().await;
    let board = sender.posthog.user_dashboard(7, "AI");
    let trends =
        json!({"kind": "InsightVizNode", "source": {"kind": "TrendsQuery", "dateRange": {"date_from": "-7d"}}});
    let sql = json!({"kind": "DataVisualizationNode", "source": {"kind": "HogQLQuery", "filters": {"dateRange": {}}}});
    sender.posthog.user_insight(board, "Traces", &trends);
    sender.posthog.user_insight(board, "Cost", &sql);
    let path = format!("dashboards/{board}/");
    let as_stored = sender.read_app(&path).await.1;
    assert_eq!(as_stored["tiles"][0]["insight"]["query"], trends);
    sender
        .posthog
        .change_dashboard(board, |it| it.filters = json!({"date_from": "-30d"}));
    let tiles = sender.read_app(&path).await.1["tiles"].clone();
    let range = json!({"date_from": "-30d", "date_to": null});
    assert_eq!(tiles[0]["insight"]["query"]["source"]["dateRange"], range);
    assert_eq!(tiles[1]["insight"]["query"]["source"]["filters"]["dateRange"], range);
    let by_itself = format!("insights/{}/", tiles[0]["insight"]["id"]);
    assert_eq!(sender.read_app(&by_itself).await.1["query"], trends);
}
