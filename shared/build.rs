//! Cargo sees changes inside a migration by itself, but not that one was added.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../migrations");
}
