//! Everything that ends somebody's right to watch, each while they watch.

use std::time::Duration;

use hidps_lab::world::probe::wait_until;
use hidps_lab::world::viewer::{Viewer, ViewerError};
use hidps_lab::world::{AGENT, ORGANIZATION, PASSWORD, STRANGER, VIEWER, World};
use hidps_wire::{AgentId, Refusal};

use super::{FEED_ALONE, claims_of, run, sign};
use crate::faults::shared::with_world;

const PATIENCE: Duration = Duration::from_secs(120);

/// How long tokens are good that shall expire: one that is over before its person watches makes a
/// test take the next.
const SHORT_SECS: [i64; 2] = [10, 60];

/// One way to lose the right to watch the agent of the seed.
struct Ending {
    what: &'static str,
    who: &'static str,
    /// Gives the right where it is not there; `{user}` is the person.
    before: &'static str,
    /// Takes it away; `{session}` is the person's session.
    change: &'static str,
    /// Puts everything back.
    after: &'static str,
    reason: Refusal,
}

const NOTHING: &str = "select 1";

const ENDINGS: [Ending; 6] = [
    Ending {
        what: "removal from the organization",
        who: VIEWER,
        before: NOTHING,
        change: "delete from public.organization_members where org_id = '{org}' and user_id = '{user}'",
        after: "insert into public.organization_members (org_id, user_id, role) \
                values ('{org}', '{user}', 'user')",
        reason: Refusal::Forbidden,
    },
    Ending {
        what: "the end of a share",
        who: STRANGER,
        before: "insert into public.agent_users (agent_id, user_id, role) \
                 values ('{agent}', '{user}', 'viewer')",
        change: "delete from public.agent_users where agent_id = '{agent}' and user_id = '{user}'",
        after: NOTHING,
        reason: Refusal::Forbidden,
    },
    Ending {
        what: "another organization of the agent",
        who: VIEWER,
        before: "insert into public.organizations (id, name) \
                 values ('0190a000-0000-7000-8000-0000000000f1', 'new home')",
        change: "update public.agents set org_id = '0190a000-0000-7000-8000-0000000000f1' \
                 where id = '{agent}'",
        after: "update public.agents set org_id = '{org}' where id = '{agent}'; \
                delete from public.organizations where id = '0190a000-0000-7000-8000-0000000000f1'",
        reason: Refusal::Forbidden,
    },
    Ending {
        what: "the end of an operator's look",
        who: STRANGER,
        before: "insert into private.platform_operators (user_id, note) values ('{user}', 'a test'); \
                 insert into public.operator_looks (org_id, operator_id, reason, ends_at) \
                 values ('{org}', '{user}', 'to see whether it works', now() + interval '1 hour')",
        change: "update public.operator_looks set ends_at = now() where operator_id = '{user}'",
        after: "delete from private.platform_operators where user_id = '{user}'",
        reason: Refusal::Forbidden,
    },
    Ending {
        what: "signing out",
        who: VIEWER,
        before: NOTHING,
        change: "delete from auth.sessions where id = '{session}'",
        after: NOTHING,
        reason: Refusal::Unauthenticated,
    },
    Ending {
        what: "a locked account",
        who: VIEWER,
        before: NOTHING,
        change: "update auth.users set banned_until = now() + interval '1 hour' where id = '{user}'",
        after: "update auth.users set banned_until = null where id = '{user}'",
        reason: Refusal::Unauthenticated,
    },
];

fn agent() -> AgentId {
    AGENT.parse().expect("the agent of the seed has a UUID")
}

async fn try_watch(world: &World, token: &str) -> Result<Viewer, ViewerError> {
    let mut viewer = Viewer::connect(world.daemon.address(), token).await?;
    viewer.subscribe(agent()).await?;
    Ok(viewer)
}

async fn watch(world: &World, token: &str) -> Viewer {
    let watching = try_watch(world, token).await;
    watching.expect("the token is good and the person may")
}

async fn check(world: &World, ending: &Ending) {
    let token = world.stack.sign_in(ending.who, PASSWORD).await;
    let token = token.expect("signed in");
    let claims = claims_of(&token);
    let text = |name: &str| claims[name].as_str().expect("a claim").to_owned();
    let (user, session) = (text("sub"), text("session_id"));
    let filled = |statements: &str| {
        statements
            .replace("{user}", &user)
            .replace("{session}", &session)
            .replace("{org}", ORGANIZATION)
            .replace("{agent}", AGENT)
    };
    run(world, &filled(ending.before)).await;
    let mut viewer = watch(world, &token).await;

    run(world, &filled(ending.change)).await;
    let ended = viewer.wait_ended(agent(), PATIENCE).await;

    run(world, &filled(ending.after)).await;
    let reason = ended.unwrap_or_else(|error| panic!("{}: {error}", ending.what));
    assert_eq!(reason, ending.reason, "{}", ending.what);
}

#[test]
fn whatever_ends_the_right_to_watch_ends_the_stream_by_the_feed_alone() {
    with_world(&FEED_ALONE, async |world| {
        for ending in &ENDINGS {
            check(world, ending).await;
        }
        let name = "hidps_viewer_streams_ended_total";
        let counted = wait_until("every end being counted", PATIENCE, async || {
            match world.daemon.metric(name).await {
                Some(count) if count >= 6.0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        counted.await.expect("each is counted");

        let token = world.stack.sign_in(VIEWER, PASSWORD).await;
        let claims = claims_of(&token.expect("signed in"));
        let (user, session) = (claims["sub"].as_str(), claims["session_id"].as_str());
        let user = user.expect("a person");
        let [short, longer] = SHORT_SECS.map(|seconds| sign(world, user, session, seconds));
        let mut viewer = match try_watch(world, &short).await {
            Ok(viewer) => viewer,
            Err(_) => watch(world, &longer).await,
        };
        let ended = viewer.wait_ended(agent(), PATIENCE).await;
        assert_eq!(ended.expect("it expires"), Refusal::Unauthenticated);
    });
}
