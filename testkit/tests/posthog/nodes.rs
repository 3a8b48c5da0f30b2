//! What `/query/` makes of the queries of dashboards: it runs none, and refuses what PostHog's models
//! do not know.

use reqwest::Method;
use serde_json::{Value, json};

use crate::Sender;
use crate::boards::writing;

fn trends() -> Value {
    json!({"kind": "InsightVizNode", "source": {
        "kind": "TrendsQuery", "interval": "day", "dateRange": {"date_from": "-30d"},
        "series": [{
            "kind": "EventsNode", "event": "langfuse generation", "name": "langfuse generation", "custom_name": "Cost",
            "math": "sum", "math_property": "langfuse_cost_usd",
            "properties": [{"type": "hogql", "key": "distinct_id != toString(uuid)"}],
        }],
        "breakdownFilter": {"breakdown_type": "event", "breakdown": "langfuse_model", "breakdown_limit": 10},
        "trendsFilter": {"display": "ActionsBarValue", "aggregationAxisPrefix": "$", "decimalPlaces": 2},
        "properties": [{"type": "event", "key": "langfuse_project_id", "operator": "exact", "value": ["p"]}],
        "filterTestAccounts": false,
    }})
}

fn funnel() -> Value {
    json!({"kind": "InsightVizNode", "source": {
        "kind": "FunnelsQuery",
        "series": [{"kind": "EventsNode", "event": "langfuse trace"}, {"kind": "EventsNode", "event": "paid"}],
        "funnelsFilter": {
            "funnelVizType": "steps", "funnelOrderType": "ordered", "funnelWindowInterval": 14,
            "funnelWindowIntervalUnit": "day",
        },
        "dateRange": {"date_from": "-30d"},
    }})
}

fn retention() -> Value {
    json!({"kind": "InsightVizNode", "source": {"kind": "RetentionQuery", "retentionFilter": {
        "retentionType": "retention_first_time", "period": "Week", "totalIntervals": 8,
        "targetEntity": {"id": "langfuse trace", "name": "langfuse trace", "type": "events"},
        "returningEntity": {"id": "$pageview", "name": "$pageview", "type": "events"},
    }}})
}

fn table() -> Value {
    json!({
        "kind": "DataVisualizationNode",
        "source": {
            "kind": "HogQLQuery",
            "query": "-- (a comment {of no query}\nselect corr(a, b) from events where {filters} and event = {event}",
            "values": {"event": "langfuse trace"},
            "filters": {"dateRange": {"date_from": "-30d"}},
        },
        "display": "ActionsTable",
        "chartSettings": {"xAxis": {"column": "x"}, "yAxis": [{"column": "y"}]},
    })
}

impl Sender {
    async fn try_query(&self, query: &Value) -> (u16, Value) {
        let body = json!({"query": query, "refresh": "force_blocking"});
        self.ask_app(Method::POST, "query/", &body).await
    }

    async fn refusal(&self, query: &Value) -> String {
        let (status, refused) = self.try_query(query).await;
        assert_eq!((status, &refused["type"]), (400, &json!("validation_error")), "{query}");
        refused["detail"].as_str().unwrap().to_owned()
    }
}

fn with(mut query: Value, pointer: &str, value: Value) -> Value {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    query.pointer_mut(parent).unwrap()[member] = value;
    query
}

#[tokio::test]
async fn queries_of_dashboards_are_answered_with_nothing() {
    let sender = writing().await;
    for query in [trends(), funnel(), retention(), table(), trends()["source"].clone()] {
        let (status, answer) = sender.try_query(&query).await;
        assert_eq!((status, &answer["results"]), (200, &json!([])), "{answer}");
    }
    assert_eq!(sender.posthog.asked().len(), 5);
}

#[tokio::test]
async fn what_the_models_do_not_know_is_refused() {
    let sender = writing().await;
    for (query, says) in [
        (with(trends(), "/sauce", json!(1)), "query.sauce: Extra inputs"),
        (
            with(trends(), "/source/trendsFilter/prefix", json!("$")),
            "trendsFilter.prefix: Extra",
        ),
        (
            with(trends(), "/source/trendsFilter/display", json!("Bars")),
            "display: Input should",
        ),
        (
            with(trends(), "/source/series", json!([{"event": "x"}])),
            "series.0: Input tag ''",
        ),
        (
            with(trends(), "/source/series/0/math", json!("mean")),
            "series.0.math: Input should",
        ),
        (
            with(trends(), "/source/series/0/math_property", Value::Null),
            "math_property is required",
        ),
        (
            with(trends(), "/source/series/0/math", json!("hogql")),
            "math_hogql is required",
        ),
        (
            with(trends(), "/source/series/0/properties/0/key", json!("count(")),
            "Syntax error",
        ),
        (
            with(trends(), "/source/properties/0/operator", json!("=")),
            "operator: Input should",
        ),
        (
            with(trends(), "/source/kind", json!("TrendQuery")),
            "Input tag 'TrendQuery'",
        ),
        (
            with(funnel(), "/source/funnelsFilter/window", json!(1)),
            "funnelsFilter.window: Extra",
        ),
        (
            with(retention(), "/source/retentionFilter/period", json!("week")),
            "period: Input should",
        ),
        (
            with(retention(), "/source/series", json!([])),
            "source.series: Extra inputs",
        ),
        (
            with(table(), "/source/query", json!("select 'a from events where {filters}")),
            "Syntax error",
        ),
        (
            with(table(), "/source/query", json!("select (1] where {filters}")),
            "Syntax error",
        ),
        (
            with(table(), "/source/query", json!("select 1 where {filters} and {x}")),
            "placeholder: {x}",
        ),
        (with(table(), "/source/values", json!([])), "valid dictionary"),
        (
            with(table(), "/chartSettings/yAxis/0/prefix", json!("$")),
            "yAxis.0.prefix: Extra",
        ),
    ] {
        let refusal = sender.refusal(&query).await;
        assert!(refusal.contains(says), "{says}: {refusal}");
    }
    let mut without = retention();
    without["source"].as_object_mut().unwrap().remove("retentionFilter");
    assert!(
        sender
            .refusal(&without)
            .await
            .ends_with("retentionFilter: Field required")
    );
}

#[tokio::test]
async fn an_older_posthog_knows_less() {
    let sender = writing().await;
    let formula = json!([{"formula": "A / B"}]);
    let settings = json!([{"column": "y", "settings": {"formatting": {"prefix": "$"}}}]);
    let newer = [
        with(trends(), "/source/series/0/math", json!("p75")),
        with(trends(), "/source/trendsFilter/formulaNodes", formula),
        with(table(), "/chartSettings/yAxis", settings),
        with(table(), "/tableSettings", json!({})),
    ];
    for query in &newer {
        assert_eq!(sender.try_query(query).await.0, 200, "{query}");
    }
    sender.posthog.old_server(true);
    for query in &newer {
        sender.refusal(query).await;
    }
    let formula = with(trends(), "/source/trendsFilter/formula", json!("A / B"));
    for query in [trends(), funnel(), retention(), table(), formula] {
        assert_eq!(sender.try_query(&query).await.0, 200, "{query}");
    }
    sender.posthog.old_server(false);
    for (lacking, query) in [
        ("corr", table()),
        ("DataVisualizationNode", table()),
        ("filters", table()),
        ("RetentionQuery", retention()),
        ("ActionsBarValue", trends()),
        ("toString", trends()),
    ] {
        sender.posthog.lacks(&[lacking]);
        sender.refusal(&query).await;
        assert_eq!(sender.try_query(&funnel()).await.0, 200);
    }
}
