//! Every command of ours that the documents, the manifests and the help texts show is one that the
//! program takes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends so")]

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _};
use producer::cli::Cli;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The README and all pages of docs/.
fn documents() -> Vec<PathBuf> {
    let pages = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.chain([root().join("README.md")]).collect()
}

/// As a shell splits a line: quotes, comments, pipes and `&&`; each part is one command's words.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    for c in line.chars().chain([' ']) {
        match (c, quote) {
            (_, Some(q)) if c == q => quote = None,
            (_, Some(_)) => word.push(c),
            ('\'' | '"', None) => (quote, begun) = (Some(c), true),
            ('#', None) if word.is_empty() => break,
            (' ' | '|' | '&' | ';' | ')', None) => {
                if begun || !word.is_empty() {
                    commands.last_mut().unwrap().push(std::mem::take(&mut word));
                }
                begun = false;
                if c != ' ' {
                    commands.push(Vec::new());
                }
            }
            (_, None) => word.push(c),
        }
    }
    // The last word of a comment's line.
    if !word.is_empty() {
        commands.last_mut().unwrap().push(word);
    }
    commands
}

/// A call of a shell function that docs/KUBERNETES.md defines is a call of ours.
fn without_function(mut words: Vec<String>) -> Vec<String> {
    let stands_for: &[&str] = match words.first().map(String::as_str) {
        Some("dead_letters") => &["producer", "dead-letters"],
        Some("producer_job") => &["producer"],
        _ => return words,
    };
    words.splice(..1, stands_for.iter().map(|&word| word.to_owned()));
    words
}

/// The words from our program's name on: at the start, behind `X=y`, or handed on by `kubectl exec
/// … --` and `docker compose run`.
fn ours(words: &[String]) -> Option<&[String]> {
    let place = words.iter().rposition(|word| word == "producer")?;
    let before = &words[..place];
    let is_called = before.iter().all(|word| word.contains('=') || word == "$(")
        || before.last().is_some_and(|word| word == "--" || word == "producer")
        || before.iter().any(|word| word == "run");
    is_called.then_some(&words[place..])
}

/// The lines of a document's shell blocks, continued ones joined.
fn shell_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    let mut joined = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside && line.trim_start().starts_with("```sh");
        } else if inside {
            let line = line.trim();
            joined.push_str(line.strip_suffix('\\').unwrap_or(line));
            if !line.ends_with('\\') {
                lines.push(std::mem::take(&mut joined));
            }
        }
    }
    lines
}

/// The code within a document's sentences, which may leave out what a command needs.
fn inline_code(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let code = prose.split('`').skip(1).step_by(2);
    code.map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The help texts of all commands.
fn help_texts(command: &Command) -> Vec<String> {
    let mut texts: Vec<String> = command.get_after_help().map(ToString::to_string).into_iter().collect();
    texts.extend(command.get_subcommands().flat_map(help_texts));
    texts
}

/// The `args` of the manifests' containers.
fn manifest_commands() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("deploy/k8s/base")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut lines = text.lines().map(str::trim);
        while lines.by_ref().any(|line| line == "args:") {
            let arguments = lines.by_ref().map_while(|line| line.strip_prefix("- "));
            found.push(arguments.collect::<Vec<_>>().join(" "));
        }
    }
    found
}

#[test]
fn every_command_shown_is_one_that_the_program_takes() {
    let mut lines = Vec::new();
    for document in documents() {
        lines.extend(shell_lines(&fs::read_to_string(document).unwrap()));
    }
    for text in help_texts(&Cli::command()) {
        // What a command is for stands behind it, two spaces away.
        let examples = text
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split("  ").next());
        lines.extend(examples.map(str::to_owned));
    }
    lines.extend(manifest_commands());
    let mut tried = 0;
    for line in &lines {
        for words in commands(line) {
            let words = without_function(words);
            let Some(ours) = ours(&words) else { continue };
            tried += 1;
            if let Err(error) = Cli::command().try_get_matches_from(ours) {
                panic!("`{line}`: {error}");
            }
        }
    }
    assert!(tried > 50, "only {tried} commands were found");
}

