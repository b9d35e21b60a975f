//! The interface for C: a program that is compiled and linked as its users do it.
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Uses every function; without a server, each must say so.
const PROGRAM: &str = r#"
#include "faultless.h"
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    char error[64];
    (void)argc;
    faultless_client *client = faultless_connect(argv[1], (void *)0x10000, 4096, 0,
                                                 error, sizeof error);
    if (client) {
        faultless_prefetch(client, (void *)0x10000, 4096);
        faultless_lost(client);
        faultless_fd(client);
    }
    faultless_disconnect(client);
    if (client || strlen(error) != sizeof error - 1) return 1;
    puts(error);
    return 0;
}
"#;

/// Where cargo puts what it builds: this program lies in a folder below.
fn built() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().and_then(Path::parent).unwrap().to_owned()
}

#[test]
fn a_c_program_links_and_is_told_what_is_wrong() {
    let library = built().join("libfaultless_client.a");
    if Command::new("cc").arg("--version").output().is_err() || !library.exists() {
        println!("skipped: needs a C compiler, and the static library");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("a.c"), directory.path().join("a"));
    std::fs::write(&source, PROGRAM).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let compiled = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(include)
        .arg("-o")
        .args([&program, &source, &library])
        .args(["-lpthread", "-ldl", "-lm"])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let ran = Command::new(&program).arg(directory.path().join("none")).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    // Cut to the room there is.
    assert!(ran.stdout.starts_with(b"the page server cannot be reached"), "{ran:?}");
}
