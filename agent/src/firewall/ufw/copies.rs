//! Copies of ufw's files, kept on disk while ufw is called: ufw writes them in place, and one that was
//! broken off in a write leaves half of a file, which neither it nor the agent can read from then on.
//! It never puts back a file that is whole, whoever wrote it.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::UfwError;
use super::files::{UfwPlace, is_broken_off};
use crate::state_dir::StateDir;

/// The file in the state directory.
const FILE: &str = "ufw-files.json";

/// What the agent writes beside a file of ufw's before it takes its place.
const DRAFT: &str = "hidps-new";

/// Where copies are kept, and what they are copies of.
#[derive(Debug)]
pub(super) struct Copies {
    directory: PathBuf,
    place: UfwPlace,
}

impl Copies {
    pub(super) fn new(state_dir: &Path, place: UfwPlace) -> Self {
        Self {
            directory: state_dir.to_owned(),
            place,
        }
    }

    /// Keeps the files as they are now, unless copies are kept already.
    pub(super) fn ensure(&self) -> Result<(), UfwError> {
        if self.are_kept() {
            return Ok(());
        }
        let texts: BTreeMap<_, _> = self.place.written().into_iter().filter_map(copy).collect();
        let bytes = serde_json::to_vec(&texts).expect("plain texts are JSON");
        let state = StateDir::open_to_change(&self.directory);
        // An agent that never ran has no directory yet.
        let state = state.or_else(|_| StateDir::open(&self.directory));
        let state = state.map_err(UfwError::State)?;
        state.write(FILE, &bytes).map_err(UfwError::State)
    }

    /// Whether copies are kept, so that a call was begun and not seen to its end.
    pub(super) fn are_kept(&self) -> bool {
        self.directory.join(FILE).exists()
    }

    /// Forgets the copies: what they were kept for is over.
    pub(super) fn forget(&self) -> Result<(), UfwError> {
        let path = self.directory.join(FILE);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(UfwError::Copies { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Puts back the files that are half written since copies were kept, forgets the copies, and names
    /// what was put back.
    pub(super) fn mend(&self) -> Result<Vec<PathBuf>, UfwError> {
        let mut mended = Vec::new();
        for (path, whole) in self.read()? {
            let path = PathBuf::from(path);
            // What is not of ufw is nobody's business, whatever the file says.
            if !self.place.written().contains(&path) {
                continue;
            }
            let Ok(found) = fs::read(&path) else {
                // Whoever removed ufw has removed its files.
                continue;
            };
            if is_broken_off(&whole, &String::from_utf8_lossy(&found)) {
                replace(&path, &whole).map_err(|source| UfwError::Mend {
                    path: path.clone(),
                    source,
                })?;
                mended.push(path);
            }
        }
        self.forget()?;
        Ok(mended)
    }

    fn read(&self) -> Result<BTreeMap<String, String>, UfwError> {
        if !self.are_kept() {
            return Ok(BTreeMap::new());
        }
        let state = StateDir::open_to_change(&self.directory).map_err(UfwError::State)?;
        let bytes = state.read(FILE).map_err(UfwError::State)?;
        // Copies that make no sense are none; what they were of is judged as it is.
        Ok(serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or_default())
    }
}

/// A file's name and text; none where it is absent or no text.
fn copy(path: PathBuf) -> Option<(String, String)> {
    let text = fs::read_to_string(&path).ok()?;
    Some((path.to_str()?.to_owned(), text))
}

/// Puts a text in the place of a file, whole or not at all, with the owner and mode it had.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{DRAFT}"));
    let draft = PathBuf::from(name);
    // One of a run that was broken off is in the way.
    fs::remove_file(&draft).ok();
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| std::os::unix::fs::fchown(&file, Some(metadata.uid()), Some(metadata.gid())))
        .and_then(|()| file.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        fs::remove_file(&draft).ok();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "*filter\n### RULES ###\n\n### END RULES ###\nCOMMIT\n";
    const DEFAULTS: &str = "# comment\nIPV6=yes\nDEFAULT_INPUT_POLICY=\"DROP\"\nIPT_MODULES=\"\"\n";

    /// A host with ufw's files, and copies of them.
    fn kept() -> (tempfile::TempDir, Copies, [PathBuf; 4]) {
        let root = tempfile::tempdir().unwrap();
        let place = UfwPlace::below(root.path());
        fs::create_dir_all(root.path().join("etc/ufw")).unwrap();
        fs::create_dir_all(root.path().join("etc/default")).unwrap();
        let files = place.written();
        for (path, text) in files.iter().zip(["ENABLED=yes\n", DEFAULTS, RULES, RULES]) {
            fs::write(path, text).unwrap();
        }
        let state = root.path().join("state");
        StateDir::open(&state).unwrap();
        let copies = Copies::new(&state, place);
        copies.ensure().unwrap();
        (root, copies, files)
    }

    #[test]
    fn a_file_is_put_back_wherever_its_write_was_broken_off() {
        let (_root, copies, files) = kept();
        fs::set_permissions(&files[2], Permissions::from_mode(0o640)).unwrap();
        let longer = RULES.replace("\n\n", "\n### tuple ### allow any 22\n\n");
        let changed = DEFAULTS.replace("DROP", "REJECT");
        for (at, of) in [(2, longer.as_str()), (1, changed.as_str())] {
            let whole = fs::read_to_string(&files[at]).unwrap();
            // What ends in the last line's end may be whole.
            for length in 0..of.len() - 1 {
                copies.ensure().unwrap();
                let half = of.get(..length).unwrap();
                fs::write(&files[at], half).unwrap();
                let is_half = at == 1 || !half.trim_end().ends_with("COMMIT");

                let mended = copies.mend().unwrap();

                assert_eq!(mended.len(), usize::from(is_half), "{length} of {of:?}");
                if is_half {
                    assert_eq!(fs::read_to_string(&files[at]).unwrap(), whole);
                }
                fs::write(&files[at], &whole).unwrap();
            }
        }
        let mode = fs::metadata(&files[2]).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o640);
    }

    #[test]
    fn what_somebody_changed_meanwhile_stays() {
        let (_root, copies, files) = kept();
        let added = RULES.replace("\n\n", "\n### tuple ### allow any 22\n\n");
        fs::write(&files[2], &added).unwrap();
        let shorter = DEFAULTS.replace("IPV6=yes\n", "");
        fs::write(&files[1], &shorter).unwrap();

        assert_eq!(copies.mend().unwrap(), Vec::<PathBuf>::new());

        assert_eq!(fs::read_to_string(&files[2]).unwrap(), added);
        assert_eq!(fs::read_to_string(&files[1]).unwrap(), shorter);
    }

    #[test]
    fn copies_are_good_for_one_time_and_never_for_other_files() {
        let (root, copies, files) = kept();
        copies.forget().unwrap();
        fs::write(&files[2], "").unwrap();

        assert_eq!(copies.mend().unwrap(), Vec::<PathBuf>::new(), "too late");

        let foreign = root.path().join("foreign");
        fs::write(&foreign, "").unwrap();
        let forged = BTreeMap::from([(foreign.to_str().unwrap(), RULES)]);
        let state = StateDir::open(&root.path().join("state")).unwrap();
        let forged = serde_json::to_vec(&forged).unwrap();
        for odd in [forged.as_slice(), b"", b"[", b"{\"a\":1}"] {
            state.write(FILE, odd).unwrap();
            assert_eq!(copies.mend().unwrap(), Vec::<PathBuf>::new());
        }
        assert_eq!(fs::read_to_string(&foreign).unwrap(), "");
    }
}
