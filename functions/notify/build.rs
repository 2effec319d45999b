//! Compresses the files of the console (`console/`), which the function holds as they are sent.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The files that are served, by extension. The others in the folder are about it.
const SERVED: [&str; 4] = ["css", "html", "js", "svg"];

fn main() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "cargo::rerun-if-changed=console")?;
    let folder = Path::new("console");
    let target = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| SERVED.contains(&extension)) {
            names.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    let mut table = format!("static FILES: [File; {}] = [\n", names.len());
    for name in &names {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&fs::read(folder.join(name))?)?;
        fs::write(target.join(format!("{name}.gz")), encoder.finish()?)?;
        let line = writeln!(
            table,
            "    File {{ name: {name:?}, gzip: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.gz\")) }},"
        );
        line.map_err(io::Error::other)?;
    }
    table.push_str("];\n");
    fs::write(target.join("console.rs"), table)
}
