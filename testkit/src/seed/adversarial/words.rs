//! Texts that break quoting, escaping, encoding and limits.

use super::{Day, text};

/// Texts that have to survive as they are, wherever they stand.
const NASTY: [&str; 20] = [
    "with space",
    "a/b?c#d&e=f+g;h",
    "emoji 🦀 👩‍👩‍👧 🇩🇪",
    "quotes \" ' ` “ ”",
    "percent %20 100% %zz",
    "right to left \u{202e}abc\u{200f} שלום مرحبا",
    "new\nline\r\nand\ttab",
    "back\\slash \\u0000 \\n \\\"",
    "controls \u{1}\u{8}\u{b}\u{1f}\u{7f}\u{85}",
    "combining e\u{301} n\u{303} ﷽ Z͑ͫ̓ͪ̂ͫ",
    "漢字 ünïcödé ß İ ı",
    "zero\u{200b}width\u{200d}\u{feff}",
    "\u{2028}line\u{2029}separators",
    "\u{10ffff}last\u{fffe}\u{ffff}\u{fffd}",
    "<script>alert(1)</script> ${x} {{y}} %s $1",
    "'; DROP TABLE traces; --",
    "null",
    "NaN",
    "-_.!~*'()",
    ".. /../",
];

/// Ids, users, sessions, names, releases and versions of every sort.
pub(super) fn ids(day: &mut Day) {
    for nasty in NASTY {
        let trace = day.trace(nasty);
        trace.name = text(nasty);
        trace.user_id = text(nasty);
        trace.session_id = text(nasty);
        trace.release = text(nasty);
        trace.version = text(nasty);
        let generation = day.generation(nasty, nasty);
        generation.name = text(nasty);
        generation.version = text(nasty);
        generation.model = text(nasty);
        generation.unit = text(nasty);
        let span = day.generation(format!("span {nasty}"), nasty);
        (span.kind, span.name) = ("SPAN", text(nasty));
        let score = day.score(nasty, nasty);
        score.name = nasty.into();
        score.string_value = text(nasty);
        score.comment = text(nasty);
        score.observation_id = text(nasty);
    }
    let trace = day.trace("all empty");
    (trace.name, trace.user_id, trace.session_id) = (text(""), text(""), text(""));
    (trace.release, trace.version) = (text(""), text(""));
    let generation = day.generation("all empty", "all empty");
    (generation.name, generation.version, generation.model, generation.unit) = (text(""), text(""), text(""), text(""));
    let score = day.score("all empty", "all empty");
    (score.name, score.string_value, score.comment) = (String::new(), text(""), text(""));
    score.observation_id = text("");
}

/// Users that do not count as users, such as an empty text or a placeholder, and users too long for
/// PostHog.
pub(super) fn users(day: &mut Day) {
    let long = "u".repeat(300);
    let long_emoji = "🦀".repeat(250);
    let exactly = "x".repeat(200);
    let users = [
        " ",
        "  \t\n",
        "\u{a0}\u{3000}\u{2003}",
        " padded ",
        "\u{200b}",
        &long,
        &long_emoji,
        &exactly,
        "0",
        "Guest",
        "'undefined'",
        " \"None\"\t",
        "[object Object]",
        "00000000-0000-0000-0000-000000000000",
        "'null\"",
        "\"",
        "anonymous\u{301}",
    ];
    for (number, user) in users.into_iter().enumerate() {
        let name = format!("user {number}");
        day.trace(&name).user_id = text(user);
        day.children(&name);
    }
}

