//! Which names of flags, variables, headers and keys mean a secret, and which of them may name a file.
//! It judges names and how a value begins; it never keeps either.

/// A name that ends with one of these means a secret, however it goes on before.
const ENDINGS: [&str; 13] = [
    "accesskey",
    "accountkey",
    "apikey",
    "authkey",
    "masterauth",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "passwort",
    "secret",
    "secretkey",
    "token",
];

/// A last part of a name that means a secret.
const LAST_PARTS: [&str; 9] = [
    "authorization",
    "bearer",
    "privatekey",
    "psk",
    "pw",
    "secretid",
    "secretstring",
    "sig",
    "signature",
];

/// A last part of a name that means a secret, or the file that it is in.
const FILE_PARTS: [&str; 5] = ["auth", "cookie", "credential", "credentials", "pwd"];

/// What makes a key a secret when it stands before it.
const KEYS: [&str; 14] = [
    "access",
    "account",
    "api",
    "auth",
    "encryption",
    "functions",
    "license",
    "master",
    "primary",
    "secret",
    "shared",
    "signing",
    "storage",
    "subscription",
];

/// What makes a key a secret, or the file that it is in.
const FILE_KEYS: [&str; 3] = ["certificate", "client", "private"];

/// Secrets by their whole name.
const NAMES: [&str; 3] = ["secret_id", "secret-string", "secret_key_base"];

/// Endings that the lists above would take for secrets.
const HARMLESS: [&str; 6] = [
    "askpass",
    "bypass",
    "compass",
    "set-cookie",
    "no-token",
    "no-pass",
];

/// Schemes of the `Authorization` header; what follows is the secret.
const SCHEMES: [&str; 14] = [
    "apikey",
    "apitoken",
    "basic",
    "bearer",
    "bot",
    "digest",
    "geniekey",
    "key",
    "negotiate",
    "ntlm",
    "oauth",
    "splunk",
    "ssws",
    "token",
];

/// The longest name worth a look.
const MAX_NAME_BYTES: usize = 80;

/// What stands behind a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// Anything else.
    Harmless,
    /// A secret.
    Secret,
    /// A secret, or the path of a file or directory.
    SecretOrPath,
}

impl Meaning {
    /// Whether this value is a secret behind a name of this meaning.
    pub(super) fn is_secret(self, value: &str) -> bool {
        match self {
            Self::Harmless => false,
            // What is sent from a file is told by its name.
            Self::Secret => {
                !value.starts_with(['@', '<']) || !is_path(value.get(1..).unwrap_or(""))
            }
            Self::SecretOrPath => !is_path(value) && Self::Secret.is_secret(value),
        }
    }
}

/// Whether a value names a file from the root, here or at home, or by a variable.
fn is_path(value: &str) -> bool {
    let is_variable = value
        .strip_prefix('$')
        .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_uppercase() || c == '{'));
    value == "."
        || value == ".."
        || is_variable
        || ["/", "./", "../", "~"]
            .iter()
            .any(|begin| value.starts_with(begin))
}

/// What a name, of a variable, key, header or flag, says of what follows it.
pub(super) fn meaning(name: &str) -> Meaning {
    let name = name.trim_start_matches(['-', '.']);
    if name.len() < 2 || name.len() > MAX_NAME_BYTES || !name.is_ascii() {
        return Meaning::Harmless;
    }
    let name = name.to_ascii_lowercase();
    if HARMLESS.iter().any(|ending| name.ends_with(ending)) || name.starts_with("no-") {
        return Meaning::Harmless;
    }
    let mut parts = name.rsplit(['-', '_', '.']);
    let last = parts.next().unwrap_or_default();
    let before = parts.next().unwrap_or_default();
    let is_key = last == "key";
    if FILE_PARTS.contains(&last) || is_key && FILE_KEYS.contains(&before) {
        return Meaning::SecretOrPath;
    }
    if ENDINGS.iter().any(|ending| name.ends_with(ending))
        || LAST_PARTS.contains(&last)
        || NAMES.contains(&name.as_str())
        || is_key && KEYS.contains(&before)
    {
        return Meaning::Secret;
    }
    Meaning::Harmless
}

/// Whether a header of this name carries a scheme before its secret.
pub(super) fn has_scheme(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with("authorization")
}

/// Whether a word is a scheme of the `Authorization` header.
pub(super) fn is_scheme(word: &str) -> bool {
    word.len() < 16 && SCHEMES.contains(&word.to_ascii_lowercase().as_str())
}
