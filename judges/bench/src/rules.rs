//! The rules under test: the community's, ours, and multiplied ones where more are wanted.
//! It never writes a file, and never copies a rule into the repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::stream::Dice;

/// The texts of rules.
pub type Texts = Vec<String>;

/// The folder of community rules, if there is one.
pub fn find_community() -> Option<PathBuf> {
    let given = std::env::var_os("HIDPS_SIGMA_RULES").map(PathBuf::from);
    let default = repository().join("../shared/data/sigma");
    Some(given.unwrap_or(default)).filter(|folder| folder.is_dir())
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Every rule below a folder, in the order of paths; tests beside rules are none.
pub fn read(folder: &Path) -> io::Result<Texts> {
    let mut paths = Vec::new();
    list(folder, &mut paths)?;
    paths.sort();
    paths.iter().map(fs::read_to_string).collect()
}

/// Lists rule files.
fn list(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if path.is_dir() {
            list(&path, found)?;
        } else if name.ends_with(".yml") && !name.ends_with(".test.yml") {
            found.push(path);
        }
    }
    Ok(())
}

/// `count` rules: those given, then copies of them whose literals are other words.
pub fn multiply(texts: &Texts, count: usize) -> Texts {
    let mut all: Texts = texts.iter().take(count).cloned().collect();
    let mut dice = Dice(7);
    let mut copy = 0;
    while all.len() < count && !texts.is_empty() {
        let text = &texts[copy % texts.len()];
        copy += 1;
        all.push(vary(text, copy, &mut dice));
    }
    all
}

/// A rule of another id whose quoted and listed words are changed.
fn vary(text: &str, copy: usize, dice: &mut Dice) -> String {
    let mut varied = String::with_capacity(text.len());
    let mut in_detection = false;
    for line in text.lines() {
        if !line.starts_with([' ', '#', '-']) {
            in_detection = line.starts_with("detection:");
        }
        let trimmed = line.trim_start();
        if line.starts_with("id:") {
            varied.push_str(&format!("id: 00000000-0000-4000-8000-{copy:012}"));
        } else if line.starts_with("title:") {
            varied.push_str(&format!("{line} {copy}"));
        } else if line.starts_with("name:") {
            varied.push_str(&format!("{line}_{copy}"));
        } else if in_detection && trimmed.starts_with("- ") && !trimmed.contains(": ") {
            varied.push_str(&vary_words(line, dice));
        } else if let Some((key, value)) = line
            .split_once(": ")
            .filter(|(key, _)| in_detection && key.trim() != "condition")
        {
            varied.push_str(key);
            varied.push_str(": ");
            varied.push_str(&vary_words(value, dice));
        } else {
            varied.push_str(line);
        }
        varied.push('\n');
    }
    varied
}

/// Changes two letters of every word of at least four.
fn vary_words(text: &str, dice: &mut Dice) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut start = 0;
    while start < bytes.len() {
        let length = bytes[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_lowercase())
            .count();
        if length >= 4 {
            for _ in 0..2 {
                let at = start + dice.below(length);
                bytes[at] = b"abcdefghijklmnopqrstuvwxyz"[dice.below(26)];
            }
        }
        start += length.max(1);
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// The same rules for every event: category and service struck out.
pub fn unroute(texts: &Texts) -> Texts {
    let unroute_one = |text: &String| {
        let mut kept = String::with_capacity(text.len());
        let mut in_source = false;
        for line in text.lines() {
            if !line.starts_with(' ') {
                in_source = line.starts_with("logsource:");
            }
            let trimmed = line.trim_start();
            let is_part = ["category:", "service:", "product:"]
                .iter()
                .any(|part| trimmed.starts_with(part));
            if in_source && is_part {
                continue;
            }
            kept.push_str(line);
            kept.push('\n');
            if line.starts_with("logsource:") {
                kept.push_str("    product: linux\n");
            }
        }
        kept
    };
    texts.iter().map(unroute_one).collect()
}