/// Metadata of every JSON type, and members that are neither strings nor numbers, or odd ones.
pub(super) fn metadata(day: &mut Day) {
    let deep = format!("{{\"deep\": {}{}}}", "[".repeat(500), "]".repeat(500));
    let members = [
        "7",
        "0",
        "1.0",
        "1e2",
        "1e400",
        "-0.0",
        "12345678901234567890",
        "true",
        "null",
        "\"\"",
        "\"  \\t\"",
        "\"\\u3000\"",
        "[]",
        "[\"a\"]",
        "{}",
        "{\"a\": \"b\"}",
        "\"person\"",
        "\"Null\"",
        "\"'guest'\"",
        "\" padded \"",
        "\"quote \\\" 🦀 \\n\"",
    ];
    let mut all: Vec<String> = members
        .iter()
        .flat_map(|member| {
            [
                format!("{{\"$posthog_distinct_id\": {member}}}"),
                format!("{{\"$posthog_session_id\": {member}}}"),
                format!("{{\"$posthog_distinct_id\": {member}, \"$posthog_session_id\": {member}, \"other\": 1}}"),
            ]
        })
        .collect();
    let whole = [
        "null",
        "true",
        "7",
        "1e400",
        "\"text\"",
        "\"$posthog_distinct_id\"",
        "[]",
        "[\"$posthog_distinct_id\"]",
        "[{\"$posthog_distinct_id\": \"not mine\"}]",
        "{}",
        "{\"nested\": {\"$posthog_distinct_id\": \"not mine\"}}",
        "\"\"",
    ];
    all.extend(whole.iter().map(|metadata| (*metadata).to_owned()));
    all.push(deep);
    for (number, metadata) in all.iter().enumerate() {
        for (with, user) in [
            ("a user", text("someone")),
            ("no user", None),
            ("a blank user", text(" ")),
        ] {
            let name = format!("metadata {number} with {with}");
            let trace = day.trace(&name);
            trace.metadata = text(metadata);
            trace.user_id = user;
            if number % 3 == 0 {
                day.children(&name);
            }
        }
    }
}

/// Tags that are null, none, many, or look like the array syntax they are stored in.
pub(super) fn tags(day: &mut Day) {
    let odd = [
        "",
        " ",
        "say \"hi\"",
        "a,b",
        "{x}",
        "NULL",
        "null",
        "back\\slash",
        "🦀",
        "new\nline",
        "twice",
        "twice",
    ];
    let many: Vec<String> = (0..500).map(|number| format!("tag {number}")).collect();
    let all = [
        None,
        Some(vec![]),
        Some(odd.map(str::to_owned).to_vec()),
        Some(many),
        Some(vec!["t".repeat(50_000)]),
    ];
    for (number, tags) in all.into_iter().enumerate() {
        let name = format!("tags {number}");
        day.trace(&name).tags = tags;
        day.children(&name);
    }
}

/// Comments up to the size of one event and far beyond; those beyond must arrive shortened.
pub(super) fn comments(day: &mut Day) {
    day.trace("comments").user_id = text("critic");
    let comments = [
        ("200 kB", "a quarter of a book ".repeat(10_000)),
        ("200 kB of quotes", "\"".repeat(200_000)),
        ("200 kB of backslashes", "\\".repeat(200_000)),
        ("100 kB of newlines", "\n".repeat(100_000)),
        ("100 kB of controls", "\u{1}".repeat(100_000)),
        ("200 kB of emoji", "🦀".repeat(50_000)),
        ("890 kB that just fit", "x".repeat(890_000)),
        ("890 kB of letters with two bytes that just fit", "é".repeat(445_000)),
        ("900 kB that just don't", "x".repeat(900_000)),
        ("250 kB of quotes that don't", "\"".repeat(250_000)),
        ("3 MB", "x".repeat(3_000_000)),
        ("1 MB of emoji", "🦀".repeat(250_000)),
        ("1 MB of emoji, one byte on", format!("x{}", "🦀".repeat(250_000))),
        ("200 kB of controls", "\u{1f}".repeat(200_000)),
        ("1 MB of everything", "a\"b\\c\nd🦀e\u{301}\u{1}".repeat(65_000)),
    ];
    for (name, comment) in comments {
        day.score(name, "comments").comment = text(comment);
    }
    let both = day.score("1.5 MB of comment and 1 MB of value", "comments");
    both.comment = text("c".repeat(1_500_000));
    both.string_value = text("v".repeat(1_000_000));
    let alike = day.score("twice 600 kB", "comments");
    alike.comment = text("c".repeat(600_000));
    alike.string_value = text("v".repeat(600_000));
}

/// Long texts that are a trace's, and so in all of its events.
pub(super) fn long_names(day: &mut Day) {
    day.trace("long name").name = text("N".repeat(1_000_000));
    day.children("long name");
    day.generation("long name of its own", "long name").name = text("\"".repeat(500_000));
    let trace = day.trace("long release");
    trace.release = text("r".repeat(1_000_000));
    trace.user_id = text("user");
    day.children("long release");
}
