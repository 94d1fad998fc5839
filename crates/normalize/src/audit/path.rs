//! Where a path of a record leads to, when the call gave it from where the process stood.
//! It looks at no file: what is a link is not known to it.

/// The path from the root; none where it cannot be known.
pub(super) fn from_root(name: &str, directory: &str, call: &Call<'_>) -> Option<String> {
    let is_relative = !name.is_empty() && !name.starts_with('/');
    if !is_relative || !directory.starts_with('/') || !call.is_from_directory() {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// A call as far as it says from where its paths lead.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) name: &'a str,
    /// Its first four arguments.
    pub(super) arguments: [&'a str; 4],
}

impl Call<'_> {
    /// Whether its paths lead from the process's directory, and not from an open one that a number
    /// names.
    fn is_from_directory(&self) -> bool {
        let directories: &[usize] = match self.name {
            "renameat" | "renameat2" | "linkat" => &[0, 2],
            "symlinkat" => &[1],
            name if name.ends_with("at") || name.ends_with("at2") => &[0],
            _ => &[],
        };
        directories
            .iter()
            .all(|at| matches!(self.arguments[*at], "ffffff9c" | "ffffffffffffff9c"))
    }
}
