//! The plan, case by case.

use serde_json::{Value, json};
use shared::ledger::{KnownDashboard, KnownTile};

use super::{Mode, Planned, Step, Whole, print_of, prints, retired, tiles, whole};
use crate::dashboards::definition::Definition;
use crate::dashboards::deletion::deletion;
use crate::dashboards::identity::{Lookalike, Titled, begun, is_renumbered, renumbered, titled};
use crate::dashboards::render::{About, Content, Wanted, render};
use crate::dashboards::shown::{Shown, ShownInsight};
use crate::dashboards::why::Why;

const ALL: [Mode; 3] = [Mode::Create, Mode::Update, Mode::Recreate];

fn wanted() -> Wanted {
    let about = About {
        project: "p",
        conversion: None,
    };
    render(&Definition::ai_metrics().unwrap(), &about, None)
}

/// The dashboard as PostHog shows it right after it was made.
fn made(wanted: &Wanted) -> Value {
    let layouts = json!({"sm": {"x": 0, "y": 0, "w": 12, "h": 5}});
    let tiles = wanted.tiles.iter().zip(1..).map(|(tile, id)| match &tile.content {
        Content::Text(body) => {
            json!({"id": 300 + id, "text": {"id": 500 + id, "body": body}, "insight": null, "layouts": layouts})
        }
        Content::Insight {
            name,
            description,
            forms,
        } => json!({
            "id": 300 + id, "text": null, "layouts": layouts,
            "insight": {"id": 90 + id, "name": name, "description": description, "query": forms[0]},
        }),
    });
    json!({"id": 12, "name": wanted.name, "description": wanted.description, "tiles": tiles.collect::<Vec<_>>()})
}

/// What the ledger knows after that.
fn remembered(wanted: &Wanted, answer: &Value) -> (KnownDashboard, Vec<KnownTile>) {
    let shown = Shown::read(answer).unwrap();
    let tiles = wanted.tiles.iter().zip(&shown.tiles).map(|(tile, shown)| KnownTile {
        tile: tile.key.clone(),
        tile_id: shown.id,
        insight_id: shown.insight_id(),
        written: Some(prints(tile).swap_remove(0)),
        shown: shown.print(),
        placed: true,
    });
    let dashboard = KnownDashboard {
        dashboard_id: 12,
        name: wanted.name.clone(),
        conversion_event: None,
        written: Some(print_of(wanted)),
        shown: Some(shown.print()),
    };
    (dashboard, tiles.collect())
}

fn step_of(mode: Mode, wanted: &Wanted, known: &[KnownTile], answer: &Value, key: &str) -> Step {
    let shown = Shown::read(answer).unwrap();
    let planned = tiles(mode, wanted, known, Some(&shown), &[]);
    let ours = planned.into_iter().find(|planned| planned.tile.key == key);
    ours.unwrap().step
}

fn place(wanted: &Wanted, key: &str) -> usize {
    wanted.tiles.iter().position(|tile| tile.key == key).unwrap()
}

#[test]
fn what_was_just_made_is_left_as_it_is() {
    let wanted = wanted();
    let answer = made(&wanted);
    let (dashboard, known) = remembered(&wanted, &answer);
    let shown = Shown::read(&answer).unwrap();
    for mode in ALL {
        let planned = tiles(mode, &wanted, &known, Some(&shown), &[]);
        let kept: Vec<_> = planned
            .iter()
            .zip(&known)
            .filter(|(planned, known)| planned.step == Step::Keep((*known).clone()))
            .collect();
        assert_eq!(kept.len(), wanted.tiles.len());
        assert_eq!(whole(mode, &wanted, Some(&dashboard), Some(&shown)), Whole::Keep);
        // Found by its markers, without a ledger.
        let planned = tiles(mode, &wanted, &[], Some(&shown), &[]);
        assert!(
            planned
                .iter()
                .zip(&known)
                .all(|(planned, known)| planned.step == Step::Keep(known.clone()))
        );
        assert_eq!(whole(mode, &wanted, None, Some(&shown)), Whole::Keep);
        // Made, and the program died before it was put in its place.
        let mut bare = answer.clone();
        bare["tiles"][1]["layouts"] = json!({});
        let planned = tiles(mode, &wanted, &[], Shown::read(&bare).as_ref(), &[]);
        let placed = |planned: &Planned<'_>| matches!(&planned.step, Step::Keep(kept) if kept.placed);
        assert!(placed(&planned[0]) && !placed(&planned[1]));
        // Nothing is there yet.
        assert!(
            tiles(mode, &wanted, &[], None, &[])
                .iter()
                .all(|planned| planned.step == Step::Make)
        );
        assert_eq!(whole(mode, &wanted, None, None), Whole::Make);
    }
}

