//! The function binaries: built by the same cargo, in the same profile and target directory as this program.

use std::{
    env,
    io::{Write, stderr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Why there are no binaries.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Where this program lies says nothing about where cargo builds.
    #[error("{0} does not lie in a cargo target directory")]
    NoTargetDirectory(PathBuf),
    /// The system does not say where this program lies.
    #[error("this program cannot be found")]
    NoProgram(#[source] std::io::Error),
    /// Cargo cannot be run.
    #[error("{cargo} cannot be run")]
    NoCargo {
        /// The command.
        cargo: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Cargo has said why.
    #[error("the functions do not build")]
    Failed,
}

/// Builds the functions of these names and returns the directory in which they lie. Cargo's output is passed through.
///
/// # Errors
/// When cargo cannot be run, or the functions do not build.
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
        // From the root, whose default members are this program and the functions: for the same packages cargo resolves
        // the very features that this program was built with, and compiles nothing twice.
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(["build", "--profile", profile(&directory)])
        .arg("--target-dir")
        .args(directory.parent())
        .stdin(Stdio::null());
    for function in functions {
        command.args(["--bin", function]);
    }
    // What `cargo run` tells this program about itself is not for the build: build scripts that watch these variables
    // would compile anew at each turn between this build and the developer's own.
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

/// `target/debug` of `target/debug/herald-local` and of `target/debug/deps/tests-0123456789abcdef`.
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

/// The profile that cargo builds into a directory of this name.
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
