//! Which names of flags, variables, headers and keys mean a secret.
//! It judges names alone and never sees a value.

/// A name that ends with one of these means a secret, however it goes on before.
const ENDINGS: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
];

/// A last part of a name that means a secret.
const LAST_PARTS: [&str; 10] = [
    "pass",
    "pwd",
    "pw",
    "psk",
    "credential",
    "credentials",
    "cookie",
    "authorization",
    "bearer",
    "privatekey",
];

/// What makes a key a secret when it stands before it.
const KEYS: [&str; 12] = [
    "access",
    "account",
    "api",
    "auth",
    "client",
    "encryption",
    "license",
    "master",
    "secret",
    "shared",
    "signing",
    "storage",
];

/// Names that the lists above would take for secrets.
const HARMLESS: [&str; 5] = ["pwd", "oldpwd", "set-cookie", "askpass", "no-token"];

/// Schemes of the `Authorization` header; what follows is the secret.
const SCHEMES: [&str; 8] = [
    "apikey",
    "basic",
    "bearer",
    "digest",
    "key",
    "negotiate",
    "ntlm",
    "token",
];

/// The longest name worth a look.
const MAX_NAME_BYTES: usize = 80;

/// Whether a name, of a variable, key or header, means a secret.
pub(super) fn is_secret(name: &str) -> bool {
    if name.len() > MAX_NAME_BYTES || !name.is_ascii() {
        return false;
    }
    let name = name.to_ascii_lowercase();
    if HARMLESS.contains(&name.as_str()) || name.starts_with("no-") {
        return false;
    }
    if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return true;
    }
    let mut parts = name.rsplit(['-', '_', '.']);
    let last = parts.next().unwrap_or_default();
    if LAST_PARTS.contains(&last) {
        return true;
    }
    last == "key" && parts.next().is_some_and(|before| KEYS.contains(&before))
}

/// Whether a word is a flag whose name means a secret.
pub(super) fn is_secret_flag(word: &str) -> bool {
    let name = word.trim_start_matches('-');
    // A single letter says nothing; the variable PWD is a directory, a flag of that name is not.
    name.len() > 1 && (is_secret(name) || name.eq_ignore_ascii_case("pwd"))
}

/// Whether a header of this name carries a scheme before its secret.
pub(super) fn has_scheme(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with("authorization")
}

/// Whether a word is a scheme of the `Authorization` header.
pub(super) fn is_scheme(word: &str) -> bool {
    SCHEMES.contains(&word.to_ascii_lowercase().as_str())
}