#[test]
fn what_posthog_adds_to_a_query_is_nobodys_change() {
    let wanted = wanted();
    let mut answer = made(&wanted);
    let at = place(&wanted, "cost_total");
    answer["tiles"][at]["insight"]["query"]["source"]["version"] = 2.into();
    let (_, known) = remembered(&wanted, &answer);
    assert!(matches!(
        step_of(Mode::Update, &wanted, &known, &answer, "cost_total"),
        Step::Keep(_)
    ));
}

#[test]
fn what_the_user_did_stays_unless_it_is_to_be_undone() {
    let wanted = wanted();
    let before = made(&wanted);
    let (_, known) = remembered(&wanted, &before);
    let at = place(&wanted, "traces");
    let insight = |field: &str, value: Value| {
        let mut answer = before.clone();
        answer["tiles"][at]["insight"][field] = value;
        answer
    };
    let mut text = before.clone();
    text["tiles"][0]["text"]["body"] = "## Volume\n\nMine".into();
    for (key, answer) in [
        ("traces", insight("name", "My traces".into())),
        ("traces", insight("description", "".into())),
        ("traces", insight("query", json!({"kind": "InsightVizNode"}))),
        ("text_volume", text),
    ] {
        for mode in [Mode::Create, Mode::Update] {
            assert_eq!(
                step_of(mode, &wanted, &known, &answer, key),
                Step::Leave(Why::Changed),
                "{key}"
            );
        }
        assert!(
            matches!(
                step_of(Mode::Recreate, &wanted, &known, &answer, key),
                Step::Change { .. }
            ),
            "{key}"
        );
    }
    let mut deleted = before.clone();
    deleted["tiles"][at]["deleted"] = true.into();
    let mut removed = before.clone();
    removed["tiles"].as_array_mut().unwrap().remove(at);
    let soft = insight("deleted", true.into());
    for answer in [deleted, removed, soft] {
        assert_eq!(
            step_of(Mode::Update, &wanted, &known, &answer, "traces"),
            Step::Leave(Why::Deleted)
        );
        assert_eq!(step_of(Mode::Recreate, &wanted, &known, &answer, "traces"), Step::Make);
    }
    // Its place is the user's.
    let mut moved = before.clone();
    moved["tiles"][at]["layouts"] = json!({"sm": {"x": 3, "y": 99, "w": 2, "h": 2}});
    assert!(matches!(
        step_of(Mode::Recreate, &wanted, &known, &moved, "traces"),
        Step::Keep(_)
    ));
}

