//! Replays the committed corpora through the fuzz targets, on stable and without a fuzzer.
//! It never adds to them: `cargo +nightly fuzz run` does, and whoever runs it commits what it found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hidps_fuzz::TARGETS;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn list_names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("the entry is read").path())
        .map(|path| {
            path.file_stem()
                .expect("a file has a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn every_target_keeps_its_promises_on_its_corpus() {
    for (name, target) in TARGETS {
        let corpus = directory("corpus").join(name);
        let inputs = fs::read_dir(&corpus).expect("the target has a corpus");

        let mut n_inputs = 0;
        for input in inputs {
            target(&fs::read(input.expect("the entry is read").path()).expect("the input is read"));
            n_inputs += 1;
        }

        assert!(n_inputs >= 3, "{name} has only {n_inputs} inputs");
    }
}

#[test]
fn targets_files_and_corpora_are_the_same_set() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();

    assert_eq!(list_names(&directory("fuzz_targets")), targets);
    assert_eq!(list_names(&directory("corpus")), targets);
}
