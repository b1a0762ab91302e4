//! Writing several files into a directory so that a reader finds the old ones or the new ones, whole.
//!
//! Everything is written under a temporary directory inside the target and synced; only then is each file renamed into
//! place. A disk that fills up, or a process that dies while writing, leaves what was there before.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Files on their way into a directory.
pub struct Staged {
    target: PathBuf,
    staging: PathBuf,
    names: Vec<String>,
}

impl Staged {
    /// Begin writing into `target`, which is made if it is not there.
    pub fn begin(target: &Path) -> Result<Self> {
        if target.exists() && !target.is_dir() {
            return Err(Error::Value(format!("{}: is a file; give a directory to save into", target.display())));
        }
        let staging = target.join(format!(".warmstart-{}", std::process::id()));
        if staging.exists() {
            fs::remove_dir_all(&staging).map_err(|e| Error::io(&staging, e))?;
        }
        fs::create_dir_all(&staging).map_err(|source| Error::Io { path: target.to_path_buf(), source })?;
        Ok(Self { target: target.to_path_buf(), staging, names: Vec::new() })
    }

    /// Where the staged files lie until [`Staged::commit`].
    pub fn directory(&self) -> &Path {
        &self.staging
    }

    /// Stage a file of these bytes; `name` may have folders.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.reserve(name)?;
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(bytes)
        };
        write().map_err(|e| Error::Io { path, source: e })
    }

    /// A path at which the caller writes the file `name`.
    pub fn reserve(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.staging.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        }
        self.names.push(name.to_string());
        Ok(path)
    }

    /// Sync every staged file, move each into place, then remove `stale` files that an earlier save may have left.
    pub fn commit(self, stale: &[&str]) -> Result<()> {
        for name in &self.names {
            let path = self.staging.join(name);
            File::open(&path).and_then(|file| file.sync_all()).map_err(|e| Error::io(&path, e))?;
        }
        for name in &self.names {
            let to = self.target.join(name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
            }
            fs::rename(self.staging.join(name), &to).map_err(|e| Error::io(&to, e))?;
        }
        for name in stale.iter().filter(|name| !self.names.iter().any(|n| n == *name)) {
            let path = self.target.join(name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&path, e)),
                _ => {}
            }
        }
        // Makes the renames themselves durable; not every file system lets a directory be synced.
        let _ = File::open(&self.target).and_then(|directory| directory.sync_all());
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.staging);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_when_files_are_staged_replaces_old_ones_and_removes_stale_ones()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let target = dir.path().join("save");
        fs::create_dir(&target)?;
        for name in ["a", "stale", "other"] {
            fs::write(target.join(name), "old")?;
        }
        let mut staged = Staged::begin(&target)?;
        staged.write("a", b"new")?;
        staged.write("sub/b", b"new")?;
        assert_eq!(fs::read_to_string(target.join("a"))?, "old");
        staged.commit(&["stale", "a", "never-there"])?;
        assert_eq!(fs::read_to_string(target.join("a"))?, "new");
        assert_eq!(fs::read_to_string(target.join("sub/b"))?, "new");
        assert_eq!(fs::read_to_string(target.join("other"))?, "old");
        assert!(!target.join("stale").exists());
        assert_eq!(fs::read_dir(&target)?.count(), 3);
        Ok(())
    }

    #[test]
    fn drop_when_not_committed_leaves_the_old_files() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("a"), "old")?;
        let mut staged = Staged::begin(dir.path())?;
        staged.write("a", b"new")?;
        drop(staged);
        assert_eq!(fs::read_to_string(dir.path().join("a"))?, "old");
        assert_eq!(fs::read_dir(dir.path())?.count(), 1);
        Ok(())
    }
}
