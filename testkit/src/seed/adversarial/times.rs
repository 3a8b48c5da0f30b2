//! Rows at the borders of a day, spans that go backwards, rows whose trace is not there, numbers
//! that are none.

use chrono::{NaiveDate, TimeDelta};

use super::{Day, neighbour, text};
use crate::seed::rows::{Observation, Score, Trace, at};

/// The first and the last millisecond of the day, and the ones beside them.
pub(super) fn borders(day: &mut Day) {
    let midnight = at(day.date, 0, 0, 0, 0);
    let moments = [
        ("first", midnight),
        ("last", midnight + TimeDelta::milliseconds(86_399_999)),
        ("next day's first", midnight + TimeDelta::days(1)),
        ("day before's last", midnight - TimeDelta::milliseconds(1)),
    ];
    for (name, moment) in moments {
        day.trace(name).timestamp = moment;
        day.generation(name, name).start_time = moment;
        day.score(name, name).timestamp = moment;
    }
}

/// Spans that are negative, open, or a century long, and observations of other days.
pub(super) fn latencies(day: &mut Day) {
    let noon = at(day.date, 12, 0, 0, 0);
    let after = |milliseconds: i64| Some(noon + TimeDelta::milliseconds(milliseconds));
    let moon = NaiveDate::from_ymd_opt(1969, 7, 20)
        .expect("a day")
        .and_hms_opt(20, 17, 40);
    let spans = [
        ("negative", after(-1_500), after(-1)),
        ("open", None, None),
        ("streaming", None, after(321)),
        ("at once", after(0), after(0)),
        ("one millisecond", after(1), after(1)),
        ("a tenth", after(100), after(33)),
        ("first token after the end", after(10), after(5_000)),
        ("across midnight", after(50_000_000), after(49_999_999)),
        ("a century", after(3_155_760_000_123), None),
        ("since the moon", moon, moon),
    ];
    for (name, end, first_token) in spans {
        day.trace(name);
        let generation = day.generation(name, name);
        (
            generation.start_time,
            generation.end_time,
            generation.completion_start_time,
        ) = (noon, end, first_token);
    }
    day.trace("no observations");
    day.score("no observations", "no observations");

    day.trace("observations of other days");
    for (number, days) in [-400, -1, 0, 1, 2].into_iter().enumerate() {
        let generation = day.generation(format!("days {number}"), "observations of other days");
        generation.start_time = noon + TimeDelta::days(days);
        generation.end_time = after(days * 86_400_000 + 2_500);
        generation.calculated_total_cost = text("0.5");
    }

    day.trace("no generation");
    for kind in ["SPAN", "EVENT"] {
        let observation = day.generation(kind, "no generation");
        (observation.kind, observation.total_cost) = (kind, text("0.75"));
        observation.end_time = None;
    }
}

/// Generations and scores whose trace is missing, null, empty, or another project's.
pub(super) fn orphans(day: &mut Day) {
    let time = at(day.date, 13, 0, 0, 0);
    let neighbour = neighbour(&day.project);
    let (foreign, shared) = (day.id("foreign trace"), day.id("foreign score"));
    day.rows.traces.push(Trace {
        name: text("not yours"),
        user_id: text("not your user"),
        session_id: text("not your session"),
        release: text("not your release"),
        tags: Some(vec!["not your tag".to_owned()]),
        metadata: text(r#"{"$posthog_distinct_id": "not your person", "$posthog_session_id": "not your session"}"#),
        ..Trace::new(&neighbour, &foreign, time)
    });
    day.rows.observations.push(Observation::generation(
        &neighbour,
        &day.id("neighbour's own"),
        &foreign,
        time,
    ));
    day.rows.scores.push(Score::new(&neighbour, &shared, &foreign, time));

    let generations = [
        ("no trace", None),
        ("empty trace", text("")),
        ("deleted trace", text("was 🦀 / deleted")),
        ("foreign trace", Some(foreign.clone())),
    ];
    for (name, trace) in generations {
        let generation = day.generation(format!("generation of {name}"), name);
        (generation.trace_id, generation.calculated_total_cost) = (trace, text("1.25"));
    }
    for (name, trace) in [
        ("empty trace", ""),
        ("deleted trace", "was 🦀 / deleted"),
        ("foreign trace", &foreign),
    ] {
        day.score(format!("score of {name}"), name).trace_id = trace.into();
    }
    // The neighbour's observation of this project's trace is not counted in it.
    day.trace("visited").user_id = text("host");
    day.generation("of the host", "visited").calculated_total_cost = text("2");
    let mut visitor = Observation::generation(&neighbour, &day.id("of the visitor"), &day.id("visited"), time);
    visitor.calculated_total_cost = text("40");
    day.rows.observations.push(visitor);
}

/// Score values and token counts at the end of what their types hold, and the words JSON has no
/// numbers for.
pub(super) fn numbers(day: &mut Day) {
    day.trace("numbers");
    let values = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        0.1 + 0.2,
        -1.5,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        f64::EPSILON,
        1e21,
        1e-7,
        9_007_199_254_740_993.0,
        123_456_789.123_456_79,
        1.0 / 3.0,
    ];
    for (number, value) in values.into_iter().enumerate() {
        day.score(format!("value {number}"), "numbers").value = Some(value);
    }
    let types = [
        ("CATEGORICAL", None, text("good")),
        ("BOOLEAN", Some(1.0), text("True")),
        ("NUMERIC", None, None),
    ];
    for (data_type, value, string_value) in types {
        let score = day.score(format!("type {data_type}"), "numbers");
        (score.data_type, score.value, score.string_value) = (data_type, value, string_value);
    }
    for (number, tokens) in [0, -1, i32::MAX, i32::MIN].into_iter().enumerate() {
        let generation = day.generation(format!("tokens {number}"), "numbers");
        (
            generation.prompt_tokens,
            generation.completion_tokens,
            generation.total_tokens,
        ) = (tokens, tokens, tokens);
    }
    for source in ["API", "EVAL", "ANNOTATION"] {
        day.score(format!("source {source}"), "numbers").source = source;
    }
    for level in ["DEBUG", "DEFAULT", "WARNING", "ERROR"] {
        day.generation(format!("level {level}"), "numbers").level = level;
    }
    for (number, unit) in [None, text("CHARACTERS"), text("MILLISECONDS")].into_iter().enumerate() {
        day.generation(format!("unit {number}"), "numbers").unit = unit;
    }
}
