//! Where the servers' programs are, and how they get there on a machine that has none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::docker;

/// Said when nothing else is left to try.
const ADVICE: &str = "install PostgreSQL (13 or later) and RabbitMQ (3.10 or later), or start Docker, or set TEST_DATABASE_URL, \
                      TEST_AMQP_URL and TEST_MANAGEMENT_URL; on Debian or Ubuntu: \
                      sudo apt-get install postgresql rabbitmq-server (and prometheus, pgbouncer, chromium with chromium-driver, nodejs and npm, for the tests of those)";

/// How a server is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The directory that holds the server's programs.
    Installed(PathBuf),
    /// No programs, but a Docker engine.
    Docker,
}

/// What can start PostgreSQL and RabbitMQ here; a server that is not `wanted` is not looked for.
/// Installs what is missing if this machine allows it. The error is one line that says what to do.
pub fn find_or_install(postgres_wanted: bool, rabbitmq_wanted: bool) -> Result<(Option<Found>, Option<Found>), String> {
    let look = || {
        let postgres = postgres_wanted.then(postgres_programs);
        let rabbitmq = rabbitmq_wanted.then(rabbitmq_programs);
        (postgres, rabbitmq)
    };
    let (mut postgres, mut rabbitmq) = look();
    let missing = |found: &Option<Option<PathBuf>>| matches!(found, Some(None));
    if missing(&postgres) || missing(&rabbitmq) {
        if docker::engine_answers() {
            let choose =
                |found: Option<Option<PathBuf>>| found.map(|path| path.map_or(Found::Docker, Found::Installed));
            return Ok((choose(postgres), choose(rabbitmq)));
        }
        may_install()?;
        let _lock = lock()?;
        // Another process may have installed them while this one waited.
        (postgres, rabbitmq) = look();
        let mut packages = Vec::new();
        if missing(&postgres) {
            packages.push("postgresql");
        }
        if missing(&rabbitmq) {
            packages.push("rabbitmq-server");
        }
        if !packages.is_empty() {
            apt_install(&packages)?;
            (postgres, rabbitmq) = look();
        }
    }
    if missing(&postgres) || missing(&rabbitmq) {
        return Err(format!("testkit: the servers' programs are still missing: {ADVICE}"));
    }
    Ok((
        postgres.flatten().map(Found::Installed),
        rabbitmq.flatten().map(Found::Installed),
    ))
}

/// The directory with `initdb` and `postgres`: on the `PATH`, or the newest of Debian's.
pub fn postgres_programs() -> Option<PathBuf> {
    let complete = |directory: &PathBuf| ["initdb", "postgres"].iter().all(|name| directory.join(name).is_file());
    let mut versions: Vec<(u32, PathBuf)> = children("/usr/lib/postgresql")
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    on_path().chain(versions.into_iter().map(|(_, bin)| bin)).find(complete)
}

/// The directory with `rabbitmq-server` and `rabbitmqctl`.
pub fn rabbitmq_programs() -> Option<PathBuf> {
    let complete =
        |directory: &PathBuf| directory.join("rabbitmq-server").exists() && directory.join("rabbitmqctl").exists();
    let mut versions: Vec<PathBuf> = children("/usr/lib/rabbitmq/lib")
        .map(|path| path.join("sbin"))
        .collect();
    versions.sort();
    // Debian's /usr/sbin/rabbitmq-server is a wrapper that insists on the system's user and
    // directories.
    let elsewhere = on_path().filter(|path| path != Path::new("/usr/sbin") && path != Path::new("/sbin"));
    std::iter::once(PathBuf::from("/usr/lib/rabbitmq/bin"))
        .chain(versions.into_iter().rev())
        .chain(elsewhere)
        .find(complete)
}

/// The directory with `prometheus` and `promtool`; installs them if they are missing and this
/// machine allows it.
pub fn prometheus_programs() -> Result<PathBuf, String> {
    let look = || {
        on_path().find(|directory| {
            ["prometheus", "promtool"]
                .iter()
                .all(|name| directory.join(name).is_file())
        })
    };
    if let Some(found) = look() {
        return Ok(found);
    }
    package("prometheus")?;
    look().ok_or_else(|| format!("testkit: prometheus is still missing: {ADVICE}"))
}

