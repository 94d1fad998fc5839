//! Disks that fail at a step, and disks that forget what was not synced when power fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};

use super::super::guarded::GuardedDir;
use super::*;

const OLD: &[u8] = b"the old content";
const NEW: &[u8] = b"the new content, which is longer";

/// The real disk, but for one step that fails; a write that fails has written half.
struct FailingDisk {
    real: GuardedDir,
    /// Steps until the failure.
    left: Cell<usize>,
}

impl FailingDisk {
    fn step(&self) -> io::Result<()> {
        let left = self.left.get();
        self.left.set(left.wrapping_sub(1));
        if left == 0 {
            Err(io::Error::other("the disk fails here"))
        } else {
            Ok(())
        }
    }
}

impl Disk for FailingDisk {
    type File = File;

    fn create(&self, name: &str) -> io::Result<File> {
        self.step()?;
        self.real.create(name)
    }

    fn write(&self, file: &mut File, content: &[u8]) -> io::Result<()> {
        if let Err(error) = self.step() {
            self.real.write(file, &content[..content.len() / 2])?;
            return Err(error);
        }
        self.real.write(file, content)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        self.real.sync(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step()?;
        self.real.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.step()?;
        self.real.sync_directory()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.real.remove(name)
    }
}

#[test]
fn a_failure_at_any_step_leaves_the_old_file_or_the_new_one() {
    let mut n_failures = 0;
    for step in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, OLD).unwrap();
        let real = || GuardedDir::open(directory.path()).unwrap();
        let disk = FailingDisk {
            real: real(),
            left: Cell::new(step),
        };

        let replaced = replace(&disk, "file", NEW);

        let content = fs::read(&file).unwrap();
        if replaced.is_ok() {
            assert_eq!(content, NEW);
            break;
        }
        n_failures += 1;
        assert!(content == OLD || content == NEW, "step {step}");
        let n_files = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(n_files, 1, "no draft is left after step {step}");
        replace(&real(), "file", NEW).unwrap();
        assert_eq!(fs::read(&file).unwrap(), NEW, "it can be tried again");
    }
    assert_eq!(n_failures, 5, "every step has failed once");
}

#[test]
fn a_draft_of_an_earlier_crash_is_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), OLD).unwrap();
    fs::write(directory.path().join("file.new"), "x".repeat(1_000)).unwrap();

    let disk = GuardedDir::open(directory.path()).unwrap();
    replace(&disk, "file", NEW).unwrap();

    assert_eq!(fs::read(directory.path().join("file")).unwrap(), NEW);
}

/// A disk with a cache: what is written or renamed reaches the disk at once, later or never,
/// unless it was synced.
#[derive(Default)]
struct ForgetfulDisk {
    /// Content by number of file: what programs read, and what of it is on the disk.
    files: RefCell<Vec<(Vec<u8>, Vec<u8>)>>,
    /// Names in memory.
    names: RefCell<BTreeMap<String, usize>>,
    /// Names as they may be on the disk if power fails now, each as likely.
    durable: RefCell<Vec<BTreeMap<String, usize>>>,
    /// Every content the file may have had after a power failure at any step so far.
    seen: RefCell<Vec<Option<Vec<u8>>>>,
}

impl ForgetfulDisk {
    fn with_old_file() -> Self {
        let disk = Self::default();
        let names = BTreeMap::from([("file".to_owned(), 0)]);
        disk.files.borrow_mut().push((OLD.to_vec(), OLD.to_vec()));
        disk.durable.borrow_mut().push(names.clone());
        *disk.names.borrow_mut() = names;
        disk
    }

    /// Changes the names in memory; on the disk they are as before or as now.
    fn change_names(&self, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        change(&mut self.names.borrow_mut());
        let names = self.names.borrow().clone();
        self.durable.borrow_mut().push(names);
        self.fail_power();
    }

    /// Notes what a reader might find after a power failure at this moment: of every file all that
    /// was written, or only what was synced.
    fn fail_power(&self) {
        for names in self.durable.borrow().iter() {
            let file = names.get("file");
            let contents = file.map(|file| self.files.borrow()[*file].clone());
            let mut seen = self.seen.borrow_mut();
            seen.push(contents.as_ref().map(|(cached, _)| cached.clone()));
            seen.push(contents.map(|(_, synced)| synced));
        }
    }
}

impl Disk for ForgetfulDisk {
    type File = usize;

    fn create(&self, name: &str) -> io::Result<usize> {
        let number = self.files.borrow().len();
        self.files.borrow_mut().push((Vec::new(), Vec::new()));
        self.change_names(|names| {
            names.insert(name.to_owned(), number);
        });
        Ok(number)
    }

    fn write(&self, file: &mut usize, content: &[u8]) -> io::Result<()> {
        for byte in content {
            self.files.borrow_mut()[*file].0.push(*byte);
            self.fail_power();
        }
        Ok(())
    }

    fn sync(&self, file: &usize) -> io::Result<()> {
        let (cached, synced) = &mut self.files.borrow_mut()[*file];
        synced.clone_from(cached);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change_names(|names| {
            let number = names.remove(from).expect("it is there");
            names.insert(to.to_owned(), number);
        });
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let names = self.names.borrow().clone();
        *self.durable.borrow_mut() = vec![names];
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change_names(|names| {
            names.remove(name);
        });
        Ok(())
    }
}

#[test]
fn power_that_fails_at_any_moment_leaves_the_old_file_or_the_new_one() {
    let disk = ForgetfulDisk::with_old_file();

    replace(&disk, "file", NEW).unwrap();

    let seen = std::mem::take(&mut *disk.seen.borrow_mut());
    assert!(seen.len() > NEW.len());
    for content in seen {
        let content = content.expect("the file is never gone");
        assert!(content == OLD || content == NEW, "{content:?}");
    }
    // Once it is said to be done, only the new one can be found.
    disk.fail_power();
    let after = std::mem::take(&mut *disk.seen.borrow_mut());
    assert!(after.iter().all(|content| content.as_deref() == Some(NEW)));
}
