//! Access tokens of a project with signing keys: REST and Realtime take them, and the list of keys is published.
//! Never on the shared stack, whose tokens are signed with its secret.

use std::path::Path;
use std::time::Duration;

use hidps_local_supabase::{Options, Person, Stack};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough for a machine busy with builds.
const PATIENCE: Duration = Duration::from_secs(60);

const EMAIL: &str = "ada@keys.test";
const PASSWORD: &str = "a password of hers";

/// Status and JSON body of a GET request with the publishable key.
async fn get(stack: &Stack, path: &str, token: &str) -> anyhow::Result<(u16, Value)> {
    let authority = stack.url().replace("http://", "");
    let mut socket = TcpStream::connect(&authority).await?;
    let key = stack.publishable_key();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\napikey: {key}\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer)).await??;
    let status = answer.split(' ').nth(1).unwrap_or_default().parse()?;
    let body = answer.split_once("\r\n\r\n").unwrap_or_default().1;
    // A body in chunks has lengths around it.
    let from = body.find(['{', '[']).unwrap_or_default();
    let until = body.rfind(['}', ']']).map_or(body.len(), |end| end + 1);
    let body = body.get(from..until).unwrap_or_default();
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}

async fn start() -> anyhow::Result<Stack> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../supabase");
    let person = Person {
        email: EMAIL.to_owned(),
        password: PASSWORD.to_owned(),
    };
    let options = Options {
        people: vec![person],
        ..Options::of_project(project)
    };
    Ok(Stack::start(options).await?)
}

#[tokio::test]
async fn a_project_turns_to_signing_keys_and_back() -> anyhow::Result<()> {
    let stack = start().await?;
    let shared = stack.sign_in(EMAIL, PASSWORD).await?;
    let list = "/auth/v1/.well-known/jwks.json";
    let rows = "/rest/v1/organizations?select=id";

    let first = stack.rotate_signing_key()?;
    let second = stack.rotate_signing_key()?;
    let (_, published) = get(&stack, list, "").await?;
    let token = stack.sign_in(EMAIL, PASSWORD).await?;
    let signed = get(&stack, rows, &token).await?;
    let by_secret = get(&stack, rows, &shared).await?;
    let who = get(&stack, "/auth/v1/user", &token).await?;
    stack.revoke_signing_key(&second);
    let revoked = get(&stack, rows, &token).await?;
    stack.revoke_signing_key(&first);
    let back = stack.sign_in(EMAIL, PASSWORD).await?;

    let names: Vec<_> = published["keys"].as_array().into_iter().flatten().collect();
    let names: Vec<_> = names.iter().map(|key| key["kid"].as_str()).collect();
    assert_eq!(names, [Some(first.as_str()), Some(second.as_str())]);
    assert_eq!((signed.0, by_secret.0, revoked.0), (200, 200, 401));
    assert_eq!(who.1["email"], EMAIL, "{who:?}");
    let algorithm = |token: &str| jsonwebtoken::decode_header(token).map(|header| header.alg);
    assert_eq!(algorithm(&token)?, jsonwebtoken::Algorithm::ES256);
    assert_eq!(algorithm(&back)?, jsonwebtoken::Algorithm::HS256);
    stack.stop().await?;
    Ok(())
}
