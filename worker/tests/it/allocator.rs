//! The allocator finds its setting by the name of a symbol. Nothing else would notice a mistake in
//! that name.

use std::process::Command;

#[test]
fn the_allocator_has_read_its_setting() {
    let output = Command::new(env!("CARGO_BIN_EXE_worker"))
        .arg("--version")
        .env("_RJEM_MALLOC_CONF", "confirm_conf:true")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Set conf value: narenas:1"), "{said}");
}
