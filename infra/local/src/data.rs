//! The directory in which a host keeps its data. Its files hold people's names and messages: only their owner reads them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The mode of files: only the owner reads and writes.
const PRIVATE: u32 = 0o600;
/// The mode of a directory that is made here.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another host uses it.
    #[error("another host uses the data in {0}; end it, or choose another directory")]
    InUse(String),
    /// The directory, or a file in it, cannot be made or opened.
    #[error("cannot open {path}")]
    Open {
        /// The path.
        path: String,
        /// The system's error.
        source: io::Error,
    },
}

/// A directory that this process has for itself, until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct DataDir(Arc<Locked>);

#[derive(Debug)]
struct Locked {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing, and locks it.
    ///
    /// # Errors
    /// When another host has locked it, or it cannot be made.
    pub fn open(path: &Path) -> Result<DataDir, Error> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_DIRECTORY)
            .create(path);
        made.map_err(|source| failed(path, source))?;
        let lock_path = path.join("lock");
        let lock = private_file(&lock_path).map_err(|source| failed(&lock_path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(path.display().to_string())),
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path, source)),
        }
        Ok(DataDir(Arc::new(Locked {
            path: path.to_owned(),
            _lock: lock,
        })))
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The path of a file of this name, which now exists and only its owner reads.
    pub(crate) fn private(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.0.path.join(name);
        private_file(&path).map_err(|source| failed(&path, source))?;
        Ok(path)
    }

    /// Makes the present files that begin with this name private: an earlier version did not.
    pub(crate) fn make_private(&self, prefix: &str) -> Result<(), Error> {
        let refused = |source| failed(&self.0.path, source);
        for entry in fs::read_dir(&self.0.path).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let path = entry.path();
                let changed = fs::set_permissions(&path, Permissions::from_mode(PRIVATE));
                changed.map_err(|source| failed(&path, source))?;
            }
        }
        Ok(())
    }
}

/// Opens a file for reading and appending. It is made if it is missing, and only its owner may read it.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(PRIVATE)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(PRIVATE))?;
    Ok(file)
}

/// Writes a file that only its owner reads, such as one with a secret. Nothing is ever readable by others: the file is
/// made anew and then takes the place of an old one.
///
/// # Errors
/// When the file cannot be written.
pub fn write_private(path: &Path, contents: &str) -> io::Result<()> {
    // A terminal or a pipe is written to; the target of a link is replaced, not the link.
    let target = match path.canonicalize() {
        Ok(target) if !target.is_file() => return fs::write(path, contents),
        Ok(target) => target,
        Err(_) => path.to_owned(),
    };
    let path = target.as_path();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = private_file(&beside).and_then(|mut file| {
        io::Write::write_all(&mut file, contents.as_bytes())?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Open {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A directory that is deleted when it is dropped.
    pub(crate) struct Temporary(pub(crate) PathBuf);

    impl Temporary {
        pub(crate) fn new() -> Temporary {
            Temporary(std::env::temp_dir().join(format!("herald-{}", uuid::Uuid::new_v4().simple())))
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn two_hosts_never_share_a_directory() {
        let place = Temporary::new();
        let first = DataDir::open(&place.0).unwrap();
        assert!(matches!(DataDir::open(&place.0), Err(Error::InUse(_))));
        drop(first);
        DataDir::open(&place.0).unwrap();
    }

    #[test]
    fn only_the_owner_reads_the_files() {
        let place = Temporary::new();
        let data = DataDir::open(&place.0).unwrap();
        let file = data.private("a.sqlite").unwrap();
        assert_eq!((mode(&place.0), mode(&file)), (PRIVATE_DIRECTORY, PRIVATE));
        for old in ["a.sqlite", "a.sqlite-wal"] {
            let old = place.0.join(old);
            fs::write(&old, "old").unwrap();
            fs::set_permissions(&old, Permissions::from_mode(0o644)).unwrap();
        }
        data.make_private("a.sqlite").unwrap();
        assert_eq!(
            (mode(&file), mode(&place.0.join("a.sqlite-wal"))),
            (PRIVATE, PRIVATE)
        );
    }

    #[test]
    fn a_file_with_a_secret_replaces_a_readable_one() {
        let place = Temporary::new();
        fs::create_dir(&place.0).unwrap();
        let path = place.0.join("herald.env");
        fs::write(&path, "old and longer").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write_private(&path, "new").unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode(&path)),
            ("new", PRIVATE)
        );
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 1);
    }
}
