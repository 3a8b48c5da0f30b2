//! A directory of our own under the system's temporary directory, and the guard that clears up
//! after this process.
//!
//! Statics are never dropped and a killed process drops nothing, so clearing up cannot be left to
//! destructors. The guard is a small shell in a session of its own that waits for a pipe to close.
//! Only this process holds the other end, so it closes however this process ends.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use rand::Rng;

/// Set in every process that is started in a [`Directory`]: how the guard knows what is ours to
/// end.
pub const MARKER: &str = "TESTKIT_DIRECTORY";

/// A Unix socket's path may have 107 bytes; below this length there is room for every name we put
/// behind it.
const LONGEST_PARENT: usize = 60;

/// A private directory. Whatever was started in it ends, and the directory goes, when this value is
/// dropped or closed, or when this process ends in any way.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    guard: Mutex<Option<Child>>,
}

impl Directory {
    /// Makes the directory and starts its guard.
    pub fn create() -> Self {
        // A fixed length, so that no directory's name is the beginning of another's.
        let path = parent().join(format!("testkit-{}", random_hex(8)));
        // The guard comes first: from the moment the directory exists, somebody clears it up.
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(include_str!("guard.sh"))
            .arg("testkit-guard")
            .arg(&path)
            .env_remove(MARKER)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: `setsid` is async-signal-safe and touches no memory of this process.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
        let guard = command.spawn().expect("start the guard (sh)");
        fs::create_dir(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set permissions");
        Self {
            path,
            guard: Mutex::new(Some(guard)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command whose process belongs to this directory: marked for the guard, working here, in a
    /// process group of its own so that a Ctrl-C in the terminal is not also sent to it, and with
    /// nothing on its standard input.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env(MARKER, &self.path)
            .current_dir(&self.path)
            .process_group(0)
            .stdin(Stdio::null());
        command
    }

    /// Notes a container for the guard to remove.
    pub(crate) fn own_container(&self, id: &str) {
        use std::io::Write;
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path.join("containers"))
            .expect("open containers");
        writeln!(file, "{id}").expect("note the container");
    }

    /// Ends everything that was started here, removes the directory, and returns when that is done.
    pub fn close(&self) {
        let guard = self
            .guard
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(mut guard) = guard {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.close();
    }
}

/// The system's temporary directory, or `/tmp` when that is too deep for a socket or closed to the
/// database's user.
fn parent() -> PathBuf {
    let usual = std::env::temp_dir();
    let usual = usual.canonicalize().unwrap_or(usual);
    let open_to_all = usual
        .ancestors()
        .all(|part| fs::metadata(part).is_ok_and(|found| found.mode() & 0o001 != 0));
    if usual.as_os_str().len() <= LONGEST_PARENT && open_to_all {
        usual
    } else {
        PathBuf::from("/tmp")
    }
}

/// `digits` random hexadecimal digits.
pub(crate) fn random_hex(digits: usize) -> String {
    let mut rng = rand::rng();
    (0..digits)
        .map(|_| char::from(b"0123456789abcdef"[rng.random_range(0..16)]))
        .collect()
}
