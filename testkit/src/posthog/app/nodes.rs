//! Which members a query may have, by its kind: PostHog's models forbid all others. The list is in
//! `nodes.json`, read in PostHog's schema; `new` is what an older PostHog does not know.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::answer::Answer;
use super::errors::invalid;

#[derive(Deserialize)]
struct Schema {
    unions: BTreeMap<String, Union>,
    choices: BTreeMap<String, Vec<String>>,
    objects: BTreeMap<String, BTreeMap<String, String>>,
}

/// Objects that a member of theirs tells apart.
#[derive(Deserialize)]
struct Union {
    by: String,
    of: Vec<String>,
}

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| serde_json::from_str(include_str!("nodes.json")).expect("the list of members is JSON"));

/// What is computed from a property.
const OF_A_PROPERTY: [&str; 9] = ["avg", "sum", "min", "max", "median", "p75", "p90", "p95", "p99"];

/// A PostHog of some age.
pub(super) struct Age<'a> {
    pub(super) is_old: bool,
    /// What it does not know, beside what is new.
    pub(super) lacking: &'a [String],
}

impl Age<'_> {
    /// Refuses a query that has what this PostHog does not know.
    pub(super) fn check(&self, query: &Value) -> Result<(), Answer> {
        self.value(query, "query", "query")
    }

    fn value(&self, value: &Value, spec: &str, at: &str) -> Result<(), Answer> {
        if let Some(each) = spec.strip_prefix("list ") {
            let all = value
                .as_array()
                .ok_or_else(|| wrong(at, "Input should be a valid list"))?;
            let mut numbered = all.iter().enumerate();
            return numbered.try_for_each(|(i, value)| self.value(value, each, &format!("{at}.{i}")));
        }
        let is_right = match spec {
            "any" => true,
            "text" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.is_i64(),
            "boolean" => value.is_boolean(),
            _ => return self.named(value, spec, at),
        };
        if is_right {
            return Ok(());
        }
        Err(wrong(at, &format!("Input should be a valid {spec}")))
    }

    fn named(&self, value: &Value, name: &str, at: &str) -> Result<(), Answer> {
        if let Some(choices) = SCHEMA.choices.get(name) {
            let given = value.as_str().unwrap_or_default();
            let knows = |choice: &String| match choice.strip_prefix("new ") {
                Some(new) => new == given && !self.is_old,
                None => choice == given,
            };
            return if choices.iter().any(knows) && !self.lacks(given) {
                Ok(())
            } else {
                Err(wrong(at, "Input should be one of the known values"))
            };
        }
        let object = value
            .as_object()
            .ok_or_else(|| wrong(at, "Input should be a valid dictionary"))?;
        let Some(union) = SCHEMA.unions.get(name) else {
            return self.object(object, name, at);
        };
        let kind = object.get(&union.by).and_then(Value::as_str).unwrap_or_default();
        if !union.of.iter().any(|one| one == kind) || self.lacks(kind) {
            let detail = format!("Input tag '{kind}' does not match any of the expected tags");
            return Err(wrong(at, &detail));
        }
        self.object(object, kind, at)
    }

    fn object(&self, object: &Map<String, Value>, name: &str, at: &str) -> Result<(), Answer> {
        let members = SCHEMA.objects.get(name).expect("each name of the list is in it");
        for (member, value) in object {
            let at = format!("{at}.{member}");
            let spec = members.get(member).filter(|_| !self.lacks(member));
            let spec = spec.ok_or_else(|| wrong(&at, "Extra inputs are not permitted"))?;
            if let Some(required) = spec.strip_prefix("required ") {
                self.value(value, required, &at)?;
                continue;
            }
            let spec = match spec.strip_prefix("new ") {
                Some(_) if self.is_old => return Err(wrong(&at, "Extra inputs are not permitted")),
                Some(new) => new,
                None => spec,
            };
            if !value.is_null() {
                self.value(value, spec, &at)?;
            }
        }
        let mut required = members.iter().filter(|(_, spec)| spec.starts_with("required "));
        match required.find(|(member, _)| !object.contains_key(*member)) {
            Some((member, _)) => Err(wrong(&format!("{at}.{member}"), "Field required")),
            None => self.sense(object, name, at),
        }
    }

    /// What PostHog sees only when it runs a query.
    fn sense(&self, object: &Map<String, Value>, name: &str, at: &str) -> Result<(), Answer> {
        let text = |member: &str| object.get(member).and_then(Value::as_str);
        match name {
            "EventsNode" => {
                let math = text("math").unwrap_or("total");
                if OF_A_PROPERTY.contains(&math) && text("math_property").is_none() {
                    return Err(wrong(at, "math_property is required for property math types"));
                }
                match (math, text("math_hogql")) {
                    ("hogql", None) => Err(wrong(at, "math_hogql is required for math type hogql")),
                    (_, Some(hogql)) => self.hogql(hogql),
                    (_, None) => Ok(()),
                }
            }
            "hogql" => self.hogql(text("key").unwrap_or_default()),
            "HogQLQuery" => self.hogql(text("query").unwrap_or_default()),
            _ => Ok(()),
        }
    }

    /// Its brackets and quotes, and the functions that this PostHog lacks. What else a query of
    /// PostHog's may have, PostHog's own parser says: step `hogql`.
    fn hogql(&self, text: &str) -> Result<(), Answer> {
        let code: Vec<&str> = text
            .lines()
            .map(|line| line.split("--").next().unwrap_or_default())
            .collect();
        let code = code.join("\n");
        let (mut open, mut is_quoted) = (Vec::new(), false);
        let mut characters = code.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' if is_quoted => drop(characters.next()),
                '\'' => is_quoted = !is_quoted,
                _ if is_quoted => {}
                '(' | '[' | '{' => open.push(character),
                ')' | ']' | '}' => {
                    let opened = open.pop();
                    if !matches!(
                        (opened, character),
                        (Some('('), ')') | (Some('['), ']') | (Some('{'), '}')
                    ) {
                        return Err(invalid(&format!("Syntax error: mismatched input '{character}'")));
                    }
                }
                _ => {}
            }
        }
        if is_quoted || !open.is_empty() {
            return Err(invalid("Syntax error: mismatched input '<EOF>'"));
        }
        let calls = |name: &&String| code.contains(&format!("{name}("));
        match self.lacking.iter().find(calls) {
            None => Ok(()),
            Some(name) => Err(invalid(&format!("Unsupported function call '{name}(...)'"))),
        }
    }

    fn lacks(&self, name: &str) -> bool {
        self.lacking.iter().any(|lacking| lacking == name)
    }
}

fn wrong(at: &str, what: &str) -> Answer {
    invalid(&format!("{at}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::SCHEMA;

    #[test]
    fn each_name_of_the_list_is_in_it() {
        let basic = ["any", "text", "number", "integer", "boolean"];
        let known = |name: &str| {
            basic.contains(&name)
                || SCHEMA.choices.contains_key(name)
                || SCHEMA.unions.contains_key(name)
                || SCHEMA.objects.contains_key(name)
        };
        for (object, members) in &SCHEMA.objects {
            for (member, spec) in members {
                let spec = ["required ", "new ", "list "]
                    .iter()
                    .fold(spec.as_str(), |spec, flag| spec.strip_prefix(flag).unwrap_or(spec));
                assert!(known(spec), "{object}.{member}: {spec}");
            }
        }
        for (name, union) in &SCHEMA.unions {
            for object in &union.of {
                assert_eq!(SCHEMA.objects[object][&union.by], "required text", "{name}");
            }
        }
    }
}
