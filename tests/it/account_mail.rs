//! Mail about a person's own account, from a sign-in with another device to the mail server.

use std::time::Duration;

use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{PASSWORD, VIEWER, World};
use serde_json::{Value, json};

use crate::faults::shared::with_world;

/// Long enough for a machine busy with builds.
const PATIENCE: Duration = Duration::from_secs(60);

const SUBJECT: &str = "[HIDPS] New sign-in to your account";

/// A program that names itself as no honest one does.
const HOSTILE: &str = "Evil<script>alert(1)</script> {{7*7}} https://evil.test/reset";

/// Tells the project that somebody is there with a program and from an address; gives the answer.
async fn touch(world: &World, token: &str, program: &str, address: &str) -> Value {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let url = format!("{}/rest/v1/rpc/touch_session", world.stack.url());
    let client = reqwest::Client::builder().no_proxy().build();
    let asked = client.expect("a client").post(url).bearer_auth(token);
    let asked = asked
        .header("apikey", world.stack.publishable_key())
        .header("user-agent", program)
        .header("x-forwarded-for", address)
        .json(&json!({}));
    let answer = asked.send().await.expect("it answers");
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

#[test]
fn a_sign_in_with_another_device_is_mailed_to_its_person_once_and_its_words_stay_text() {
    with_world(&[], async |world| {
        let token = world.stack.sign_in(VIEWER, PASSWORD).await;
        let token = token.expect("signed in");
        let forget = format!(
            "delete from public.known_devices d using auth.users u \
             where u.id = d.user_id and u.email = '{VIEWER}'; \
             delete from public.account_notifications"
        );
        world.stack.sql(&forget).await.expect("forgotten");

        let first = touch(world, &token, "Firefox/140.0", "203.0.113.4").await;
        let other = touch(world, &token, HOSTILE, "198.51.100.7").await;
        let again = touch(world, &token, HOSTILE, "198.51.100.99").await;

        assert_eq!(first, json!({"is_new": false}), "the first is no news");
        assert_eq!(other, json!({"is_new": true}));
        assert_eq!(again, json!({"is_new": false}), "the same network");
        let message_id = wait_sent(world).await;
        let mut mails = world.stack.mails().await.expect("readable");
        mails.retain(|mail| mail.header("message-id") == Some(&message_id));
        let [mail] = mails.as_slice() else {
            panic!("{} mails", mails.len());
        };
        assert_eq!(mail.to, [VIEWER]);
        assert_eq!(mail.subject, SUBJECT);
        assert_eq!(mail.header("in-reply-to"), None, "it is of no alert");
        for expected in [
            "198.51.100.0/24",
            "Evil<script>",
            "{{7*7}}",
            "[:]//evil.test",
        ] {
            assert!(mail.text.contains(expected), "{expected}: {}", mail.text);
        }
        let html = mail.html.as_deref().expect("it has both forms");
        assert!(
            !html.contains("<script>") && !html.contains("://"),
            "{html}"
        );
    });
}

/// Waits until the one notification is sent; gives the id of its mail.
async fn wait_sent(world: &World) -> String {
    let sent = wait_until("the mail being sent", PATIENCE, async || {
        let query = "select status, message_id from public.account_notifications";
        let rows = world.stack.sql(query).await;
        let rows = rows.map_err(|error| error.to_string())?;
        let word = |name: &str| rows.first().and_then(|row| row[name].clone());
        match (rows.len(), word("status").as_deref(), word("message_id")) {
            (1, Some("sent"), Some(id)) => Ok(id),
            other => Err(format!("{other:?}")),
        }
    });
    match sent.await {
        Ok((id, _)) => id,
        Err(error) => panic!("{error}\ndaemon:\n{}", world.daemon.log()),
    }
}
