//! Copies of ufw's files, kept on disk while ufw is called: ufw writes them in place, and one that was
//! broken off in a write leaves half of a file, which neither it nor the agent can read from then on.
//! It never puts back a file that is whole, whoever wrote it.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::UfwError;
use super::files::{UfwPlace, is_broken_off, read_bytes};
use super::kept::KeptFiles;
use super::lock::UfwLock;

/// The file beside ufw's own.
const FILE: &str = "hidps-copies.json";

/// What the agent writes beside a file of ufw's before it takes its place.
const DRAFT: &str = "hidps-new";

/// Where copies are kept, and what they are copies of.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    kept: KeptFiles,
    place: UfwPlace,
}

impl Copies {
    pub(super) const fn new(kept: KeptFiles, place: UfwPlace) -> Self {
        Self { kept, place }
    }

    /// Keeps the files as they are now, unless copies are kept already.
    pub(super) fn ensure(&self) -> Result<(), UfwError> {
        if self.are_kept()? {
            return Ok(());
        }
        let mut contents = BTreeMap::new();
        for path in self.place.written() {
            match read_bytes(&path) {
                Ok(content) => contents.insert(name_of(&path), BASE64.encode(content)),
                Err(error) if error.is_absence() => continue,
                // Without its copy nobody could put it back.
                Err(error) => return Err(error),
            };
        }
        let bytes = serde_json::to_vec(&contents).expect("plain texts are JSON");
        self.kept.write(FILE, &bytes)
    }

    /// Whether copies are kept, so that a call was begun and not seen to its end.
    pub(super) fn are_kept(&self) -> Result<bool, UfwError> {
        self.kept.has(FILE)
    }

    /// Forgets the copies: what they were kept for is over.
    pub(super) fn forget(&self) -> Result<(), UfwError> {
        self.kept.remove(FILE)
    }

    /// Puts back the files that are half written since copies were kept, forgets the copies, and names
    /// what was put back. Nobody else may write meanwhile, as the lock shows. As long as one of the files
    /// cannot be looked at, the copies stay.
    pub(super) fn mend(&self, _lock: &UfwLock) -> Result<Vec<PathBuf>, UfwError> {
        let mut mended = Vec::new();
        let files = self.place.written();
        let copies = self.read()?;
        // What is not of ufw is nobody's business, whatever the copies say.
        for path in files {
            let Some(whole) = copies.get(&name_of(&path)) else {
                continue;
            };
            let found = match read_bytes(&path) {
                Ok(found) => found,
                // Whoever removed ufw has removed its files.
                Err(error) if error.is_absence() => continue,
                Err(error) => return Err(error),
            };
            let [then, now] = [whole, &found].map(|it| String::from_utf8_lossy(it));
            if is_broken_off(&then, &now) {
                replace(&path, whole).map_err(|source| UfwError::Mend {
                    path: path.clone(),
                    source,
                })?;
                let shown = path.display();
                tracing::warn!(path = %shown, "a call of ufw was broken off; its half-written file is put back");
                mended.push(path);
            }
        }
        self.clear_drafts();
        self.forget()?;
        Ok(mended)
    }

    /// Removes what a run that was broken off has left beside ufw's files.
    fn clear_drafts(&self) {
        for path in self.place.written() {
            fs::remove_file(draft_of(&path)).ok();
        }
    }

    fn read(&self) -> Result<BTreeMap<String, Vec<u8>>, UfwError> {
        let bytes = self.kept.read(FILE)?.unwrap_or_default();
        // Copies that make no sense are none; what they were of is judged as it is.
        let texts: BTreeMap<String, String> = serde_json::from_slice(&bytes).unwrap_or_default();
        let contents = texts.into_iter().filter_map(|(name, text)| {
            let content = BASE64.decode(text).ok()?;
            Some((name, content))
        });
        Ok(contents.collect())
    }
}

/// What a file is called among the copies.
fn name_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What is written beside a file before it takes its place.
fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{DRAFT}"));
    PathBuf::from(name)
}

/// Puts a content in the place of a file, whole or not at all, with the owner and mode it had.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let draft = draft_of(path);
    // One of a run that was broken off is in the way.
    fs::remove_file(&draft).ok();
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let written = file
        .write_all(content)
        .and_then(|()| give(&file, &metadata))
        .and_then(|()| file.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        fs::remove_file(&draft).ok();
    }
    written
}

