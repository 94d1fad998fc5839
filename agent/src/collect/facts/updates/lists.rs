//! Which of apt's lists offer updates: those of sources that install by themselves.
//! A list that cannot be read makes the whole answer unknown, never smaller.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Unknown;

/// Most files in apt's folder of lists.
const MAX_FILES: usize = 5_000;

/// Longest head of a source that is looked at.
const MAX_HEAD_BYTES: u64 = 16 * 1024;

/// One list of packages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PackageList {
    path: PathBuf,
    is_compressed: bool,
    /// Whether it comes from a source of security updates.
    pub(super) is_security: bool,
}

impl PackageList {
    /// Opens the list.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read>> {
        let file = File::open(&self.path)?;
        Ok(if self.is_compressed {
            Box::new(lz4_flex::frame::FrameDecoder::new(file))
        } else {
            Box::new(file)
        })
    }
}

/// The lists in a folder.
///
/// # Errors
/// Without any, or with one in a form that is not known.
pub(super) fn find_lists(folder: &Path) -> Result<Vec<PackageList>, Unknown> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .map_err(|_| Unknown::NoLists)?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .take(MAX_FILES)
        .collect();
    names.sort_unstable();
    let mut lists = Vec::new();
    for name in &names {
        let Some((source, form)) = name.rsplit_once("_Packages") else {
            continue;
        };
        if !matches!(form, "" | ".lz4") {
            return Err(Unknown::OddList);
        }
        if installs_by_itself(folder, source) {
            lists.push(PackageList {
                path: folder.join(name),
                is_compressed: form == ".lz4",
                is_security: is_security(source),
            });
        }
    }
    if lists.is_empty() {
        return Err(Unknown::NoLists);
    }
    Ok(lists)
}

/// Backports and experimental ones say that nothing of them is installed without being asked for.
fn installs_by_itself(folder: &Path, source: &str) -> bool {
    let Some((site, rest)) = source.split_once("_dists_") else {
        return true;
    };
    let suite = rest.split('_').next().unwrap_or_default();
    let heads = ["InRelease", "Release"];
    let head = heads
        .iter()
        .find_map(|head| read_head(&folder.join(format!("{site}_dists_{suite}_{head}"))));
    let head = head.unwrap_or_default();
    !head.lines().any(|line| line.trim() == "NotAutomatic: yes")
}

fn read_head(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_HEAD_BYTES).read_to_end(&mut head).ok()?;
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// As Debian and Ubuntu name them: `bookworm-security`, `jammy-security`, or the folder `updates`
/// of older ones on a host of that name.
fn is_security(source: &str) -> bool {
    let suite = source.split_once("_dists_").map_or("", |(_, rest)| rest);
    suite
        .split('_')
        .next()
        .unwrap_or_default()
        .ends_with("-security")
        || source.starts_with("security.debian.org_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    const MAIN: &str = "deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages";

    #[test]
    fn security_is_told_from_the_rest_and_backports_are_left_out() {
        let lists = folder(&[
            (MAIN, ""),
            (
                "deb.debian.org_debian-security_dists_bookworm-security_main_binary-amd64_Packages.lz4",
                "",
            ),
            (
                "deb.debian.org_debian_dists_bookworm-backports_main_binary-amd64_Packages",
                "",
            ),
            (
                "deb.debian.org_debian_dists_bookworm-backports_InRelease",
                "-----BEGIN\n\nOrigin: Debian\nNotAutomatic: yes\nButAutomaticUpgrades: yes\n",
            ),
            ("auxfiles", ""),
        ]);

        let found = find_lists(lists.path()).unwrap();

        let told: Vec<_> = found
            .iter()
            .map(|l| (l.is_security, l.is_compressed))
            .collect();
        assert_eq!(told, [(true, true), (false, false)]);
    }

    #[test]
    fn a_folder_without_lists_or_with_one_that_cannot_be_read_says_nothing() {
        let compressed = format!("{MAIN}.xz");

        let odd = folder(&[(MAIN, ""), (&compressed, "")]);
        let none = folder(&[("auxfiles", "")]);
        assert_eq!(find_lists(none.path()), Err(Unknown::NoLists));
        assert_eq!(find_lists(odd.path()), Err(Unknown::OddList));
        let absent = find_lists(Path::new("/nonexistent"));
        assert_eq!(absent, Err(Unknown::NoLists));
    }
}
