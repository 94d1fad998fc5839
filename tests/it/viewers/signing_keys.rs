//! A project that signs access tokens with keys of its own (ES256), and changes them while people watch.

use std::time::Duration;

use hidps_lab::say_skipped;
use hidps_lab::world::viewer::{Viewer, ViewerError};
use hidps_lab::world::{AGENT, PASSWORD, VIEWER, World};
use hidps_wire::{AgentId, Refusal};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use uuid::Uuid;

use super::{claims_of, sign};
use crate::faults::shared::with_world;

const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that knows no shared secret and asks often whether people may still see what they watch.
const KEYS_ALONE: [(&str, &str); 2] = [
    ("SUPABASE_JWT_SECRET", ""),
    ("HIDPS_ACCESS_RECHECK_SECS", "2"),
];

fn agent() -> AgentId {
    AGENT.parse().expect("the agent of the seed has a UUID")
}

async fn sign_in(world: &World) -> String {
    let token = world.stack.sign_in(VIEWER, PASSWORD).await;
    token.expect("signed in")
}

async fn watch(world: &World, token: &str) -> Viewer {
    let viewer = Viewer::connect(world.daemon.address(), token).await;
    let mut viewer = viewer.expect("the token is good");
    viewer.subscribe(agent()).await.expect("the person may");
    viewer
}

async fn assert_refused(world: &World, token: &str) {
    let refused = Viewer::connect(world.daemon.address(), token).await;
    let Err(ViewerError::Refused { reason, .. }) = refused else {
        panic!("it was let in, or worse: {refused:?}");
    };
    assert_eq!(reason, Refusal::Unauthenticated);
}

/// The same claims and the same name of a key, signed by a key of nobody.
fn forge(token: &str) -> String {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut header = Header::new(Algorithm::ES256);
    header.kid = jsonwebtoken::decode_header(token).expect("a header").kid;
    let key = EncodingKey::from_ec_der(&key.serialize_der());
    jsonwebtoken::encode(&header, &claims_of(token), &key).expect("signed")
}

/// Fails a login on the host and waits until all of these see it.
async fn assert_all_see(world: &World, viewers: &mut [&mut Viewer]) -> bool {
    let Some(ssh) = world.host.ssh() else {
        say_skipped("logins under signing keys", &"this host has no sshd");
        return false;
    };
    let user = format!("u{}", Uuid::new_v4().simple());
    ssh.fail_login(world.host.namespace(), &user, 1)
        .expect("sshd refuses the login");
    for viewer in viewers {
        let seen = viewer.next_event("the login", PATIENCE, |event| event.message.contains(&user));
        seen.await.expect("the stream goes on");
    }
    true
}

#[test]
fn signing_keys_change_while_people_watch_and_a_revoked_one_ends_what_it_opened() {
    with_world(&KEYS_ALONE, async |world| {
        let first = world.stack.rotate_signing_key().expect("a key");
        let old = sign_in(world).await;
        let header = jsonwebtoken::decode_header(&old).expect("a header");
        assert_eq!(
            (header.alg, header.kid),
            (Algorithm::ES256, Some(first.clone()))
        );
        let (mut renewing, mut staying) = (watch(world, &old).await, watch(world, &old).await);
        let claims = claims_of(&old);
        let (user, session) = (claims["sub"].as_str(), claims["session_id"].as_str());
        let shared = sign(world, user.expect("a person"), session, 600);
        assert_refused(world, &shared).await;
        assert_refused(world, &forge(&old)).await;

        let second = world.stack.rotate_signing_key().expect("another key");
        let new = sign_in(world).await;
        let mut late = watch(world, &new).await;
        renewing.renew(&new).await.expect("the new token is good");
        if !assert_all_see(world, &mut [&mut renewing, &mut staying, &mut late]).await {
            return;
        }

        world.stack.revoke_signing_key(&first);
        let ended = staying.wait_ended(agent(), PATIENCE).await;
        assert_eq!(ended.expect("its key is revoked"), Refusal::Unauthenticated);
        assert_refused(world, &old).await;
        assert_all_see(world, &mut [&mut renewing, &mut late]).await;
        world.stack.revoke_signing_key(&second);
    });
}
