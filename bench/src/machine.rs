//! Where it was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use testkit::World;

/// Name and value of what the numbers depend on.
pub async fn circumstances(world: &World) -> Result<Vec<(&'static str, String)>> {
    let postgres: String = sqlx::query_scalar(
        "select format('%s, shared_buffers %s', split_part(version(), ' ', 2), current_setting('shared_buffers'))",
    )
    .fetch_one(&world.pool())
    .await?;
    let optimised = if cfg!(debug_assertions) {
        "no: a development build; its times mean nothing"
    } else {
        "yes"
    };
    Ok(vec![
        ("when", chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string()),
        ("commit", commit()),
        ("optimised", optimised.to_owned()),
        ("machine", machine()),
        ("PostgreSQL", postgres),
    ])
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = field(&read("/proc/cpuinfo"), "model name")
        .unwrap_or("unknown processor")
        .to_owned();
    let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let memory = memory.unwrap_or_default() / (1024 * 1024);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores of {model}, {memory} GiB, Linux {}", kernel.trim())
}

/// The value behind the first `name :` of a file of `/proc`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(found, _)| found.trim() == name)?;
    Some(value.trim())
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| !changes.is_empty());
    if changed {
        format!("{commit}, with changes")
    } else {
        commit
    }
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 1\nmodel name\t: A Processor\nMemTotal:       24600000 kB\n";
        assert_eq!(field(text, "model name"), Some("A Processor"));
        assert_eq!(field(text, "MemTotal"), Some("24600000 kB"));
        assert_eq!(field(text, "flags"), None);
    }
}
