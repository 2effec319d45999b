//! Builds the function binaries, by the same cargo, profile and target directory as this program.

use std::{
    env,
    io::{Write, stderr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Why the binaries cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This program is not in a cargo target directory.
    #[error("{0} is not in a cargo target directory")]
    NoTargetDirectory(PathBuf),
    /// The system does not know the path of this program.
    #[error("the path of this program is unknown")]
    NoProgram(#[source] std::io::Error),
    /// Cargo cannot be started.
    #[error("cannot start {cargo}")]
    NoCargo {
        /// The command, from `CARGO` or `cargo`.
        cargo: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Cargo failed; it has printed the reason.
    #[error("the functions cannot be built")]
    Failed,
}

/// Builds the functions of these names and returns the directory of the binaries. Cargo's output is passed through.
///
/// # Errors
/// When cargo cannot be run, or the functions cannot be built.
pub fn build(functions: &[String]) -> Result<PathBuf, Error> {
    let program = env::current_exe().map_err(Error::NoProgram)?;
    let directory = profile_directory(&program).ok_or_else(|| Error::NoTargetDirectory(program.clone()))?;
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    if !functions.iter().all(|function| directory.join(function).exists()) {
        let names = functions.join(", ");
        // A closed terminal is not an error.
        let _ = writeln!(
            stderr(),
            "herald: building the functions {names}; the first build takes some minutes"
        );
    }
    let mut command = Command::new(&cargo);
    command
        // Run at the root, whose default members are this program and the functions: cargo then resolves the same
        // features for them and compiles nothing twice.
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(["build", "--profile", profile(&directory)])
        .arg("--target-dir")
        .args(directory.parent())
        .stdin(Stdio::null());
    for function in functions {
        command.args(["--bin", function]);
    }
    // The variables that `cargo run` sets for this program are removed: build scripts that watch them would run again at
    // each switch between this build and the developer's own.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "OUT_DIR" {
            command.env_remove(&name);
        }
    }
    let status = command
        .status()
        .map_err(|source| Error::NoCargo { cargo, source })?;
    if status.success() {
        Ok(directory)
    } else {
        Err(Error::Failed)
    }
}

/// The directory `target/debug` of `target/debug/herald-local` and of `target/debug/deps/tests-0123456789abcdef`.
fn profile_directory(program: &Path) -> Option<PathBuf> {
    let directory = program.parent()?;
    let directory = if directory.ends_with("deps") {
        directory.parent()?
    } else {
        directory
    };
    directory.parent()?;
    Some(directory.to_owned())
}

/// The profile of a target directory.
fn profile(directory: &Path) -> &str {
    match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_tests_are_built_beside_the_functions() {
        for program in [
            "/x/target/release/herald-local",
            "/x/target/release/deps/tests-0123456789abcdef",
        ] {
            let directory = profile_directory(Path::new(program)).unwrap();
            assert_eq!(directory, Path::new("/x/target/release"));
            assert_eq!(profile(&directory), "release");
        }
        assert_eq!(profile(Path::new("/x/target/debug")), "dev");
    }
}
