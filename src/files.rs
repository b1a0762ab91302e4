//! Writing several files into a directory so that a reader finds the old ones or the new ones, whole.
//!
//! Everything is written under a temporary directory inside the target and synced; only then is each file renamed into
//! place. A disk that fills up, or a process that dies while writing, leaves what was there before. `config.json`, with which
//! every reader begins, is (where it is among the files) taken away first and put in place last: a machine that stops
//! between two renames leaves a directory that does not open, never one that mixes two models. What a process that died has
//! left of its temporary directory goes when the next one begins: a file in it is locked for as long as its writer lives.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// Files on their way into a directory.
pub struct Staged {
    target: PathBuf,
    staging: PathBuf,
    names: Vec<String>,
    /// Tells others that the temporary directory is in use.
    lock: Option<File>,
}

impl Staged {
    /// Begin writing into `target`, which is made if it is not there.
    pub fn begin(target: &Path) -> Result<Self> {
        if target.exists() && !target.is_dir() {
            return Err(Error::Value(format!("{}: is a file; give a directory to save into", target.display())));
        }
        fs::create_dir_all(target).map_err(|source| Error::Io { path: target.to_path_buf(), source })?;
        // Nobody removes what is not locked yet.
        let directory = File::open(target).map_err(|e| Error::io(target, e))?;
        if directory.lock().is_ok() {
            remove_abandoned(target);
        }
        let staging = unique_directory(target)?;
        let mut staged = Self { target: target.to_path_buf(), staging, names: Vec::new(), lock: None };
        let path = staged.staging.join(LOCK);
        let lock = File::create(&path).map_err(|e| Error::io(&path, e))?;
        // Not every file system has locks; there, nothing is removed either.
        let _ = lock.lock();
        staged.lock = Some(lock);
        Ok(staged)
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

    /// Stage the files that already lie in a folder of [`Staged::directory`].
    pub fn adopt(&mut self, folder: &str) -> Result<()> {
        let path = self.staging.join(folder);
        for entry in fs::read_dir(&path).map_err(|e| Error::io(&path, e))? {
            let entry = entry.map_err(|e| Error::io(&path, e))?;
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                self.adopt(&name)?;
            } else {
                self.names.push(name);
            }
        }
        Ok(())
    }

    /// Sync every staged file, move each into place, and remove those that an earlier save left and that would be read in
    /// their stead: `stale` names them, given the directory, while no other save changes it.
    pub fn commit(mut self, stale: impl FnOnce(&Path) -> Result<Vec<String>>) -> Result<()> {
        // The mode that a plain new file gets here: some writers make their files private.
        let plain = self.staging.join(".mode");
        let permissions =
            File::create(&plain).and_then(|file| file.metadata()).map_err(|e| Error::io(&plain, e))?.permissions();
        for name in &self.names {
            let (path, to) = (self.staging.join(name), self.target.join(name));
            let sync = || File::open(&path).and_then(|file| file.sync_all());
            fs::set_permissions(&path, permissions.clone()).and_then(|()| sync()).map_err(|e| Error::io(&path, e))?;
            if to.is_dir() {
                return Err(Error::Value(format!("{}: is a directory where a file must be written", to.display())));
            }
        }
        // One save at a time; released when the handle is dropped.
        let directory = File::open(&self.target).map_err(|e| Error::io(&self.target, e))?;
        let _ = directory.lock();
        self.names.sort_by_key(|name| name == FIRST_READ);
        let stale = stale(&self.target)?;
        if self.names.last().is_some_and(|name| name == FIRST_READ) {
            remove(&self.target.join(FIRST_READ))?;
        }
        for name in stale.iter().filter(|name| !self.names.contains(name)) {
            remove(&self.target.join(name))?;
        }
        for name in &self.names {
            let to = self.target.join(name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
            }
            fs::rename(self.staging.join(name), &to).map_err(|e| Error::io(&to, e))?;
        }
        // Makes the renames themselves durable; not every file system lets a directory be synced.
        let _ = directory.sync_all();
        Ok(())
    }
}

/// What the names of temporary directories begin with.
const TEMPORARY: &str = ".warmstart-";
/// The locked file in each.
const LOCK: &str = ".lock";

/// Remove the temporary directories in `target` whose writers have died; what cannot be removed stays.
fn remove_abandoned(target: &Path) {
    for entry in fs::read_dir(target).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let abandoned = match File::open(entry.path().join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(e) => e.kind() == std::io::ErrorKind::NotFound,
        };
        if abandoned {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The file every reader of a model directory opens first.
const FIRST_READ: &str = "config.json";

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, e)),
        _ => Ok(()),
    }
}

/// A new directory inside `target` that no other save uses, in this process or another.
fn unique_directory(target: &Path) -> Result<PathBuf> {
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let save = SAVES.fetch_add(1, Ordering::Relaxed);
    let path = target.join(format!("{TEMPORARY}{}-{save}-{since_epoch:x}", std::process::id()));
    fs::create_dir(&path).map_err(|source| Error::Io { path: target.to_path_buf(), source })?;
    Ok(path)
}

impl Drop for Staged {
    fn drop(&mut self) {
        drop(self.lock.take());
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
        staged.commit(|_| Ok(["stale", "a", "never-there"].map(String::from).to_vec()))?;
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

    #[test]
    fn begin_when_a_writer_has_died_removes_what_it_left_and_nothing_else()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let left = [".warmstart-1-0-1", ".warmstart-1-1-1"].map(|name| dir.path().join(name));
        for path in &left {
            fs::create_dir(path)?;
            fs::write(path.join("a"), "half")?;
        }
        fs::write(left[0].join(LOCK), "")?;
        for name in [".other", "model"] {
            fs::create_dir(dir.path().join(name))?;
        }
        let alive = Staged::begin(dir.path())?;
        assert!(left.iter().all(|path| !path.exists()));
        let other = Staged::begin(dir.path())?;
        assert!(alive.directory().is_dir() && other.directory().is_dir());
        drop((alive, other));
        assert_eq!(fs::read_dir(dir.path())?.count(), 2);
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn commit_when_a_writer_made_its_file_private_gives_all_files_one_mode()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir()?;
        let mut staged = Staged::begin(dir.path())?;
        staged.write("open", b"x")?;
        let path = staged.reserve("private")?;
        fs::write(&path, "x")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        staged.commit(|_| Ok(Vec::new()))?;
        let mode = |name: &str| Ok::<_, std::io::Error>(fs::metadata(dir.path().join(name))?.permissions().mode());
        assert_eq!(mode("open")?, mode("private")?);
        Ok(())
    }

    #[test]
    fn saves_when_they_overlap_leave_one_of_them_whole() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let save = |i: usize| -> Result<()> {
            let mut staged = Staged::begin(dir.path())?;
            for name in ["config.json", "a", "b", "c"] {
                staged.write(name, i.to_string().as_bytes())?;
            }
            staged.commit(|_| Ok(Vec::new()))
        };
        std::thread::scope(|scope| -> Result<()> {
            let saves: Vec<_> = (0..16).map(|i| scope.spawn(move || save(i))).collect();
            saves.into_iter().try_for_each(|save| save.join().unwrap_or_else(|_| Err(Error::Value("panicked".into()))))
        })?;
        let read = |name: &str| fs::read_to_string(dir.path().join(name));
        let first = read("config.json")?;
        assert!(read("a")? == first && read("b")? == first && read("c")? == first);
        assert_eq!(fs::read_dir(dir.path())?.count(), 4);
        Ok(())
    }
}