#[test]
fn an_update_changes_what_is_of_another_release_and_nothing_else() {
    let new = wanted();
    let mut old = wanted();
    let at = place(&old, "traces");
    if let Content::Insight { name, .. } = &mut old.tiles[at].content {
        "Traces of before".clone_into(name);
    }
    old.name = "Metrics".to_owned();
    let retired_tile = old.tiles.remove(place(&old, "tokens"));
    let answer = made(&old);
    let (dashboard, mut known) = remembered(&old, &answer);
    let changed = Step::Change {
        tile_id: 301 + i64::try_from(at).unwrap(),
        insight_id: Some(91 + i64::try_from(at).unwrap()),
        text_id: None,
    };
    assert_eq!(
        step_of(Mode::Create, &new, &known, &answer, "traces"),
        Step::Leave(Why::Older)
    );
    assert_eq!(step_of(Mode::Update, &new, &known, &answer, "traces"), changed);
    // A tile of a new release is made.
    assert_eq!(step_of(Mode::Create, &new, &known, &answer, "tokens"), Step::Make);
    assert!(matches!(
        step_of(Mode::Update, &new, &known, &answer, "users"),
        Step::Keep(_)
    ));
    let shown = Shown::read(&answer).unwrap();
    assert_eq!(
        whole(Mode::Create, &new, Some(&dashboard), Some(&shown)),
        Whole::Leave(Why::Older)
    );
    assert_eq!(whole(Mode::Update, &new, Some(&dashboard), Some(&shown)), Whole::Change);
    let mut renamed = shown.clone();
    renamed.name = "Mine".into();
    assert_eq!(
        whole(Mode::Update, &new, Some(&dashboard), Some(&renamed)),
        Whole::Leave(Why::Changed)
    );
    assert_eq!(
        whole(Mode::Recreate, &new, Some(&dashboard), Some(&renamed)),
        Whole::Change
    );
    // Without the ledger nobody knows whether it is the user's.
    assert_eq!(
        step_of(Mode::Update, &new, &[], &answer, "traces"),
        Step::Leave(Why::Unknown)
    );
    assert_eq!(
        whole(Mode::Update, &new, None, Some(&shown)),
        Whole::Leave(Why::Unknown)
    );
    // A tile that is no part of it any more is told of while it is there.
    known.push(KnownTile {
        tile: "of_before".to_owned(),
        ..known[at].clone()
    });
    let gone = KnownTile {
        tile: "gone".to_owned(),
        insight_id: Some(7),
        ..known[at].clone()
    };
    known.push(gone);
    let of_before: Vec<_> = retired(&new, &known, Some(&shown))
        .into_iter()
        .map(|tile| tile.tile.as_str())
        .collect();
    assert_eq!(of_before, ["of_before"]);
    assert_eq!(retired_tile.key, "tokens");
}

#[test]
fn a_simpler_form_is_as_good_where_posthog_took_no_other() {
    let wanted = wanted();
    let mut answer = made(&wanted);
    let at = place(&wanted, "cost_total");
    let Content::Insight { forms, .. } = &wanted.tiles[at].content else {
        panic!("a text")
    };
    answer["tiles"][at]["insight"]["query"] = forms[1].clone();
    let (_, mut known) = remembered(&wanted, &answer);
    known[at].written = prints(&wanted.tiles[at]).pop();
    assert!(matches!(
        step_of(Mode::Update, &wanted, &known, &answer, "cost_total"),
        Step::Keep(_)
    ));
}

