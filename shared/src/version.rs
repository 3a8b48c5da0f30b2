//! Which version this is, and of which commit.

/// As `--version` prints it: `0.1.0 (0123456789ab)`. Without the commit where it is not known: in a
/// build for development, and in one from an archive without `BUILD_REVISION`.
pub const VERSION: &str = env!("POSTHOG_EXPORT_VERSION");
