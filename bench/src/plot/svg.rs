//! PURE: the shapes of a picture.

use std::fmt::Write as _;

/// How wide each picture is.
pub(super) const WIDTH: f64 = 820.0;
/// Where drawing ends on the right.
pub(super) const RIGHT: f64 = WIDTH - 30.0;

/// Colours by class; a reader's dark scheme changes them.
const STYLE: &str = "\
.back{fill:#fff;stroke:#d0d7de}.text{fill:#1f2328}.soft{fill:#59636e}.line{stroke:#d0d7de;stroke-width:1}\
.ours{fill:#0969da;stroke:#0969da}.peer{fill:#bc4c00;stroke:#bc4c00}.base{fill:#818b98;stroke:#818b98}\
.mark{stroke:#1f2328;stroke-width:1.5}.path{fill:none;stroke-width:2.5}\
@media(prefers-color-scheme:dark){.back{fill:#0d1117;stroke:#3d444d}.text{fill:#e6edf3}.soft{fill:#9198a1}\
.line{stroke:#3d444d}.ours{fill:#58a6ff;stroke:#58a6ff}.peer{fill:#f0883e;stroke:#f0883e}\
.base{fill:#7d8590;stroke:#7d8590}.mark{stroke:#e6edf3}}";

/// Where a text ends up at its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture that grows.
pub(super) struct Svg {
    height: f64,
    title: String,
    body: String,
}

impl Svg {
    /// With its title above, and below it of what it is.
    pub(super) fn new(height: f64, title: &str, caption: &str) -> Self {
        let mut svg = Self {
            height,
            title: title.to_owned(),
            body: String::new(),
        };
        svg.sized("text", 16, (20.0, 30.0), Anchor::Start, title);
        svg.sized("soft", 11, (20.0, height - 14.0), Anchor::Start, caption);
        svg
    }

    pub(super) fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        self.sized(class, 13, at, anchor, text);
    }

    fn sized(&mut self, class: &str, size: u32, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        let _ = writeln!(
            self.body,
            r#"<text class="{class}" font-size="{size}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    pub(super) fn rectangle(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let _ = writeln!(
            self.body,
            r#"<rect class="{class}" stroke="none" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2"/>"#
        );
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(
            self.body,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        // Its own rule last: a class of a colour also fills.
        let _ = writeln!(
            self.body,
            r#"<polyline class="{class} path" style="fill:none" points="{points}"/>"#
        );
    }

    /// The whole text of the file.
    pub(super) fn end(self) -> String {
        let Self { height, title, body } = self;
        let (inner_width, inner_height) = (WIDTH - 1.0, height - 1.0);
        let title = escape(&title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             role=\"img\" aria-label=\"{title}\" font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\">\n\
             <style>{STYLE}</style>\n\
             <rect class=\"back\" x=\"0.5\" y=\"0.5\" width=\"{inner_width}\" height=\"{inner_height}\" rx=\"8\"/>\n\
             {body}</svg>\n"
        )
    }
}

/// A round step, so that the axis up to `most` has about `count` of them.
pub(super) fn step(most: f64, count: f64) -> f64 {
    let rough = most / count;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fits = factors.iter().find(|factor| **factor * magnitude >= rough);
    fits.unwrap_or(&10.0) * magnitude
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        let found = [78.2, 171.4, 5.0, 0.9].map(|most| step(most, 5.0).to_string());
        assert_eq!(found, ["20", "50", "1", "0.2"]);
    }

    #[test]
    fn a_text_is_no_markup() {
        let mut svg = Svg::new(100.0, "a < b", "c & d");
        svg.text("text", (1.0, 2.0), Anchor::End, "\"quoted\"");
        let text = svg.end();
        for part in ["a &lt; b", "c &amp; d", "&quot;quoted&quot;"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
