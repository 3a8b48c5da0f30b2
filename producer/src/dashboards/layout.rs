//! Where tiles stand. PURE.

use serde_json::{Value, json};

/// Columns of a wide screen.
const COLUMNS: u32 = 12;

/// Where a tile stands on a wide and on a narrow screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    x: u32,
    y: u32,
    w: u32,
    h: u32,
    /// From the top of a narrow screen, where each tile has a row of its own
    narrow: u32,
}

impl Place {
    /// As PostHog stores it, this many rows further down.
    pub(crate) fn layouts(self, down: Down) -> Value {
        json!({
            "sm": {"x": self.x, "y": self.y + down.wide, "w": self.w, "h": self.h},
            "xs": {"x": 0, "y": self.narrow + down.narrow, "w": 1, "h": self.h},
        })
    }
}

/// How far below its place a tile goes: below what is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Down {
    pub(crate) wide: u32,
    pub(crate) narrow: u32,
}

/// Sets tiles from left to right, and from top to bottom.
#[derive(Debug, Default)]
pub(super) struct Flow {
    x: u32,
    y: u32,
    /// The tallest of this row
    tallest: u32,
    narrow: u32,
}

impl Flow {
    /// A row of its own.
    pub(super) fn row(&mut self, height: u32) -> Place {
        self.next([COLUMNS, height])
    }

    /// The next tile, in the next row where this one is full.
    pub(super) fn next(&mut self, [w, h]: [u32; 2]) -> Place {
        if self.x + w > COLUMNS {
            self.x = 0;
            self.y += self.tallest;
            self.tallest = 0;
        }
        let place = Place {
            x: self.x,
            y: self.y,
            w,
            h,
            narrow: self.narrow,
        };
        self.x += w;
        self.tallest = self.tallest.max(h);
        self.narrow += h;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboards::definition::Definition;
    use crate::dashboards::render::{About, render};

    #[test]
    fn no_tile_lies_on_another_and_rows_are_full() {
        let definition = Definition::ai_metrics().unwrap();
        for conversion in [Some("paid"), None] {
            let about = About {
                project: "p",
                conversion,
            };
            let places: Vec<Place> = render(&definition, &about, None)
                .tiles
                .iter()
                .map(|tile| tile.place)
                .collect();
            let (mut wide, mut area) = (std::collections::BTreeSet::new(), 0);
            let mut narrow = 0;
            for place in &places {
                assert!(place.x + place.w <= COLUMNS, "{place:?}");
                assert_eq!(place.narrow, narrow, "a gap on narrow screens");
                narrow += place.h;
                area += place.w * place.h;
                for x in place.x..place.x + place.w {
                    for y in place.y..place.y + place.h {
                        assert!(wide.insert((x, y)), "two tiles at {x}, {y}");
                    }
                }
            }
            let bottom = places.iter().map(|place| place.y + place.h).max().unwrap();
            assert_eq!(area, bottom * COLUMNS, "a row has a gap");
        }
    }

    #[test]
    fn what_is_added_later_goes_below() {
        let place = Flow::default().next([4, 5]);
        let layouts = place.layouts(Down { wide: 40, narrow: 90 });
        assert_eq!(layouts["sm"], json!({"x": 0, "y": 40, "w": 4, "h": 5}));
        assert_eq!(layouts["xs"], json!({"x": 0, "y": 90, "w": 1, "h": 5}));
    }
}
