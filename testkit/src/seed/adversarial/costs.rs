//! Every way an observation can have a cost, or none.

use chrono::TimeDelta;

use super::{Day, text};
use crate::seed::rows::{Model, at};

/// The four stored columns: calculated total, total, input, output. A column counts when it is not
/// `None`, even when it is 0.
pub(super) fn stored(day: &mut Day) {
    let model = day.id("a model that must not be used");
    add_model(day, "unused", true, &model, None, [Some("1"), Some("1"), Some("1000")]);
    let costs = [
        [Some("0.0123"), None, None, None],
        [Some("0.0123"), Some("9"), Some("8"), Some("7")],
        [None, Some("0.5"), None, None],
        [None, Some("0.5"), Some("8"), Some("7")],
        [None, None, Some("0.25"), None],
        [None, None, None, Some("0.25")],
        [None, None, Some("0.25"), Some("0.75")],
        [Some("0"), Some("9"), None, None],
        [None, Some("0"), None, None],
        [Some("-1.5"), None, None, None],
        [Some("NaN"), Some("9"), None, None],
        [Some("0.000000000000000000000000000001"), None, None, None],
        [Some("0.00000000000000000000000000001"), None, None, None],
        [
            Some("1234567890123456789012345678.123456789012345678901234567891"),
            None,
            None,
            None,
        ],
        [Some("10000000000000000000000000000000000"), None, None, None],
        [
            Some("99999999999999999999999999999999999.999999999999999999999999999999"),
            None,
            None,
            None,
        ],
        [Some("0.1"), None, None, None],
        [Some("0.30000000000000004"), None, None, None],
        [Some("9007199254740993"), None, None, None],
        [Some("0.000000123456789012345678901234"), None, None, None],
    ];
    for (number, [calculated, total, input, output]) in costs.into_iter().enumerate() {
        let name = format!("cost {number}");
        day.trace(&name);
        let generation = day.generation(&name, &name);
        generation.calculated_total_cost = calculated.map(str::to_owned);
        generation.total_cost = total.map(str::to_owned);
        generation.input_cost = input.map(str::to_owned);
        generation.output_cost = output.map(str::to_owned);
        generation.internal_model = Some(model.clone());
        (
            generation.prompt_tokens,
            generation.completion_tokens,
            generation.total_tokens,
        ) = (100, 10, 110);
    }
}

/// The price of a model: whose, of when, in which unit, total or apart.
pub(super) fn of_models(day: &mut Day) {
    type Prices = [Option<&'static str>; 3];
    type Offer = (bool, Option<chrono::NaiveDateTime>, Prices);
    let noon = at(day.date, 12, 0, 0, 0);
    let before = |days: i64| Some(noon - TimeDelta::days(days));
    let just = |milliseconds: i64| Some(noon - TimeDelta::milliseconds(milliseconds));
    let apart = [Some("0.0000025"), Some("0.00001"), None];
    let total = |price: &'static str| [Some("7"), Some("7"), Some(price)];
    let offers: [(&str, Vec<Offer>); 16] = [
        ("no such model", vec![]),
        ("shared", vec![(true, None, apart)]),
        ("own", vec![(false, None, apart)]),
        ("total price first", vec![(true, None, total("0.003"))]),
        ("total price of 0", vec![(true, None, total("0"))]),
        ("input price only", vec![(true, None, [Some("0.1"), None, None])]),
        ("output price only", vec![(true, None, [None, Some("0.1"), None])]),
        ("no price", vec![(true, None, [None, None, None])]),
        (
            "own before shared",
            vec![(true, before(1), total("9")), (false, before(100), total("0.002"))],
        ),
        (
            "own before shared, undated",
            vec![(true, before(1), total("9")), (false, None, total("0.002"))],
        ),
        (
            "own without a price hides shared",
            vec![(true, before(1), total("9")), (false, before(100), [None, None, None])],
        ),
        (
            "own of tomorrow leaves shared",
            vec![(true, None, total("0.004")), (false, before(-1), total("9"))],
        ),
        (
            "newest",
            vec![
                (true, before(300), total("9")),
                (true, before(2), total("0.005")),
                (true, before(20), total("9")),
            ],
        ),
        (
            "dated before undated",
            vec![(true, None, total("9")), (true, before(2), total("0.006"))],
        ),
        (
            "starts with the observation",
            vec![(true, None, total("0.007")), (true, just(0), total("9"))],
        ),
        (
            "starts just before it",
            vec![
                (true, None, total("9")),
                (true, just(1), total("0.000000000000000000000000000008")),
            ],
        ),
    ];
    for (name, offers) in offers {
        let model = day.id(name);
        for (number, (shared, start_date, prices)) in offers.into_iter().enumerate() {
            add_model(day, &format!("{name} {number}"), shared, &model, start_date, prices);
        }
        priced(day, name, &model, "TOKENS");
    }
    let model = day.id("shared");
    priced(day, "another unit", &model, "CHARACTERS");
    priced(day, "another case", &model.to_uppercase(), "TOKENS");
    let unitless = day.generation("no unit", "another unit");
    (unitless.unit, unitless.internal_model, unitless.total_tokens) = (None, Some(model), 5);
}

/// Sums over a trace: exact in decimals, null without a cost, and null with one that is no number.
pub(super) fn sums(day: &mut Day) {
    let sums: [(&str, &[Option<&str>]); 5] = [
        ("ten tenths", &[Some("0.1"); 10]),
        (
            "great and small",
            &[
                Some("100000000000000000000"),
                Some("0.01"),
                Some("-100000000000000000000"),
            ],
        ),
        ("some without", &[None, Some("0.02"), None]),
        ("all without", &[None, None]),
        ("one is no number", &[Some("1"), Some("NaN")]),
    ];
    for (name, costs) in sums {
        day.trace(name);
        for (number, cost) in costs.iter().enumerate() {
            day.generation(format!("{name} {number}"), name).calculated_total_cost = cost.map(str::to_owned);
        }
    }
}

fn priced(day: &mut Day, name: &str, model: &str, unit: &str) {
    let noon = at(day.date, 12, 0, 0, 0);
    day.trace(format!("model {name}"));
    let generation = day.generation(format!("model {name}"), format!("model {name}"));
    (generation.start_time, generation.unit) = (noon, text(unit));
    (generation.model, generation.internal_model) = (text("as the user calls it"), text(model));
    (
        generation.prompt_tokens,
        generation.completion_tokens,
        generation.total_tokens,
    ) = (1_234, 567, 2_000);
}

fn add_model(
    day: &mut Day,
    name: &str,
    shared: bool,
    model_name: &str,
    start_date: Option<chrono::NaiveDateTime>,
    [input, output, total]: [Option<&str>; 3],
) {
    let model = Model {
        id: day.id(name),
        project_id: (!shared).then(|| day.project.clone()),
        model_name: model_name.to_owned(),
        unit: text("TOKENS"),
        start_date,
        input_price: input.map(str::to_owned),
        output_price: output.map(str::to_owned),
        total_price: total.map(str::to_owned),
    };
    day.rows.models.push(model);
}
