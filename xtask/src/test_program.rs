//! Test programs that are run by themselves: as children of ours, not of cargo's, a signal can be
//! passed on to them.
//!
//! Cargo builds them and tells in its messages where they are; [`crate::vm`] reads the same
//! messages.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::{capture, cargo, workspace_root};

/// An executable and the name it goes by.
#[derive(Debug, PartialEq)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Builds a test program of `crates/sim`, optimised, and returns where it is.
pub(crate) fn of_sim(test: &str) -> Result<PathBuf> {
    let mut command = cargo();
    command.current_dir(workspace_root()?).args(["test", "--release", "--no-run"]);
    command.args(["-p", "faultless-sim", "--test", test]);
    let programs = executables(&capture(command.arg("--message-format=json-render-diagnostics"))?);
    ensure!(programs.len() == 1, "cargo built {} programs for {test}", programs.len());
    let program = programs.into_iter().next().context("cargo built no program")?;
    Ok(program.path)
}

/// Reads cargo's JSON lines for the executables of this workspace.
pub(crate) fn executables(messages: &str) -> Vec<Program> {
    let mut programs: Vec<Program> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| executable_of(&message))
        .collect();
    // Two packages may both have a test of one name; files in one directory may not.
    for i in 1..programs.len() {
        if programs[..i].iter().any(|earlier| earlier.name == programs[i].name) {
            programs[i].name.push_str(&format!("-{i}"));
        }
    }
    programs
}

fn executable_of(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let path = PathBuf::from(message["executable"].as_str()?);
    let target = message["target"]["name"].as_str()?;
    let is_unit_test = message["profile"]["test"] == true && message["target"]["kind"][0] != "test";
    let name = if is_unit_test { format!("{target}-unit") } else { target.to_owned() };
    Some(Program { name, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str, kind: &str, test: bool, executable: &str) -> String {
        serde_json::json!({
            "reason": "compiler-artifact",
            "target": { "name": name, "kind": [kind] },
            "profile": { "test": test },
            "executable": executable,
        })
        .to_string()
    }

    #[test]
    fn executables_are_named_after_their_target_and_told_apart() {
        let messages = [
            artifact("faultless", "bin", false, "/t/faultless"),
            artifact("uffd", "lib", true, "/t/uffd-1"),
            artifact("attach", "test", true, "/t/attach-1"),
            artifact("attach", "test", true, "/t/attach-2"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ]
        .join("\n");
        let names: Vec<String> =
            executables(&messages).into_iter().map(|program| program.name).collect();
        assert_eq!(names, ["faultless", "uffd-unit", "attach", "attach-3"]);
    }
}