#[test]
fn what_we_made_and_nobody_changed_is_deleted() {
    let wanted = wanted();
    let before = made(&wanted);
    let (dashboard, known) = remembered(&wanted, &before);
    let of = |answer: &Value| deletion(Some(&dashboard), &known, Shown::read(answer).as_ref(), &[]);
    let all = of(&before);
    assert!(all.whole && all.left.is_empty() && all.tiles.len() == known.len());

    let mut edited = before.clone();
    edited["tiles"][1]["insight"]["name"] = "Mine".into();
    let found = of(&edited);
    assert!(!found.whole && found.tiles.len() == known.len() - 1);
    assert_eq!(found.left, [("traces".to_owned(), Why::Changed)]);

    let mut added = before.clone();
    added["tiles"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": 9, "text": {"id": 1, "body": "mine"}}));
    let found = of(&added);
    assert!(!found.whole && found.foreign == 1 && found.tiles.len() == known.len());

    let mut renamed = before.clone();
    renamed["name"] = "Mine".into();
    assert!(!of(&renamed).whole);

    let mut fewer = before.clone();
    fewer["tiles"].as_array_mut().unwrap().remove(1);
    let found = of(&fewer);
    assert!(found.whole && found.gone == ["traces"], "{found:?}");
}

#[test]
fn new_tiles_go_below_what_is_there() {
    let answer = json!({"id": 1, "tiles": [
        {"id": 1, "text": {"body": "x"}, "layouts": {"sm": {"y": 3, "h": 4}, "xs": {"y": 10, "h": 1}}},
        {"id": 2, "text": {"body": "y"}, "layouts": {"sm": {"y": 1, "h": 2}}},
        {"id": 3, "text": {"body": "z"}, "layouts": {}},
    ]});
    let bottom = Shown::read(&answer).unwrap().bottom();
    assert_eq!((bottom.wide, bottom.narrow), (7, 11));
}

/// An insight as it is by itself, on these dashboards.
fn alone(answer: &Value, at: usize, dashboards: &[i64]) -> ShownInsight {
    let mut insight = answer["tiles"][at]["insight"].clone();
    insight["dashboards"] = dashboards.into();
    ShownInsight::read(&insight).unwrap()
}

/// Who duplicates a tile duplicates its mark.
#[test]
fn what_the_user_duplicated_or_wrote_is_not_taken_for_ours() {
    let wanted = wanted();
    let before = made(&wanted);
    let (_, known) = remembered(&wanted, &before);
    let at = place(&wanted, "traces");
    let mut copy = before["tiles"][at].clone();
    copy["id"] = 900.into();
    copy["insight"]["id"] = 901.into();
    copy["insight"]["name"] = "Traces (copy)".into();
    let mine = json!({"id": 910, "text": {"id": 911, "body": "## Volume\n\nMine"}, "insight": null});
    // Ours is deleted, the copy stays; the same for a text.
    let mut answer = before.clone();
    answer["tiles"][at] = copy.clone();
    answer["tiles"][0] = mine.clone();
    for key in ["traces", "text_volume"] {
        for mode in [Mode::Create, Mode::Update] {
            let step = step_of(mode, &wanted, &known, &answer, key);
            assert_eq!(step, Step::Leave(Why::Deleted), "{key}");
        }
        assert_eq!(step_of(Mode::Recreate, &wanted, &known, &answer, key), Step::Make);
    }
    // The ledger knows none of both: one of two is ours, and a heading is nobody's.
    let mut both = before.clone();
    both["tiles"].as_array_mut().unwrap().push(copy);
    for mode in ALL {
        assert_eq!(step_of(mode, &wanted, &[], &both, "traces"), Step::Leave(Why::Twice));
        assert_eq!(
            step_of(mode, &wanted, &[], &answer, "text_volume"),
            Step::Leave(Why::Whose)
        );
    }
    // With ours beside it, its words tell.
    both["tiles"].as_array_mut().unwrap().push(mine);
    let step = step_of(Mode::Recreate, &wanted, &[], &both, "text_volume");
    assert_eq!(step, Step::Keep(known[0].clone()));
    let twin = both["tiles"][0].clone();
    both["tiles"].as_array_mut().unwrap().push(twin);
    let step = step_of(Mode::Recreate, &wanted, &[], &both, "text_volume");
    assert_eq!(step, Step::Leave(Why::Twice));
}

#[test]
fn after_an_export_and_an_import_everything_is_what_it_was() {
    let wanted = wanted();
    let before = made(&wanted);
    let (_, known) = remembered(&wanted, &before);
    let at = |key| place(&wanted, key);
    // Other numbers, some of which were others' before.
    let mut answer = before.clone();
    for (tile, id) in answer["tiles"].as_array_mut().unwrap().iter_mut().zip(92..) {
        tile["id"] = (id + 210).into();
        for of in ["text", "insight"] {
            if tile[of].is_object() {
                tile[of]["id"] = id.into();
            }
        }
    }
    answer["tiles"][at("generations")]["insight"]["name"] = "Ours".into();
    answer["tiles"][at("text_cost")]["text"]["body"] = "## Cost\n\nOurs".into();
    let twin = answer["tiles"][at("users")].clone();
    answer["tiles"].as_array_mut().unwrap().push(twin);
    let gone = answer["tiles"].as_array_mut().unwrap().remove(at("traces"));
    answer["id"] = 40.into();
    let shown = Shown::read(&answer).unwrap();
    assert!(is_renumbered(12, &known, &shown));
    let now = renumbered(&wanted, &known, &shown);
    let of = |mode, key| step_of(mode, &wanted, &now, &answer, key);
    assert!(matches!(of(Mode::Update, "cost_total"), Step::Keep(kept) if kept.placed));
    assert!(matches!(of(Mode::Update, "text_speed"), Step::Keep(_)));
    assert_eq!(of(Mode::Update, "generations"), Step::Leave(Why::Changed));
    assert!(matches!(of(Mode::Recreate, "generations"), Step::Change { .. }));
    assert_eq!(of(Mode::Update, "traces"), Step::Leave(Why::Deleted));
    for mode in ALL {
        assert_eq!(of(mode, "users"), Step::Leave(Why::Twice));
        assert_eq!(of(mode, "text_cost"), Step::Leave(Why::Whose));
    }
    // The same dashboard is renumbered only where most of it is there.
    answer["id"] = 12.into();
    let other = json!({"id": 12, "tiles": [{"id": 9_000, "text": null, "insight": {"id": 9_001,
        "name": "Traces (copy)", "description": gone["insight"]["description"], "query": {}}}]});
    assert!(!is_renumbered(12, &known, &Shown::read(&other).unwrap()));
    assert!(!is_renumbered(12, &known, &Shown::read(&before).unwrap()));
    // A copy of the dashboard that shows the same insights has their numbers.
    answer = before.clone();
    answer["id"] = 41.into();
    assert!(!is_renumbered(12, &known, &Shown::read(&answer).unwrap()));
}

#[test]
fn what_the_user_took_off_the_dashboard_is_put_back_or_deleted_and_never_made_twice() {
    let wanted = wanted();
    let before = made(&wanted);
    let (dashboard, known) = remembered(&wanted, &before);
    let at = place(&wanted, "traces");
    let mut answer = before.clone();
    answer["tiles"].as_array_mut().unwrap().remove(at);
    let shown = Shown::read(&answer).unwrap();
    let id = known[at].insight_id.unwrap();
    for mode in ALL {
        let off = [alone(&before, at, &[])];
        let planned = tiles(mode, &wanted, &known, Some(&shown), &off);
        let expected = if mode == Mode::Recreate {
            Step::PutBack(id)
        } else {
            Step::Leave(Why::TakenOff)
        };
        assert_eq!((&planned[at].step, planned[at].insight_id), (&expected, Some(id)));
    }
    let of = |off: &ShownInsight| deletion(Some(&dashboard), &known, Some(&shown), std::slice::from_ref(off));
    let found = of(&alone(&before, at, &[]));
    assert!(found.whole && found.tiles.len() == known.len(), "{found:?}");
    let mut edited = before.clone();
    edited["tiles"][at]["insight"]["name"] = "Ours".into();
    let mut alerts = before.clone();
    alerts["tiles"][at]["insight"]["alerts"] = json!([{"id": 1}]);
    for (off, why) in [
        (alone(&edited, at, &[]), Why::Changed),
        (alone(&alerts, at, &[]), Why::Alerts),
        (alone(&before, at, &[77]), Why::Elsewhere),
    ] {
        let found = of(&off);
        // The dashboard goes all the same: it is not on it.
        assert_eq!((found.whole, found.left), (true, vec![("traces".to_owned(), why)]));
    }
    // The dashboard was deleted, and its insights were not.
    let off: Vec<ShownInsight> = (0..known.len())
        .filter(|at| known[*at].insight_id.is_some())
        .map(|at| alone(&before, at, &[]))
        .collect();
    let found = deletion(Some(&dashboard), &known, None, &off);
    assert_eq!(
        (found.tiles.len(), found.gone.len()),
        (off.len(), known.len() - off.len())
    );
}

/// A run may die when it has begun to make a tile again: before PostHog made it, or after.
#[test]
fn what_was_begun_is_found_by_what_it_is_made_of_and_no_copy_is() {
    let wanted = wanted();
    let before = made(&wanted);
    let (_, mut known) = remembered(&wanted, &before);
    let at = place(&wanted, "traces");
    known[at] = begun(&wanted.tiles[at]);
    known[0] = begun(&wanted.tiles[0]);
    let mut copy = before["tiles"][at].clone();
    copy["id"] = 900.into();
    copy["insight"]["id"] = 901.into();
    copy["insight"]["name"] = "Traces (copy)".into();
    let mut gone = before.clone();
    gone["tiles"][at] = copy.clone();
    gone["tiles"][0]["text"]["body"] = "## Volume\n\nMine".into();
    let mut there = before.clone();
    there["tiles"].as_array_mut().unwrap().push(copy);
    for mode in ALL {
        for (key, at) in [("traces", at), ("text_volume", 0)] {
            assert_eq!(step_of(mode, &wanted, &known, &gone, key), Step::Make);
            let step = step_of(mode, &wanted, &known, &there, key);
            let id = there["tiles"][at]["id"].as_i64().unwrap();
            assert!(
                matches!(&step, Step::Keep(kept) if kept.tile_id == id && !kept.placed),
                "{step:?}"
            );
        }
    }
    let twin = before["tiles"][at].clone();
    there["tiles"].as_array_mut().unwrap().push(twin);
    let step = step_of(Mode::Recreate, &wanted, &known, &there, "traces");
    assert_eq!(step, Step::Leave(Why::Twice));
}

/// Who duplicates a dashboard duplicates its mark, and perhaps shares its insights.
#[test]
fn a_dashboard_with_the_mark_and_another_title_is_not_taken_for_ours() {
    let one = |id: i64, title: &str| Lookalike::read(&json!({"id": id, "name": title})).unwrap();
    let copy = one(3, "AI metrics (Copy)");
    let of = |marked: &[Lookalike]| titled(marked.to_vec(), "AI metrics");
    assert_eq!(of(&[]), Titled::Nothing);
    assert_eq!(of(std::slice::from_ref(&copy)), Titled::Other(copy.clone()));
    assert_eq!(
        of(&[copy.clone(), one(9, "AI metrics"), one(7, "AI metrics")]),
        Titled::Ours(7)
    );
    assert!(copy.says().contains("3, \"AI metrics (Copy)\""));

    let wanted = wanted();
    let before = made(&wanted);
    let (_, known) = remembered(&wanted, &before);
    let at = place(&wanted, "traces");
    let of = |answer: &Value, dashboards: &[i64]| {
        let off = [alone(answer, at, dashboards)];
        let planned = tiles(Mode::Recreate, &wanted, &known, None, &off);
        planned.into_iter().nth(at).unwrap().step
    };
    let id = known[at].insight_id.unwrap();
    assert_eq!(of(&before, &[3]), Step::PutBack(id));
    let mut edited = before.clone();
    edited["tiles"][at]["insight"]["query"]["full"] = true.into();
    assert_eq!(of(&edited, &[]), Step::PutBack(id));
    assert_eq!(of(&edited, &[3]), Step::Make, "it is shown where the user wants it so");
}
