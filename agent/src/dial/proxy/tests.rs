//! Proxies that lead on, refuse, babble and say nothing, on real sockets.

use super::*;
use crate::backend::Backend;
use crate::dial::{DialError, Dialer, Way};
use crate::error_chain::chain;
use proptest::prelude::*;
use tokio::net::TcpListener;

/// What a dialer says of a proxy that answers CONNECT with this and then keeps or closes its
/// connection, and what the proxy was asked.
async fn dial_by(answer: &[u8], keeps: bool, settle: impl Fn(Proxy) -> Proxy) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy: Proxy = listener.local_addr().unwrap().to_string().parse().unwrap();
    let mut way = Way::direct(
        Backend::parse("http://[2001:db8::7]:8443", true).unwrap(),
        None,
    );
    way.proxy = Some(settle(proxy));
    let dialer = Dialer::new(way).unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        for piece in answer.chunks(100) {
            // A dialer that has read enough hangs up.
            stream.write_all(piece).await.ok();
        }
        (String::from_utf8(asked).unwrap(), keeps.then_some(stream))
    };
    let (dialed, (asked, _stream)) = tokio::join!(dialer.dial(), serve);
    let said = match dialed {
        Ok(_) => "connected".to_owned(),
        Err(error) => chain(&error),
    };
    (said, asked)
}

async fn said_of(answer: &[u8]) -> String {
    dial_by(answer, true, |proxy| proxy).await.0
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_daemon_and_leads_on() {
    let answer = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";

    let (said, asked) = dial_by(answer, true, |proxy| proxy).await;

    assert_eq!(said, "connected");
    let expected = "CONNECT [2001:db8::7]:8443 HTTP/1.1\r\nHost: [2001:db8::7]:8443\r\n\r\n";
    assert_eq!(asked, expected, "no credential where none is set");
}

#[tokio::test]
async fn credentials_of_a_file_or_the_environment_are_sent_to_the_proxy_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    std::fs::write(&file, "web-01:p:ss wörd\n").unwrap();
    let answer = b"HTTP/1.1 200 OK\r\n\r\n";

    let from_file = |proxy: Proxy| proxy.with_credentials_file(file.clone());
    let (_, asked) = dial_by(answer, true, from_file).await;
    let from_environment = |proxy: Proxy| -> Proxy {
        format!("http://web-01:p%3Ass%20w%C3%B6rd@{}", proxy.hop())
            .parse()
            .unwrap()
    };
    let (_, asked_again) = dial_by(answer, true, from_environment).await;

    let encoded = BASE64.encode("web-01:p:ss wörd");
    let header = format!("\r\nProxy-Authorization: Basic {encoded}\r\n");
    assert!(asked.contains(&header), "{asked}");
    assert_eq!(asked, asked_again);
}

#[tokio::test]
async fn each_way_to_fail_is_told_in_its_own_words() {
    let check = |said: String, words: &str| {
        assert!(
            said.starts_with("could not pass the proxy: the proxy 127.0.0.1:"),
            "{said}"
        );
        assert!(said.contains(words), "{words}: {said}");
    };
    let wants = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
    let given = |proxy: Proxy| -> Proxy {
        format!("http://me:hunter2@{}", proxy.hop())
            .parse()
            .unwrap()
    };

    check(said_of(wants).await, "set proxy_credentials_file");
    let (wrong, _) = dial_by(wants, true, given).await;
    assert!(!wrong.contains("hunter2"), "{wrong}");
    check(wrong, "does not take this user and password");
    let forbidden = said_of(b"HTTP/1.1 403 Forbidden\r\n\r\n<html>why").await;
    check(
        forbidden,
        "does not lead to [2001:db8::7]:8443: HTTP status 403 Forbidden",
    );
    let elsewhere = b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n";
    check(said_of(elsewhere).await, "HTTP status 302 Found");
    check(
        said_of(b"SSH-2.0-OpenSSH_9.2\r\n").await,
        "something else than HTTP",
    );
    check(said_of(&[0xff; 50]).await, "something else than HTTP");
    let early = b"HTTP/1.1 200 OK\r\n\r\n\x81\x02{}";
    check(said_of(early).await, "more than its own answer");
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'a'; 100_000]].concat();
    check(said_of(&endless).await, "more than 8192 bytes");
    let (closed, _) = dial_by(b"HTTP/1.1 200", false, |proxy| proxy).await;
    check(closed, "closed the connection");
}