/// The program `pgbouncer`; installs it if it is missing and this machine allows it.
pub fn pgbouncer_program() -> Result<PathBuf, String> {
    let look = || {
        let directories = on_path().chain([PathBuf::from("/usr/sbin")]);
        let mut programs = directories.map(|directory| directory.join("pgbouncer"));
        programs.find(|program| program.is_file())
    };
    if let Some(found) = look() {
        return Ok(found);
    }
    package("pgbouncer")?;
    look().ok_or_else(|| format!("testkit: pgbouncer is still missing: {ADVICE}"))
}

pub(crate) fn on_path() -> impl Iterator<Item = PathBuf> {
    std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
}

fn children(directory: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

/// Installs one more package, if this machine allows it.
pub fn package(name: &str) -> Result<(), String> {
    may_install()?;
    let _lock = lock()?;
    apt_install(&[name])
}

fn may_install() -> Result<(), String> {
    // SAFETY: `geteuid` only answers.
    let root = unsafe { libc::geteuid() } == 0;
    let allowed = root && Path::new("/usr/bin/apt-get").exists();
    allowed
        .then_some(())
        .ok_or_else(|| format!("testkit: PostgreSQL, RabbitMQ, Prometheus, PgBouncer or Chromium is missing: {ADVICE}"))
}

/// Held while packages are installed, so that two test processes do not do it at once.
fn lock() -> Result<File, String> {
    let path = std::env::temp_dir().join("testkit-install.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let locked = file.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| format!("testkit: cannot lock {} ({error}): {ADVICE}", path.display()))
}

fn apt_install(packages: &[&str]) -> Result<(), String> {
    let names = packages.join(" and ");
    eprintln!("testkit: {names} missing; installing with apt-get (once, and without starting a system service) …");
    // Debian starts a service and makes a database cluster when these packages are installed.
    // Nobody asked for either.
    let _services = Replaced::with(
        "/usr/sbin/policy-rc.d",
        "#!/bin/sh\n# Written by testkit while it installs packages.\nexit 101\n",
        0o755,
    )?;
    let _cluster = Replaced::with(
        "/etc/postgresql-common/createcluster.d/testkit.conf",
        "create_main_cluster = false\n",
        0o644,
    )?;
    let mut install = vec!["install", "--no-install-recommends", "--yes"];
    install.extend(packages);
    // The lists may be missing or old; a refresh takes longer than the installation, so it comes
    // second.
    let first = apt_get(&install);
    let installed = first.or_else(|_| apt_get(&["update"]).and_then(|()| apt_get(&install)));
    installed.map_err(|error| format!("testkit: cannot install {names} ({error}): {ADVICE}"))
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.args([
        "--quiet",
        "--option",
        "DPkg::Lock::Timeout=120",
        "--option",
        "Dpkg::Options::=--force-confold",
    ]);
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("apt-get: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    Err(format!("apt-get {}: {last}", arguments[0]))
}

/// A file that says something else for a while. Dropped, it is as it was.
struct Replaced {
    path: PathBuf,
    /// The former contents and mode; none if there was no file.
    former: Option<(Vec<u8>, fs::Permissions)>,
    /// Whether its directory had to be made.
    directory: Option<PathBuf>,
}

impl Replaced {
    fn with(path: &str, text: &str, mode: u32) -> Result<Self, String> {
        use std::os::unix::fs::PermissionsExt;
        let path = PathBuf::from(path);
        let failed = |error: std::io::Error| format!("testkit: cannot write {} ({error}): {ADVICE}", path.display());
        let former = fs::metadata(&path)
            .ok()
            .and_then(|found| Some((fs::read(&path).ok()?, found.permissions())));
        let parent = path.parent().unwrap_or(Path::new("/"));
        let directory = (!parent.exists()).then(|| parent.to_owned());
        fs::create_dir_all(parent).map_err(failed)?;
        fs::write(&path, text).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Self {
            path,
            former,
            directory,
        })
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        match &self.former {
            Some((contents, permissions)) => {
                let _ = fs::write(&self.path, contents);
                let _ = fs::set_permissions(&self.path, permissions.clone());
            }
            None => {
                let _ = fs::remove_file(&self.path);
            }
        }
        if let Some(directory) = &self.directory {
            // Only if it is empty, that is, if no package filled it meanwhile.
            let _ = fs::remove_dir(directory);
        }
    }
}
