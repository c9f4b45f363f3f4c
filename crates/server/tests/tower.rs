//! The program `rillpay-server tower`. What a watchtower does for nodes is tested with them, in `crates/node`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Killed when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &std::path::Path) -> (Program, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_rillpay-server"))
        .args(["tower", "--config"])
        .arg(folder.join("tower.toml"))
        .env_remove("RILLPAY_SEED_WORDS")
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut program = Program(child);
    let mut line = String::new();
    BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (program, line.trim().to_owned())
}

#[test]
fn the_program_says_its_name_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = "listen = \"127.0.0.1:0\"\nnetwork = \"regtest\"\ndata_dir = \"data\"\n\
                [chain]\nbackend = \"kernel\"\n[clients]\nanybody = true\n";
    std::fs::write(folder.path().join("tower.toml"), text).unwrap();
    let (program, name) = start(folder.path());
    let (key, address) = name.split_once('@').unwrap();
    std::net::TcpStream::connect(address).unwrap();
    for file in ["tower.sqlite", "seed.words"] {
        let metadata = std::fs::metadata(folder.path().join("data").join(file)).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, 0o600, "{file}");
    }
    drop(program);
    let (_program, again) = start(folder.path());
    assert_eq!(again.split_once('@').unwrap().0, key);
}