#[tokio::test]
async fn a_proxy_is_asked_nothing_without_the_credentials_it_is_to_have() {
    let proxy: Proxy = "proxy.example".parse().unwrap();
    let proxy = proxy.with_credentials_file("/nonexistent/credentials".into());
    let (mut ours, mut theirs) = tokio::io::duplex(1_000);
    let daemon = proxy.hop().clone();

    let failed = proxy.open_tunnel(&mut ours, &daemon).await.unwrap_err();
    drop(ours);

    assert!(chain(&failed).contains("/nonexistent/credentials"));
    let mut asked = String::new();
    theirs.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "");
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut way = Way::direct(Backend::parse("http://192.0.2.1", true).unwrap(), None);
    way.proxy = Some(listener.local_addr().unwrap().to_string().parse().unwrap());

    tokio::time::pause();
    let silent = Dialer::new(way).unwrap().dial().await.err().unwrap();

    let is_silent = matches!(
        &silent,
        DialError::Proxy(ProxyError {
            source: TunnelError::Silent,
            ..
        })
    );
    assert!(is_silent, "{}", chain(&silent));
}

#[test]
fn addresses_of_proxies_are_read() {
    let check = |text: &str, printed: &str, has_credentials: bool| {
        let proxy: Proxy = text.parse().unwrap();

        assert_eq!(proxy.hop().to_string(), printed, "{text}");
        assert_eq!(proxy.has_credentials(), has_credentials, "{text}");
    };

    check("http://Proxy.Example:3128/", "proxy.example:3128", false);
    check("proxy.example:3128", "proxy.example:3128", false);
    check("http://proxy.example", "proxy.example:80", false);
    check("http://[2001:db8::1]:3128", "[2001:db8::1]:3128", false);
    check(
        "http://me:p%40ss@proxy.example:3128",
        "proxy.example:3128",
        true,
    );
}

#[test]
fn unusable_addresses_of_proxies_are_refused_without_being_quoted() {
    let check = |text: &str, words: &str| {
        let error = text.parse::<Proxy>().unwrap_err().to_string();

        assert!(error.contains(words), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    };

    check("", "is not the URL");
    check("http://", "is not the URL");
    check("http://proxy.example:84433", "is not the URL");
    check("me:hunter2", "is not the URL");
    check("proxy[::1]:3128", "is not the URL");
    check("http://me:hunter2@proxy.example/path", "is not the URL");
    check("https://me:hunter2@proxy.example", "begins with https://");
    check("socks5://proxy.example:1080", "begins with socks5://");
    check("http://me:hunter2%zz@proxy.example", "percent-encoded");
    check("http://me:hunter2%ff@proxy.example", "percent-encoded");
}

#[test]
fn a_password_is_never_printed() {
    let proxy: Proxy = "http://me:hunter2@proxy.example".parse().unwrap();

    assert!(!format!("{proxy:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn an_answer_is_the_same_however_it_is_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        status in 100_u16..600,
    ) {
        let head = format!("HTTP/1.1 {status} Word\r\nname: value\r\n\r\n");
        let whole = [head.as_bytes(), &bytes].concat();

        for end in 0..head.len() {
            prop_assert_eq!(parse_answer(&whole[..end]), ProxyAnswer::Partial);
        }
        let expected = ProxyAnswer::Whole {
            status,
            reason: "Word".to_owned(),
            length: head.len(),
        };
        prop_assert_eq!(parse_answer(&whole), expected);
    }
}

#[test]
fn what_stands_before_a_host_is_never_told_as_a_scheme() {
    let error = "user:pa://ss@host"
        .parse::<Proxy>()
        .unwrap_err()
        .to_string();
    assert!(
        !error.contains("user") && !error.contains("pa://"),
        "{error}"
    );

    let error = "socks5://host".parse::<Proxy>().unwrap_err().to_string();
    assert!(error.contains("begins with socks5://"), "{error}");
}