/// Gives a file to the owner of another one. The agent's unit allows no giving away, which takes
/// nothing from it: ufw's files are root's.
fn give(file: &File, like: &Metadata) -> io::Result<()> {
    let is = file.metadata()?;
    if (is.uid(), is.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(like.uid()), Some(like.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "*filter\n### RULES ###\n\n### END RULES ###\nCOMMIT\n";
    const DEFAULTS: &str = "# comment\nIPV6=yes\nDEFAULT_INPUT_POLICY=\"DROP\"\nIPT_MODULES=\"\"\n";

    /// Puts back what is half written, as ufw's lock lets it.
    fn mend(copies: &Copies) -> Vec<PathBuf> {
        copies.mend(&UfwLock::unheld()).unwrap()
    }

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
        let copies = Copies::new(KeptFiles::of(&place), place);
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
                // Lines that are missing without a half one may be what a person wanted.
                let is_half = match at {
                    1 => half.is_empty() || !half.ends_with('\n'),
                    _ => !half.trim_end().ends_with("COMMIT"),
                };

                let mended = mend(&copies);

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
    fn last_lines_that_somebody_took_out_stay_out() {
        let (_root, copies, files) = kept();
        let lines: Vec<_> = DEFAULTS.split_inclusive('\n').collect();
        for n_left in 1..lines.len() {
            copies.ensure().unwrap();
            let shorter = lines[..n_left].concat();
            fs::write(&files[1], &shorter).unwrap();

            assert_eq!(mend(&copies), Vec::<PathBuf>::new(), "{shorter:?}");

            assert_eq!(fs::read_to_string(&files[1]).unwrap(), shorter);
            fs::write(&files[1], DEFAULTS).unwrap();
        }
    }

    #[test]
    fn a_draft_that_was_left_behind_is_removed() {
        let (root, copies, files) = kept();
        fs::write(draft_of(&files[2]), "half").unwrap();

        mend(&copies);

        let left = fs::read_dir(root.path().join("etc/ufw")).unwrap().count();
        assert_eq!(left, 3, "ufw's own files alone");
    }

    #[test]
    fn copies_that_somebody_else_could_have_made_put_nothing_back() {
        let (root, copies, files) = kept();
        fs::write(&files[1], "IPV6=y").unwrap();
        let forged = DEFAULTS.to_owned() + "$(id)\n";
        let forged = BTreeMap::from([(files[1].to_str().unwrap(), BASE64.encode(forged))]);
        let path = root.path().join("etc/ufw").join(FILE);
        fs::write(&path, serde_json::to_vec(&forged).unwrap()).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();

        assert!(copies.mend(&UfwLock::unheld()).is_err());

        assert_eq!(fs::read_to_string(&files[1]).unwrap(), "IPV6=y");
    }

    #[test]
    fn a_file_that_is_no_text_of_today_is_put_back_byte_for_byte() {
        let (_root, copies, files) = kept();
        copies.forget().unwrap();
        // A comment as it was written twenty years ago.
        let old = [b"# f\xfcr alle\n".as_slice(), DEFAULTS.as_bytes()].concat();
        fs::write(&files[1], &old).unwrap();
        copies.ensure().unwrap();
        fs::write(&files[1], &old[..20]).unwrap();

        assert_eq!(mend(&copies), [files[1].clone()]);

        assert_eq!(fs::read(&files[1]).unwrap(), old);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_neither_left_without_a_copy_nor_taken_for_removed() {
        let (_root, copies, files) = kept();
        let in_the_way = |at: usize| {
            fs::remove_file(&files[at]).unwrap();
            // Root reads every file, but no directory as one.
            fs::create_dir(&files[at]).unwrap();
        };
        fs::write(&files[1], "IPV6=y").unwrap();
        in_the_way(3);

        let mending = copies.mend(&UfwLock::unheld());
        let were_kept = copies.are_kept().unwrap();
        copies.forget().unwrap();
        let copying = copies.ensure();

        assert!(matches!(mending, Err(UfwError::Read { .. })), "{mending:?}");
        assert!(were_kept, "the only whole ones");
        assert!(matches!(copying, Err(UfwError::Read { .. })), "{copying:?}");
        assert!(!copies.are_kept().unwrap(), "half of the copies are none");
    }

    #[test]
    fn what_somebody_changed_meanwhile_stays() {
        let (_root, copies, files) = kept();
        let added = RULES.replace("\n\n", "\n### tuple ### allow any 22\n\n");
        fs::write(&files[2], &added).unwrap();
        let shorter = DEFAULTS.replace("IPV6=yes\n", "");
        fs::write(&files[1], &shorter).unwrap();

        assert_eq!(mend(&copies), Vec::<PathBuf>::new());

        assert_eq!(fs::read_to_string(&files[2]).unwrap(), added);
        assert_eq!(fs::read_to_string(&files[1]).unwrap(), shorter);
    }

    #[test]
    fn copies_are_good_for_one_time_and_never_for_other_files() {
        let (root, copies, files) = kept();
        copies.forget().unwrap();
        fs::write(&files[2], "").unwrap();

        assert_eq!(mend(&copies), Vec::<PathBuf>::new(), "too late");

        let foreign = root.path().join("foreign");
        fs::write(&foreign, "").unwrap();
        let forged = BTreeMap::from([(foreign.to_str().unwrap(), BASE64.encode(RULES))]);
        let forged = serde_json::to_vec(&forged).unwrap();
        let no_base64 = BTreeMap::from([(files[2].to_str().unwrap(), RULES)]);
        let no_base64 = serde_json::to_vec(&no_base64).unwrap();
        for odd in [forged.as_slice(), &no_base64, b"", b"[", b"{\"a\":1}"] {
            copies.kept.write(FILE, odd).unwrap();
            assert_eq!(mend(&copies), Vec::<PathBuf>::new());
        }
        assert_eq!(fs::read_to_string(&foreign).unwrap(), "");
    }
}
