//! PURE: what the tables have in common.

use comfy_table::{CellAlignment, Table, presets};

use crate::sample::Spread;
use crate::targets::Target;

/// An empty table with this header.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// Aligns all columns but the first to the right.
pub fn align_right(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// Median, least and greatest, in seconds.
pub fn seconds(spread: Spread) -> String {
    format!("{:.2} s ({:.2}–{:.2})", spread.median, spread.min, spread.max)
}

/// The targets, and whether they were held.
pub fn of_targets(targets: &[Target]) -> String {
    let mut table = table(&["target", "wanted", "found", ""]);
    for target in targets {
        let held = match target.held {
            Some(true) => "held",
            Some(false) => "**not held**",
            None => "not measured",
        };
        let found = target.found.clone().unwrap_or_default();
        table.add_row([target.what, &target.wanted, &found, held]);
    }
    table.to_string()
}
