//! Embeds the SQL of the dashboard's tiles, so that a new tile is a file and no code: `tiles.rs` is
//! a list of their names and texts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/dashboards/tiles");
    let mut list = String::from("[");
    for path in tiles(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboards/tiles"))? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = path.to_string_lossy();
        let _ = write!(list, "({name:?}, include_str!({path:?})), ");
    }
    list.push(']');
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("tiles.rs"), list)
}

/// The files, sorted. There are none where only the manifests were copied, to build the dependencies.
fn tiles(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "hogql"));
    paths.sort();
    Ok(paths)
}