#[test]
fn every_command_named_in_a_sentence_is_there() {
    let mut tried = 0;
    for document in documents() {
        for code in inline_code(&fs::read_to_string(&document).unwrap()) {
            let words = commands(&code).remove(0);
            if words.len() < 2 || words[0] != "producer" {
                continue;
            }
            tried += 1;
            let Err(error) = Cli::command().try_get_matches_from(&words) else {
                continue;
            };
            let left_out = [
                ErrorKind::MissingRequiredArgument,
                ErrorKind::MissingSubcommand,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                ErrorKind::DisplayHelp,
                ErrorKind::DisplayVersion,
            ];
            assert!(
                left_out.contains(&error.kind()),
                "{}: `{code}`: {error}",
                document.display()
            );
        }
    }
    assert!(tried > 20, "only {tried} commands were found");
}

#[test]
fn a_command_that_is_not_there_would_be_noticed() {
    for line in [
        "producer enqueu",
        "producer dead-letters requeue --error-codes unauthorized",
        "kubectl exec deploy/posthog-export-worker -- producer doctor --jsn",
        "docker compose run --rm producer producer stats",
        "A=b producer replay --day 2024-06-01",
        "dead_letters requeu --all",
        "producer_job enqueu",
    ] {
        let words = without_function(commands(line).remove(0));
        let ours = ours(&words).unwrap_or_else(|| panic!("{line}"));
        assert!(Cli::command().try_get_matches_from(ours).is_err(), "{line}");
    }
}

#[test]
fn lines_are_split_as_a_shell_does() {
    let words = |line| {
        commands(line)
            .into_iter()
            .filter(|words| !words.is_empty())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words("producer a 'b c' \"\" | jq . # d"),
        [vec!["producer", "a", "b c", ""], vec!["jq", "."]]
    );
    assert_eq!(words("producer migrate && producer declare").len(), 2);
    assert!(ours(&["kubectl".into(), "logs".into(), "producer".into()]).is_none());
}

fn wide_lines(command: &Command, path: &str) -> Vec<String> {
    let path = format!("{path} {}", command.get_name());
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let wide = help.lines().filter(|line| line.chars().count() > 100);
    let mut wide: Vec<String> = wide.map(|line| format!("{path}: {line}")).collect();
    wide.extend(command.get_subcommands().flat_map(|command| wide_lines(command, &path)));
    wide
}

#[test]
fn no_line_of_the_help_is_wider_than_a_hundred_columns() {
    let wide = wide_lines(&Cli::command(), "");
    assert!(wide.is_empty(), "{}", wide.join("\n"));
}

/// What is wrong with the help of a command and of all below it: examples come first, then the exit
/// code, and the form of the JSON, which few read, last.
fn faults(command: &Command, path: &str) -> Vec<String> {
    let path = format!("{path} {}", command.get_name());
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut faults = Vec::new();
    if !help.starts_with("Examples:\n  ") {
        faults.push(format!("{path}: it does not begin with examples"));
    }
    let has_json = command.get_arguments().any(|argument| argument.get_id() == "json");
    let told = help.contains("\nJSON: ") || help.contains("writes the same JSON");
    if has_json && !told {
        faults.push(format!("{path}: it does not say what its JSON holds"));
    }
    if let (Some(exit), Some(json)) = (help.find("\nExit code:"), help.find("\nJSON: "))
        && json < exit
    {
        faults.push(format!("{path}: the JSON comes before the exit code"));
    }
    faults.extend(
        command
            .get_subcommands()
            .flat_map(|command| self::faults(command, &path)),
    );
    faults
}

#[test]
fn every_help_begins_with_examples_and_ends_with_the_json() {
    let faults = faults(&Cli::command(), "");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // And what is tried is the whole tree.
    let mut commands = 0;
    let mut open = vec![Cli::command()];
    while let Some(command) = open.pop() {
        commands += 1;
        open.extend(command.get_subcommands().cloned());
    }
    assert!(commands > 25, "only {commands} commands");
}

/// The help of one command must not be that of another: what is common stands with the command
/// above.
#[test]
fn no_two_commands_end_with_the_same_help() {
    let texts = help_texts(&Cli::command());
    for (number, text) in texts.iter().enumerate() {
        assert!(!texts[..number].contains(text), "{text}");
    }
}
